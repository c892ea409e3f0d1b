// One x86-64 instruction in Intel syntax, taken apart. The same parser reads what the user wrote and what Capstone
// prints, so that the two can be compared piece by piece.
import type { Expr, Names } from '../expression.ts';
import { parseExpr } from '../expression.ts';
import type { TokenReader } from '../tokens.ts';
import { isX86Register } from './registers.ts';

export interface X86Memory {
  readonly kind: 'memory';
  /** Operand size in bytes as written (`qword ptr` is 8), null if it was not. */
  readonly size: number | null;
  readonly segment: string | null;
  readonly base: string | null;
  readonly index: string | null;
  readonly scale: number;
  /** Null stands for 0. */
  readonly disp: Expr | null;
  readonly decoration: string;
}

export type X86Operand =
  | { readonly kind: 'register'; readonly name: string; readonly decoration: string }
  | X86Memory
  | {
      readonly kind: 'value';
      readonly expr: Expr;
      /** `offset sym`: the address is meant. */
      readonly offset: boolean;
      /** `short` in front of a branch target. */
      readonly short: boolean;
    };

export interface X86Insn {
  /** `lock`, `rep`, ... in the order written. */
  readonly prefixes: readonly string[];
  readonly mnemonic: string;
  readonly operands: readonly X86Operand[];
  /** Column of each operand. */
  readonly columns: readonly number[];
}

export const PREFIXES: Readonly<Record<string, number>> = {
  lock: 0xf0,
  rep: 0xf3,
  repe: 0xf3,
  repz: 0xf3,
  repne: 0xf2,
  repnz: 0xf2,
  bnd: 0xf2,
  notrack: 0x3e,
  data16: 0x66,
  addr32: 0x67,
  cs: 0x2e,
  ds: 0x3e,
  es: 0x26,
  ss: 0x36,
  fs: 0x64,
  gs: 0x65,
  xacquire: 0xf2,
  xrelease: 0xf3,
};

export const SIZES: Readonly<Record<string, number>> = {
  byte: 1,
  word: 2,
  dword: 4,
  fword: 6,
  qword: 8,
  mmword: 8,
  tbyte: 10,
  xword: 10,
  oword: 16,
  xmmword: 16,
  ymmword: 32,
  zmmword: 64,
};

const SEGMENTS = new Set(['cs', 'ds', 'es', 'fs', 'gs', 'ss']);

export const X86_NAMES: Names = {
  isRegister: isX86Register,
  isHere: (name) => name === '.' || name === '$',
};

/** Reads prefixes, mnemonic and operands to the end of the statement. @throws AssemblyError */
export function parseX86(reader: TokenReader): X86Insn {
  const prefixes: string[] = [];
  let mnemonic = '';
  for (;;) {
    const token = reader.take();
    if (token.type !== 'name' || !/^[a-z][a-z0-9]*$/i.test(token.text)) {
      throw reader.error(`"${token.text}" is no instruction`, 'begin with a mnemonic', token);
    }
    mnemonic = token.text.toLowerCase();
    if (mnemonic === 'rex64') {
      // It makes the encoder loop, as all prefixes do; the others are handled here.
      throw reader.error('rex64 is chosen by the operands', 'write .byte 0x48 if you must', token);
    }
    if (!(mnemonic in PREFIXES)) break;
    prefixes.push(mnemonic);
    mnemonic = '';
    if (reader.done) break;
  }
  const operands: X86Operand[] = [];
  const columns: number[] = [];
  if (!reader.done) {
    do {
      columns.push(reader.peek().column);
      operands.push(parseOperand(reader));
    } while (reader.accept(','));
  }
  reader.expectEnd();
  return { prefixes, mnemonic, operands, columns };
}

function parseOperand(reader: TokenReader): X86Operand {
  if (reader.acceptName('offset')) {
    // `OFFSET FLAT:sym` is how compilers write it.
    if (reader.acceptName('flat')) reader.expect(':');
    return { kind: 'value', expr: parseExpr(reader, X86_NAMES), offset: true, short: false };
  }
  const isNear = /^near$/i.test(reader.peek().text) && reader.peek(1).type === 'name';
  if (isNear) {
    reader.take();
    reader.acceptName('ptr');
  }
  if (reader.acceptName('short')) {
    return { kind: 'value', expr: parseExpr(reader, X86_NAMES), offset: false, short: true };
  }
  if (reader.isPunct('{')) {
    // Rounding control, {rn-sae}, stands alone.
    return { kind: 'register', name: '', decoration: parseDecoration(reader) };
  }
  const size = parseSize(reader);
  const segment = parseSegment(reader);
  const token = reader.peek();
  const isRegister = token.type === 'name' && isX86Register(token.text);
  if (size === null && segment === null && isRegister && !reader.isPunct('[', 1)) {
    return { kind: 'register', name: parseRegister(reader), decoration: parseDecoration(reader) };
  }
  const before = reader.isPunct('[') ? null : parseExpr(reader, X86_NAMES);
  if (!reader.isPunct('[')) {
    if (size !== null || segment !== null) {
      // `qword ptr sym`, `fs:0x28`: memory without brackets, as GNU as reads it.
      return memory(reader, size, segment, before!);
    }
    return { kind: 'value', expr: before!, offset: false, short: false };
  }
  return memory(reader, size, segment, before);
}

function parseRegister(reader: TokenReader): string {
  const name = reader.take().text.toLowerCase();
  if (name !== 'st') return name;
  if (!reader.accept('(')) return 'st(0)';
  const number = reader.take();
  reader.expect(')');
  if (number.type !== 'number' || number.value! > 7n) {
    throw reader.error('no such x87 register', 'write st(0) to st(7)', number);
  }
  return `st(${number.value})`;
}

function parseSize(reader: TokenReader): number | null {
  // The disassembler prints `ptr [rdi]` where the size has no name.
  if (/^ptr$/i.test(reader.peek().text) && reader.isPunct('[', 1)) reader.take();
  const token = reader.peek();
  const size = token.type === 'name' ? SIZES[token.text.toLowerCase()] : undefined;
  if (size === undefined) return null;
  const next = reader.peek(1);
  const isPtr = next.type === 'name' && /^ptr$/i.test(next.text);
  if (!isPtr && !reader.isPunct('[', 1)) return null;
  reader.take();
  if (isPtr) reader.take();
  return size;
}

function parseSegment(reader: TokenReader): string | null {
  const token = reader.peek();
  const name = token.text.toLowerCase();
  if (token.type !== 'name' || !SEGMENTS.has(name) || !reader.isPunct(':', 1)) return null;
  reader.take();
  reader.take();
  return name;
}

/** `{k1}{z}`, `{1to8}`, `{sae}`, in lower case without blanks. */
function parseDecoration(reader: TokenReader): string {
  const first = reader.peek();
  let text = '';
  while (reader.accept('{')) {
    text += '{';
    while (!reader.isPunct('}')) {
      if (reader.done) reader.expect('}');
      text += reader.take().text.toLowerCase();
    }
    reader.expect('}');
    text += '}';
  }
  if (text === '' || DECORATION.test(text)) return text;
  throw reader.error(
    `unknown decoration ${text}`,
    'write {k1}, {k1}{z}, {1to8} or {rn-sae}',
    first,
  );
}

const DECORATION = /^(\{1to(2|4|8|16|32)\})?(\{k[0-7]\})?(\{z\})?$|^\{(r[nduz]-)?sae\}$/;

/** What brackets hold, collected term by term. */
interface Terms {
  registers: { name: string; factor: bigint; column: number }[];
  rest: Expr | null;
}

function memory(
  reader: TokenReader,
  size: number | null,
  segment: string | null,
  before: Expr | null,
): X86Memory {
  const terms: Terms = { registers: [], rest: null };
  if (before !== null) addTerms(reader, terms, before, false);
  let inner = segment;
  while (reader.accept('[')) {
    inner ??= parseSegment(reader);
    addTerms(reader, terms, parseExpr(reader, X86_NAMES), false);
    reader.expect(']');
  }
  const address = chooseBase(reader, terms);
  return {
    kind: 'memory',
    size,
    segment: inner,
    ...address,
    disp: terms.rest,
    decoration: parseDecoration(reader),
  };
}

function addTerms(reader: TokenReader, terms: Terms, expr: Expr, negative: boolean): void {
  if (expr.op === 'binary' && (expr.sign === '+' || expr.sign === '-')) {
    addTerms(reader, terms, expr.a, negative);
    addTerms(reader, terms, expr.b, expr.sign === '-' ? !negative : negative);
    return;
  }
  const scaled = asScaledRegister(expr);
  if (scaled !== null) {
    if (negative) {
      throw reader.error('a register cannot be subtracted', 'negate it in a register first');
    }
    terms.registers.push(scaled);
    return;
  }
  if (mentionsRegister(expr)) {
    throw reader.error(
      'this is no address a CPU can form',
      'an address is base + index*(1, 2, 4 or 8) + displacement',
    );
  }
  const term: Expr = negative ? { op: 'neg', a: expr } : expr;
  terms.rest = terms.rest === null ? term : { op: 'binary', sign: '+', a: terms.rest, b: term };
}

function asScaledRegister(expr: Expr): Terms['registers'][0] | null {
  if (expr.op === 'register') {
    return { name: expr.name.toLowerCase(), factor: 1n, column: expr.column };
  }
  if (expr.op !== 'binary' || expr.sign !== '*') return null;
  for (const [a, b] of [
    [expr.a, expr.b],
    [expr.b, expr.a],
  ]) {
    if (a.op === 'register' && b.op === 'number') {
      return { name: a.name.toLowerCase(), factor: b.value, column: a.column };
    }
  }
  return null;
}

function mentionsRegister(expr: Expr): boolean {
  if (expr.op === 'register') return true;
  if (expr.op === 'neg' || expr.op === 'not') return mentionsRegister(expr.a);
  return expr.op === 'binary' && (mentionsRegister(expr.a) || mentionsRegister(expr.b));
}

function chooseBase(
  reader: TokenReader,
  { registers }: Terms,
): Pick<X86Memory, 'base' | 'index' | 'scale'> {
  const wrong = registers.find(({ factor }) => ![1n, 2n, 4n, 8n].includes(factor));
  if (wrong !== undefined || registers.length > 2) {
    throw reader.error(
      wrong !== undefined ? `scale ${wrong.factor}` : 'more than two registers in an address',
      'an address is base + index*(1, 2, 4 or 8) + displacement',
    );
  }
  if (registers.length === 0) return { base: null, index: null, scale: 1 };
  if (registers.length === 1) {
    const [{ name, factor }] = registers;
    if (factor === 1n) return { base: name, index: null, scale: 1 };
    return { base: null, index: name, scale: Number(factor) };
  }
  let [base, index] = registers;
  // The scaled one is the index; of two unscaled ones it is the second, unless only the first can be.
  const mustSwap = base.factor !== 1n || (index.factor === 1n && /^[er]sp$/.test(index.name));
  if (mustSwap) [base, index] = [index, base];
  if (base.factor !== 1n) {
    throw reader.error(
      'both registers of the address are scaled',
      'an address is base + index*(1, 2, 4 or 8) + displacement',
    );
  }
  if (/^[er]sp$/.test(index.name)) {
    throw reader.error(`${index.name} cannot be an index`, 'use another register');
  }
  return { base: base.name, index: index.name, scale: Number(index.factor) };
}
