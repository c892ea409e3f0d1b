// Code by chance: byte strings, and sequences of valid instructions with memory operands that mostly lie in the arena.
// What is valid is Capstone's word, which knows far more of both instruction sets than the core does.
import { decode } from '../../arch/x86/decode.ts';
import type { Disassembler } from '../../emulator/disassembler.ts';
import { ARM64_FORMS } from '../../emulator/unicorn/test-forms-arm64.ts';
import { X86_FORMS } from '../../emulator/unicorn/test-forms-x86.ts';
import type { ArchName } from '../../testbed/scenario.ts';
import type { Random } from './random.ts';

export type FuzzKind = 'bytes' | 'sequences';

const MOST_INSTRUCTIONS = 14;
const MOST_BYTES = 48;

export function generateCode(
  arch: ArchName,
  kind: FuzzKind,
  random: Random,
  disassembler: Disassembler,
): Uint8Array {
  if (kind === 'bytes') {
    const unit = arch === 'arm64' ? 4 : 1;
    return random.bytes(unit * (1 + random.below(MOST_BYTES / unit)));
  }
  const isValid = (code: Uint8Array) => {
    const [insn, ...more] = disassembler.disassemble(code, { arch, address: 0n });
    return more.length === 0 && !/^\.(byte|word)$/.test(insn.mnemonic);
  };
  const one = arch === 'arm64' ? a64 : x86;
  const parts = [...copies(arch, random)];
  for (let n = 1 + random.below(MOST_INSTRUCTIONS); n > 0; ) {
    const code = one(random);
    if (code === null || !isValid(code)) continue;
    parts.push(code);
    n--;
  }
  parts.push(hex(arch === 'arm64' ? 'c0035fd6' : 'c3'));
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const little = (word: number): Uint8Array => new Uint8Array(Uint32Array.of(word).buffer);

/** Spreads the arguments, which are addresses and counts, over registers that hold none. */
function* copies(arch: ArchName, random: Random): Generator<Uint8Array> {
  for (let i = 0; i < 4; i++) {
    const from = random.below(8);
    const to = 8 + random.below(8);
    // mov r8..r15, r64, the arguments among them; mov x8..x15, x0..x7
    if (arch === 'arm64') yield little(0xaa00_03e0 | (from << 16) | to);
    else yield Uint8Array.of(0x49, 0x89, 0xc0 | (random.pick([1, 2, 6, 7]) << 3) | (to & 7));
  }
}

const PREFIXES = [0x66, 0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x64, 0x65, 0x2e];
const ESCAPES = [[], [], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const X86_CODES = X86_FORMS.map(([, code]) => hex(code));

/** One instruction, or null where what came up is none. */
function x86(random: Random): Uint8Array | null {
  if (random.chance(0.3)) return otherBase(random);
  const code: number[] = [];
  while (random.chance(0.25)) code.push(random.pick(PREFIXES));
  if (random.chance(0.5)) code.push(0x40 | random.below(16));
  code.push(...random.pick(ESCAPES), random.below(256), random.below(256));
  const operands = random.bytes(12);
  // Small displacements keep addresses near the arena.
  for (let i = 1; i < 4; i++) if (random.chance(0.7)) operands[i] = 0;
  const all = Uint8Array.of(...code, ...operands);
  const { length, map, opcode } = decode(all);
  // Jumps lead away, which byte strings do often enough.
  if (length === 0 || (map === 0 && opcode >= 0x70 && opcode < 0x80 && random.chance(0.7))) {
    return null;
  }
  return all.slice(0, length);
}

/** A form with a memory operand, at another register: rdi is 7 in the ModRM byte of those that have no SIB byte. */
function otherBase(random: Random): Uint8Array {
  const code = random.pick(X86_CODES).slice();
  const d = decode(code);
  if (!d.hasModrm || d.mod === 3 || d.base !== 7 || d.index !== -1) return code;
  const at = code.lastIndexOf(0x07 | (d.reg << 3));
  if (at > 0) code[at] = (code[at] & ~7) | random.pick([1, 2, 6, 7]);
  return code;
}

/** Fields of an A64 word: rough classes of C4.1, one bit pattern each, so that all come up. */
const A64_CLASSES: readonly (readonly [mask: number, value: number])[] = [
  [0x0a00_0000, 0x0800_0000], // loads and stores
  [0x0a00_0000, 0x0800_0000],
  [0x3b00_0000, 0x3800_0000], // one register
  [0x3e00_0000, 0x2800_0000], // pairs
  [0x3f00_0000, 0x0800_0000], // exclusives and compare-and-swap
  [0xbe00_0000, 0x0c00_0000], // vector structures
  [0x0e00_0000, 0x0a00_0000], // data processing, registers
  [0x1c00_0000, 0x1000_0000], // data processing, immediate
  [0x0e00_0000, 0x0e00_0000], // scalar floating point and vectors
  [0x9f00_0000, 0x0e00_0000], // vectors
  [0xffc0_0000, 0xd500_0000], // system
  [0x1e00_0000, 0x0400_0000], // SVE
  [0, 0],
];

function a64(random: Random): Uint8Array {
  if (random.chance(0.3)) {
    const [, code] = random.pick(ARM64_FORMS);
    return little(((code & ~0x3e0) | (random.below(8) << 5)) >>> 0);
  }
  const [mask, value] = random.pick(A64_CLASSES);
  let word = ((random.next() & ~mask) | value) >>> 0;
  if ((word & 0x0a00_0000) === 0x0800_0000 && random.chance(0.8)) word &= ~0x300; // base x0..x7
  return little(word >>> 0);
}
