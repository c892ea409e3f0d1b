// What the two instruction sets give the assembler.
import type { Expr, Names, Scope } from './expression.ts';
import type { Item } from './layout.ts';
import type { AsmArch } from './source.ts';
import type { TokenReader } from './tokens.ts';

/** What is known of the program while it is read. */
export interface ReadingContext {
  /** True for a symbol that stands for a number (.set), not for a place. */
  isConstant(name: string): boolean;
  /** Queues a constant for the next literal pool, which has each but once. @returns the name of its label */
  literal(size: 4 | 8, expr: Expr, value: (scope: Scope) => bigint): string;
}

export interface Dialect {
  readonly arch: AsmArch;
  readonly names: Names;
  /** `.align n` means 2^n bytes, not n. */
  readonly alignIsPower: boolean;
  /** Bytes of .word. */
  readonly wordSize: 2 | 4;
  /** What fills gaps in code: exactly `length` bytes. */
  padding(length: number): Uint8Array;
  /** Reads one instruction, mnemonic first, up to the end of the statement. @throws AssemblyError */
  parse(reader: TokenReader, context: ReadingContext): Item;
}
