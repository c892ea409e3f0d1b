// Instructions that took a process down, kept from the core: whoever watches over a process that runs untrusted code
// learns of them by experience, and runs the code again without them.
import type { CpuDescription, InstructionSet, Trap } from './engine.ts';

/** One encoding that the core must not get, whatever the architecture thinks of it. */
export interface Condemned {
  readonly arch: CpuDescription['name'];
  readonly bytes: Uint8Array;
  /** What the run's outcome `engine` says of it. */
  readonly why: string;
}

/** The description with an instruction set that refuses these encodings too. */
export function condemn(
  description: CpuDescription,
  condemned: readonly Condemned[],
): CpuDescription {
  const encodings = condemned.filter(({ arch }) => arch === description.name);
  if (encodings.length === 0) return description;
  const base = description.instructions;
  const instructions: InstructionSet = {
    // Copied by name: it may be an instance of a class.
    length: (code) => base.length(code),
    repeats: (code) => base.repeats(code),
    jumps: (code) => base.jumps(code),
    accesses: (code) => base.accesses(code),
    fatal: (page) => [
      ...new Set([...base.fatal(page), ...encodings.flatMap(({ bytes }) => placesOf(bytes, page))]),
    ],
    trap(code): Trap | null {
      const found = encodings.find(({ bytes }) => startsWith(code, bytes));
      return found === undefined ? base.trap(code) : { action: 'refuse', why: found.why };
    },
  };
  return { ...description, instructions };
}

const startsWith = (code: Uint8Array, bytes: Uint8Array): boolean =>
  bytes.every((byte, i) => code[i] === byte);

/** Offsets of `bytes` in a page; of their beginning too, where the page ends before them. */
function placesOf(bytes: Uint8Array, page: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = page.indexOf(bytes[0]); at >= 0; at = page.indexOf(bytes[0], at + 1)) {
    if (startsWith(page.subarray(at), bytes.subarray(0, page.length - at))) found.push(at);
  }
  return found;
}
