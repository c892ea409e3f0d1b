// The assembler and the disassembler with a memory: a suite runs the same text again and again, and a debugger or an
// unwinder reads the same instruction. Both are functions of their arguments alone.
import type { Assembled, Assembler } from '../emulator/assembler.ts';
import type { Disassembler, Insn } from '../emulator/disassembler.ts';

/** Results kept; beyond it all are forgotten at once, which costs little and keeps no order. */
const MOST = 1024;
/** Longer code is disassembled once, by whoever lists it. */
const LONGEST = 16;

function remember<T>(known: Map<string, T>, key: string, make: () => T): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = make();
  if (known.size >= MOST) known.clear();
  known.set(key, made);
  return made;
}

export function rememberAssembler(assembler: Assembler): Assembler {
  const known = new Map<string, Assembled>();
  return {
    assemble(text, options) {
      const symbols = Object.entries(options.symbols ?? {}).map(([name, at]) => `${name}=${at}`);
      const key = [options.arch, options.address, symbols.join(), text].join('\n');
      return remember(known, key, () => assembler.assemble(text, options));
    },
  };
}

export function rememberDisassembler(disassembler: Disassembler): Disassembler {
  const known = new Map<string, Insn[]>();
  return {
    disassemble(bytes, options) {
      if (bytes.length > LONGEST) return disassembler.disassemble(bytes, options);
      const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
      const key = `${options.arch} ${options.address} ${text}`;
      return remember(known, key, () => disassembler.disassemble(bytes, options));
    },
  };
}
