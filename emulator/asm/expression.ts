// Integer expressions over numbers, symbols and the location counter, with GNU as's operators and precedences. Values
// are exact integers; whoever uses one checks its range. Left out: comparison and logical operators.
import type { AssemblyError } from './error.ts';
import type { TokenReader } from './tokens.ts';

export type Expr =
  | { readonly op: 'number'; readonly value: bigint }
  | { readonly op: 'symbol'; readonly name: string; readonly column: number }
  /** The location counter, `.` or (x86) `$`. */
  | { readonly op: 'here' }
  /** A register inside an x86 memory operand. */
  | { readonly op: 'register'; readonly name: string; readonly column: number }
  | { readonly op: 'neg' | 'not'; readonly a: Expr }
  | { readonly op: 'binary'; readonly sign: string; readonly a: Expr; readonly b: Expr };

/** What an expression is evaluated in. */
export interface Scope {
  /** Address of the statement. */
  readonly here: bigint;
  /** @returns null if nobody defines the symbol */
  lookup(name: string): bigint | null;
}

const PRECEDENCE: Record<string, number> = {
  '+': 1,
  '-': 1,
  '|': 2,
  '&': 2,
  '^': 2,
  '*': 3,
  '/': 3,
  '%': 3,
  '<<': 3,
  '>>': 3,
};

const MAX_DEPTH = 100;

/** How names are read: which are registers, and what spells the location counter. */
export interface Names {
  isRegister(name: string): boolean;
  isHere(name: string): boolean;
}

export const NO_REGISTERS: Names = { isRegister: () => false, isHere: (name) => name === '.' };

/** @throws AssemblyError where no expression begins */
export function parseExpr(reader: TokenReader, names: Names = NO_REGISTERS, depth = 0): Expr {
  return binary(reader, names, 1, depth);
}

function binary(reader: TokenReader, names: Names, lowest: number, depth: number): Expr {
  let a = unary(reader, names, depth + 1);
  for (;;) {
    const { type, text } = reader.peek();
    const precedence = type === 'punct' ? PRECEDENCE[text] : undefined;
    if (precedence === undefined || precedence < lowest) return a;
    reader.take();
    a = { op: 'binary', sign: text, a, b: binary(reader, names, precedence + 1, depth + 1) };
  }
}

function unary(reader: TokenReader, names: Names, depth: number): Expr {
  if (depth > MAX_DEPTH) throw reader.error('expression nested too deeply', 'simplify it');
  if (reader.accept('-')) return { op: 'neg', a: unary(reader, names, depth + 1) };
  if (reader.accept('~')) return { op: 'not', a: unary(reader, names, depth + 1) };
  if (reader.accept('+')) return unary(reader, names, depth + 1);
  if (reader.accept('(')) {
    const inner = parseExpr(reader, names, depth + 1);
    reader.expect(')');
    return inner;
  }
  const token = reader.peek();
  if (token.type === 'number') {
    reader.take();
    return { op: 'number', value: token.value! };
  }
  if (token.type === 'local') {
    reader.take();
    return { op: 'symbol', name: token.text, column: token.column };
  }
  if (token.type === 'name') {
    reader.take();
    if (names.isHere(token.text)) return { op: 'here' };
    // Everything is bound here, so a call through the procedure linkage table is a call.
    if (reader.isPunct('@') && /^plt$/i.test(reader.peek(1).text)) {
      reader.take();
      reader.take();
    }
    const op = names.isRegister(token.text) ? 'register' : 'symbol';
    return { op, name: token.text, column: token.column };
  }
  throw reader.error(
    token.type === 'end' ? 'an operand is missing' : `no value begins with "${token.text}"`,
    token.text === '%'
      ? 'registers are written without %'
      : 'write a number, a symbol or an expression of them',
  );
}

/** True if the value depends on where things lie, hence on the layout. */
export function isSymbolic(expr: Expr): boolean {
  if (expr.op === 'neg' || expr.op === 'not') return isSymbolic(expr.a);
  if (expr.op === 'binary') return isSymbolic(expr.a) || isSymbolic(expr.b);
  return expr.op !== 'number';
}

/**
 * How many addresses the value contains: 0 for numbers and differences of labels, 1 for a place in memory. Symbols that
 * `isConstant` knows count as numbers.
 */
export function addressWeight(expr: Expr, isConstant: (name: string) => boolean): number {
  const weigh = (e: Expr): number => {
    if (e.op === 'symbol') return isConstant(e.name) ? 0 : 1;
    if (e.op === 'here') return 1;
    if (e.op === 'neg') return -weigh(e.a);
    if (e.op === 'not') return weigh(e.a) === 0 ? 0 : Number.NaN;
    if (e.op !== 'binary') return 0;
    const a = weigh(e.a);
    const b = weigh(e.b);
    if (e.sign === '+') return a + b;
    if (e.sign === '-') return a - b;
    // A product or a shift of an address is a number made from it, as in `(handler >> 32)`.
    return 0;
  };
  return weigh(expr);
}

/**
 * The exact value.
 * @param fail makes the error; its second argument is the column, if one is to blame
 * @throws the error that `fail` made: unknown symbol, division by zero, absurd shift
 */
export function evaluate(
  expr: Expr,
  scope: Scope,
  fail: (reason: string, remedy: string, column?: number) => AssemblyError,
): bigint {
  switch (expr.op) {
    case 'number':
      return expr.value;
    case 'here':
      return scope.here;
    case 'symbol': {
      const value = scope.lookup(expr.name);
      if (value !== null) return value;
      throw undefinedSymbol(expr.name, expr.column, fail);
    }
    case 'register':
      throw fail(`register ${expr.name} in a number`, 'write it inside brackets', expr.column);
    case 'neg':
      return -evaluate(expr.a, scope, fail);
    case 'not':
      return ~evaluate(expr.a, scope, fail);
    case 'binary':
      return combine(expr.sign, evaluate(expr.a, scope, fail), evaluate(expr.b, scope, fail), fail);
  }
}

/** Local labels are known inside as `number#occurrence`. */
function undefinedSymbol(
  name: string,
  column: number,
  fail: (reason: string, remedy: string, column?: number) => AssemblyError,
): AssemblyError {
  if (/^\d+#/.test(name)) {
    const number = name.split('#')[0];
    return fail(`no local label ${number} in that direction`, `write a line "${number}:"`, column);
  }
  return fail(
    `undefined symbol "${name}"`,
    'define a label of that name, or bind the symbol to an address',
    column,
  );
}

function combine(
  sign: string,
  a: bigint,
  b: bigint,
  fail: (reason: string, remedy: string) => AssemblyError,
): bigint {
  switch (sign) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return bounded(a * b, fail);
    case '&':
      return a & b;
    case '|':
      return a | b;
    case '^':
      return a ^ b;
    case '<<':
    case '>>':
      if (b < 0n || b > 127n) throw fail(`shift by ${b}`, 'shift by 0 to 127');
      if (sign === '<<') return bounded(a << b, fail);
      // Without sign, in 64 bits.
      return (a < 0n ? BigInt.asUintN(64, a) : a) >> b;
    default:
      if (b === 0n) throw fail('division by zero', 'correct the expression');
      return sign === '/' ? a / b : a % b;
  }
}

function bounded(value: bigint, fail: (reason: string, remedy: string) => AssemblyError): bigint {
  if (value < 1n << 192n && value > -(1n << 192n)) return value;
  throw fail('the number is too large', 'values have at most 128 bits');
}
