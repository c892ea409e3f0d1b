// One AArch64 instruction in GNU syntax, taken apart. The same parser reads what the user wrote and what Capstone
// prints, so that the two can be compared piece by piece.
import { type Expr, NO_REGISTERS, parseExpr } from '../expression.ts';
import type { TokenReader } from '../tokens.ts';
import { canonicalRegister } from './registers.ts';

/** Parts of an address that the assembler takes out of a symbol: `#:lo12:sym`, `#:abs_g1_nc:sym`. */
export type Part = 'lo12' | `abs_g${0 | 1 | 2 | 3}${'' | '_nc'}`;

export type Operand =
  | { readonly kind: 'register'; readonly name: string; readonly lane: bigint | null }
  | { readonly kind: 'list'; readonly names: readonly string[]; readonly lane: bigint | null }
  | { readonly kind: 'value'; readonly expr: Expr; readonly part: Part | null }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'shift'; readonly op: string; readonly amount: Expr | null }
  | { readonly kind: 'memory'; readonly parts: readonly Operand[]; readonly writeback: boolean }
  /** A condition, barrier, system register, prefetch operation. */
  | { readonly kind: 'name'; readonly text: string; readonly column: number }
  /** `=value` of ldr. */
  | { readonly kind: 'pool'; readonly expr: Expr };

export interface Arm64Insn {
  readonly mnemonic: string;
  readonly operands: readonly Operand[];
  readonly columns: readonly number[];
}

const SHIFTS = /^(lsl|lsr|asr|ror|msl|[us]xt[bhwx])$/;
const PARTS = /^(lo12|abs_g[0-2](_nc)?|abs_g3)$/;

/** @param isValue true for names that stand for numbers or places where no `#` says so */
export function parseArm64(reader: TokenReader, isValue: (name: string) => boolean): Arm64Insn {
  const first = reader.take();
  if (first.type !== 'name' || !/^[a-z][a-z0-9]*(\.[a-z]+)?$/i.test(first.text)) {
    throw reader.error(`"${first.text}" is no instruction`, 'begin with a mnemonic', first);
  }
  const operands: Operand[] = [];
  const columns: number[] = [];
  if (!reader.done) {
    do {
      columns.push(reader.peek().column);
      operands.push(parseOperand(reader, isValue));
    } while (reader.accept(','));
  }
  reader.expectEnd();
  return { mnemonic: first.text.toLowerCase(), operands: withImpliedShift(operands), columns };
}

/** `movk x0, #:abs_g2:sym` puts the part where it came from. */
function withImpliedShift(operands: readonly Operand[]): readonly Operand[] {
  const value = operands[1];
  const isGroup = value?.kind === 'value' && value.part !== null && value.part !== 'lo12';
  if (!isGroup || operands.length !== 2) return operands;
  const amount = { op: 'number', value: 16n * BigInt(value.part![5]) } as const;
  return [...operands, { kind: 'shift', op: 'lsl', amount }];
}

function parseOperand(reader: TokenReader, isValue: (name: string) => boolean): Operand {
  if (reader.accept('=')) return { kind: 'pool', expr: parseExpr(reader, NO_REGISTERS) };
  if (reader.isPunct('[')) return parseMemory(reader, isValue);
  if (reader.isPunct('{')) return parseList(reader);
  if (reader.accept('#')) return parseValue(reader);
  const token = reader.peek();
  if (token.type !== 'name' || token.text === '.') return parseValue(reader);
  const register = canonicalRegister(token.text);
  if (register !== null) {
    reader.take();
    return { kind: 'register', name: register, lane: parseLane(reader) };
  }
  const name = token.text.toLowerCase();
  if (SHIFTS.test(name)) {
    reader.take();
    return { kind: 'shift', op: name, amount: parseAmount(reader) };
  }
  if (isValue(token.text) || isOperator(reader)) return parseValue(reader);
  reader.take();
  return { kind: 'name', text: token.text, column: token.column };
}

/** A name that something is added to is a symbol. */
const isOperator = (reader: TokenReader) =>
  ['+', '-', '*', '/', '%', '&', '|', '^', '<<', '>>'].some((sign) => reader.isPunct(sign, 1));

function parseValue(reader: TokenReader): Operand {
  let part: Part | null = null;
  if (reader.accept(':')) {
    const token = reader.take();
    if (!PARTS.test(token.text.toLowerCase())) {
      throw reader.error(
        `unknown part of an address :${token.text}:`,
        'use :lo12: or :abs_g0: to :abs_g3:',
        token,
      );
    }
    part = token.text.toLowerCase() as Part;
    reader.expect(':');
  }
  const sign = reader.isPunct('-') && reader.peek(1).type === 'float' ? -1 : 1;
  if (sign < 0) reader.take();
  if (reader.peek().type === 'float')
    return { kind: 'float', value: sign * Number(reader.take().text) };
  return { kind: 'value', expr: parseExpr(reader, NO_REGISTERS), part };
}

function parseAmount(reader: TokenReader): Expr | null {
  const hasMark = reader.accept('#');
  const ends = reader.done || reader.isPunct(',') || reader.isPunct(']');
  return !hasMark && ends ? null : parseExpr(reader, NO_REGISTERS);
}

function parseLane(reader: TokenReader): bigint | null {
  if (!reader.accept('[')) return null;
  const token = reader.take();
  if (token.type !== 'number') throw reader.error('expected a lane number', 'write v0.s[1]', token);
  reader.expect(']');
  return token.value!;
}

function parseMemory(reader: TokenReader, isValue: (name: string) => boolean): Operand {
  reader.expect('[');
  const parts: Operand[] = [];
  do {
    // No operand nests: a bracket inside is an error here rather than a deep recursion.
    if (reader.isPunct('[')) throw reader.error('brackets do not nest', 'write [x0, #8]');
    parts.push(parseOperand(reader, isValue));
  } while (reader.accept(','));
  reader.expect(']');
  return { kind: 'memory', parts, writeback: reader.accept('!') };
}

/** `{v0.4s, v1.4s}`, `{v0.4s-v3.4s}`, with or without a lane behind. */
function parseList(reader: TokenReader): Operand {
  reader.expect('{');
  const names: string[] = [];
  const register = () => {
    const token = reader.take();
    const name = token.type === 'name' ? canonicalRegister(token.text) : null;
    if (name === null) throw reader.error('expected a vector register', 'write {v0.16b}', token);
    return name;
  };
  do {
    const from = register();
    names.push(from);
    if (reader.accept('-')) names.push(...registersUpTo(from, register()));
  } while (reader.accept(','));
  reader.expect('}');
  return { kind: 'list', names, lane: parseLane(reader) };
}

function registersUpTo(from: string, to: string): string[] {
  const [first, arrangement] = from.split('.');
  const last = Number(/\d+/.exec(to)?.[0] ?? 0);
  const found: string[] = [];
  for (let n = Number(first.slice(1)); n !== last && found.length < 4; ) {
    n = (n + 1) % 32;
    found.push(`${first[0]}${n}${arrangement === undefined ? '' : `.${arrangement}`}`);
  }
  return found;
}
