// Text to machine code: x86-64 in Intel syntax, AArch64 in GNU syntax. Labels, expressions, directives and layout are
// ours; single instructions are encoded by Keystone, decoded again by Capstone and compared with what was written.
// Left out: sections, the C preprocessor, relocations (every symbol must have an address).

import { arm64Dialect } from './asm/arm64/dialect.ts';
import type { Dialect } from './asm/dialect.ts';
import { START_SYMBOL } from './asm/directives.ts';
import { AssemblyError } from './asm/error.ts';
import { type Encoder, loadEncoders } from './asm/keystone.ts';
import { type Line, layOut } from './asm/layout.ts';
import { readProgram } from './asm/program.ts';
import type { AsmArch } from './asm/source.ts';
import { x86Dialect } from './asm/x86/dialect.ts';
import { u64 } from './bits.ts';
import { loadDisassembler } from './disassembler.ts';

export type { Line as SourceLine } from './asm/layout.ts';
export { AssemblyError };

export interface AssembleOptions {
  readonly arch: AsmArch;
  /** Address of the first byte. */
  readonly address: bigint;
  /** Addresses of symbols that the text uses and does not define. */
  readonly symbols?: Readonly<Record<string, bigint>>;
}

export interface Assembled {
  readonly bytes: Uint8Array;
  /** Absolute address of every label; local ones (`1:`) are left out. */
  readonly labels: Map<string, bigint>;
  /** Where each statement with bytes lies, in order of address. */
  readonly lines: readonly Line[];
}

export interface Assembler {
  /** @throws AssemblyError with line, column and remedy */
  assemble(text: string, options: AssembleOptions): Assembled;
}

let loading: Promise<Assembler> | null = null;

/** Loads both engines on first use (about 60 ms) and gives the same assembler ever after. */
export function loadAssembler(): Promise<Assembler> {
  loading ??= load();
  return loading;
}

async function load(): Promise<Assembler> {
  const [encoderOf, disassembler] = await Promise.all([loadEncoders(), loadDisassembler()]);
  const toolsOf = (arch: AsmArch): [Encoder, Dialect] => {
    const encoder = encoderOf(arch, disassembler);
    return [
      encoder,
      arch === 'x86_64' ? x86Dialect(encoder, disassembler) : arm64Dialect(encoder, disassembler),
    ];
  };
  return {
    assemble(text, { arch, address, symbols = {} }) {
      const given = new Map(Object.entries(symbols).map(([name, value]) => [name, u64(value)]));
      const [encoder, dialect] = toolsOf(arch);
      const base = u64(address);
      try {
        const items = readProgram(text, dialect, given);
        encoder.prefetch(items.flatMap((item) => item.wanted ?? []));
        return layOut(items, base, given.set(START_SYMBOL, base));
      } catch (error) {
        throw error instanceof AssemblyError ? withHint(error, text) : error;
      }
    },
  };
}

/** In other assemblers `;` begins a comment; what follows one here fails in odd ways. */
function withHint(error: AssemblyError, text: string): AssemblyError {
  const before = text.split('\n')[error.line - 1]?.slice(0, error.column - 1) ?? '';
  if (!before.includes(';')) return error;
  const hint = '`;` separates instructions, comments begin with # or //';
  return new AssemblyError(error, error.reason, `${error.remedy} (${hint})`);
}
