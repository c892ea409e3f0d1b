// Addresses as people type them into the debugger: a sum of numbers, $registers and names.
import { CliError } from './errors.ts';

/** Where the terms of an expression get their values. */
export interface Names {
  /** @throws CliError for an unknown register */
  register(name: string): bigint;
  /** Value of a symbol, label or arena; undefined if there is none. */
  named(name: string): bigint | undefined;
}

/** One sign and one term; the first term may stand without a sign. */
const TERM = /\s*([+-]?)\s*(\$?[A-Za-z_.][\w.]*|0x[0-9a-fA-F]+|[0-9]+)\s*/y;

/** The sum modulo 2^64. @throws CliError */
export function evaluate(text: string, names: Names): bigint {
  let sum = 0n;
  let at = 0;
  do {
    TERM.lastIndex = at;
    const match = TERM.exec(text);
    if (match === null || (at > 0 && match[1] === '')) {
      throw new CliError(
        text.trim() === '' ? 'an address is missing' : `${text} is no address`,
        'give numbers, $registers, symbols, labels or arenas, with + and - between them',
      );
    }
    at = TERM.lastIndex;
    const value = termValue(match[2], names);
    sum = BigInt.asUintN(64, match[1] === '-' ? sum - value : sum + value);
  } while (at < text.length);
  return sum;
}

function termValue(term: string, names: Names): bigint {
  if (/^[0-9]/.test(term)) return BigInt(term);
  if (term.startsWith('$')) return names.register(term.slice(1));
  const value = names.named(term);
  if (value !== undefined) return value;
  throw new CliError(`no symbol ${term}`, 'give a number, $register, symbol, label or arena');
}
