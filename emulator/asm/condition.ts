// `.if` and its kin: whether what follows is assembled. Conditions are judged where they stand, so they may ask only of
// numbers that are known by then: labels and what comes later have none yet.
import { AssemblyError } from './error.ts';
import { evaluate, NO_REGISTERS, parseExpr } from './expression.ts';
import type { Statement } from './source.ts';
import { TokenReader } from './tokens.ts';

/** What is known where the condition stands. */
export interface Known {
  /** @returns the value of a symbol that stands for a number, or null */
  numberOf(name: string): bigint | null;
  /** A label or number of this name has been seen. */
  isDefined(name: string): boolean;
}

const COMPARE: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<>': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

/** `.ifgt x` and so on: x against 0. */
const AGAINST_ZERO: Readonly<Record<string, string>> = {
  '.if': '!=',
  '.elseif': '!=',
  '.ifne': '!=',
  '.ifeq': '==',
  '.ifgt': '>',
  '.iflt': '<',
  '.ifge': '>=',
  '.ifle': '<=',
};

/**
 * @param directive lower case, with its point
 * @param rest of the statement; it begins in the column that it is told to
 * @throws AssemblyError for what is no condition, or is not known yet
 */
export function isMet(directive: string, rest: Statement, known: Known): boolean {
  const text = rest.text.trim();
  switch (directive) {
    case '.ifb':
      return text === '';
    case '.ifnb':
      return text !== '';
    case '.ifdef':
    case '.ifndef':
    case '.ifnotdef':
      return known.isDefined(text) === (directive === '.ifdef');
    case '.ifc':
    case '.ifnc':
    case '.ifeqs':
    case '.ifnes':
      return sameTexts(rest) === !/^\.ifn/.test(directive);
    default:
      return COMPARE[AGAINST_ZERO[directive]](numberHere(rest, known), 0n);
  }
}

function sameTexts(rest: Statement): boolean {
  const parts = rest.text.split(',').map((part) => part.trim().replace(/^(["'])(.*)\1$/, '$2'));
  if (parts.length === 2) return parts[0] === parts[1];
  throw new AssemblyError(rest, 'two texts are compared', 'write them with one comma between');
}

/** The number that an expression comes to here. @throws AssemblyError */
export function numberHere(rest: Statement, known: Known): bigint {
  const reader = new TokenReader(rest);
  const value = either(reader, known);
  reader.expectEnd();
  return value;
}

const truth = (is: boolean): bigint => (is ? -1n : 0n);

function either(reader: TokenReader, known: Known): bigint {
  let value = both(reader, known);
  while (reader.accept('||')) {
    const other = both(reader, known);
    value = truth(value !== 0n || other !== 0n);
  }
  return value;
}

function both(reader: TokenReader, known: Known): bigint {
  let value = comparison(reader, known);
  while (reader.accept('&&')) {
    const other = comparison(reader, known);
    value = truth(value !== 0n && other !== 0n);
  }
  return value;
}

function comparison(reader: TokenReader, known: Known): bigint {
  const value = plain(reader, known);
  const sign = reader.peek().text;
  if (reader.peek().type !== 'punct' || !Object.hasOwn(COMPARE, sign)) return value;
  reader.take();
  return truth(COMPARE[sign](value, plain(reader, known)));
}

function plain(reader: TokenReader, known: Known): bigint {
  if (reader.accept('!')) return truth(plain(reader, known) === 0n);
  const mark = reader.mark();
  if (reader.accept('(')) {
    // A condition in parentheses; an expression may go on behind them.
    const inner = either(reader, known);
    reader.expect(')');
    if (reader.done || /^(\)|&&|\|\||[=!<>]=?|<>)$/.test(reader.peek().text)) return inner;
    reader.reset(mark);
  }
  const { column } = reader.peek();
  const scope = { here: 0n, lookup: (name: string) => known.numberOf(name) };
  const expr = parseExpr(reader, { ...NO_REGISTERS, isHere: () => false });
  return evaluate(expr, scope, (reason, _remedy, at = column) => {
    const place = { line: reader.statement.line, column: at };
    return new AssemblyError(place, reason, 'a condition or count asks of numbers set before it');
  });
}
