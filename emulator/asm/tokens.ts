// The words of one statement: names, numbers, constants in quotes, punctuation. Numbers are GNU as's: decimal, 0x, 0b,
// octal with a leading 0, `'c` and `'c'`; `1b` and `1f` are references to local labels. Left out: bignums past 128 bits
// and the `h` suffix of other assemblers.
import { AssemblyError } from './error.ts';
import type { Statement } from './source.ts';

export interface Token {
  readonly type: 'name' | 'number' | 'float' | 'local' | 'string' | 'punct' | 'end';
  /** As written; a name keeps its case. */
  readonly text: string;
  /** Of a number or character constant. */
  readonly value?: bigint;
  /** Of a string, with its escapes resolved. */
  readonly bytes?: Uint8Array;
  /** From 1, in the line. */
  readonly column: number;
}

const SPACE = /\s+/y;
const NAME = /[A-Za-z_.$][\w.$]*/y;
const NUMBER = /\d[\w.]*(?:(?<=[0-9.][eE])[+-]\d+)?/y;
const PUNCT = /<<|>>|\|\||&&|==|!=|<>|<=|>=|[-+*/%&|^~!()[\]{},#:=@<>]/y;

const ESCAPES: Record<string, number> = { b: 8, f: 12, n: 10, r: 13, t: 9 };

/** @returns the tokens, closed by one of type `end`. @throws AssemblyError at the first thing that is none */
export function tokenize(statement: Statement): Token[] {
  const { text } = statement;
  const tokens: Token[] = [];
  let at = 0;
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0] ?? null;
  };
  while (at < text.length) {
    const column = statement.column + at;
    const space = match(SPACE);
    if (space !== null) {
      at += space.length;
      continue;
    }
    const token = next(statement, text, at, column, match);
    at += token.text.length;
    tokens.push(token);
  }
  tokens.push({ type: 'end', text: '', column: statement.column + text.length });
  return tokens;
}

function next(
  statement: Statement,
  text: string,
  at: number,
  column: number,
  match: (pattern: RegExp) => string | null,
): Token {
  const place = { line: statement.line, column };
  const name = match(NAME);
  if (name !== null) return { type: 'name', text: name, column };
  const number = match(NUMBER);
  if (number !== null) return numberToken(number, place);
  if (text[at] === '"') return stringToken(text, at, place);
  if (text[at] === "'") return charToken(text, at, place);
  const punct = match(PUNCT);
  if (punct !== null) return { type: 'punct', text: punct, column };
  const sign = String.fromCodePoint(text.codePointAt(at)!);
  throw new AssemblyError(
    place,
    `stray character ${JSON.stringify(sign)}`,
    sign === '`' ? 'remove it' : 'registers are written without %, immediates without $',
  );
}

function numberToken(text: string, place: { line: number; column: number }): Token {
  const { column } = place;
  const value = integer(text);
  if (value !== null) return { type: 'number', text, value, column };
  if (/^\d+[bf]$/i.test(text)) return { type: 'local', text: text.toLowerCase(), column };
  if (/^\d+\.\d*(e[+-]?\d+)?$|^\d+e[+-]?\d+$/i.test(text)) return { type: 'float', text, column };
  // {1to8} of AVX-512; anything else that looks like it is refused by whoever reads it.
  if (/^1to\d+$/i.test(text)) return { type: 'name', text, column };
  throw new AssemblyError(place, `bad number "${text}"`, 'write 10, 0xa, 0b1010 or 012');
}

/** @returns the value, or null if `text` is no integer */
export function integer(text: string): bigint | null {
  if (/^(0x[0-9a-f]+|0b[01]+|0|[1-9]\d*)$/i.test(text)) return BigInt(text.toLowerCase());
  return /^0[0-7]+$/.test(text) ? BigInt(`0o${text.slice(1)}`) : null;
}

function stringToken(text: string, at: number, place: { line: number; column: number }): Token {
  const bytes: number[] = [];
  let end = at + 1;
  while (text[end] !== '"') {
    if (end >= text.length) {
      throw new AssemblyError(place, 'string without end', 'close it with " on the same line');
    }
    if (text[end] === '\\') {
      const [value, length] = escapeAt(text, end, place);
      bytes.push(value);
      end += length;
    } else {
      const sign = String.fromCodePoint(text.codePointAt(end)!);
      bytes.push(...new TextEncoder().encode(sign));
      end += sign.length;
    }
  }
  const written = text.slice(at, end + 1);
  return { type: 'string', text: written, bytes: Uint8Array.from(bytes), column: place.column };
}

function charToken(text: string, at: number, place: { line: number; column: number }): Token {
  if (at + 1 >= text.length) throw new AssemblyError(place, 'empty constant', "write 'a'");
  const [value, length] =
    text[at + 1] === '\\' ? escapeAt(text, at + 1, place) : [text.charCodeAt(at + 1), 1];
  const end = at + 1 + length;
  const written = text.slice(at, text[end] === "'" ? end + 1 : end);
  return { type: 'number', text: written, value: BigInt(value), column: place.column };
}

/** The byte an escape stands for and the escape's length. */
function escapeAt(
  text: string,
  at: number,
  place: { line: number; column: number },
): [number, number] {
  const sign = text[at + 1] ?? '';
  if (sign in ESCAPES) return [ESCAPES[sign], 2];
  if (sign === '\\' || sign === '"' || sign === "'") return [sign.charCodeAt(0), 2];
  const octal = /^\\[0-7]{1,3}/.exec(text.slice(at))?.[0];
  if (octal !== undefined) return [Number.parseInt(octal.slice(1), 8) & 0xff, octal.length];
  const hex = /^\\x[0-9a-f]+/i.exec(text.slice(at))?.[0];
  if (hex !== undefined) return [Number(BigInt(`0${hex.slice(1)}`) & 0xffn), hex.length];
  throw new AssemblyError(place, `unknown escape \\${sign}`, 'use \\n \\t \\\\ \\" \\0 or \\x41');
}

/** Reads tokens one after another and complains at the right column. */
export class TokenReader {
  readonly statement: Statement;
  private readonly tokens: readonly Token[];
  private at = 0;

  constructor(statement: Statement, tokens: readonly Token[] = tokenize(statement)) {
    this.statement = statement;
    this.tokens = tokens;
  }

  peek(ahead = 0): Token {
    return this.tokens[Math.min(this.at + ahead, this.tokens.length - 1)];
  }

  take(): Token {
    const token = this.peek();
    if (token.type !== 'end') this.at++;
    return token;
  }

  get done(): boolean {
    return this.peek().type === 'end';
  }

  isPunct(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token.type === 'punct' && token.text === text;
  }

  /** Takes the punctuation if it comes next. */
  accept(text: string): boolean {
    if (!this.isPunct(text)) return false;
    this.at++;
    return true;
  }

  /** Takes a name of this spelling (case does not count) if it comes next. */
  acceptName(name: string): boolean {
    const token = this.peek();
    if (token.type !== 'name' || token.text.toLowerCase() !== name) return false;
    this.at++;
    return true;
  }

  expect(text: string): void {
    if (!this.accept(text)) throw this.error(`expected "${text}", found ${this.describe()}`);
  }

  expectEnd(): void {
    if (!this.done) throw this.error(`unexpected ${this.describe()}`);
  }

  mark(): number {
    return this.at;
  }

  reset(mark: number): void {
    this.at = mark;
  }

  error(reason: string, remedy = 'correct the statement', token = this.peek()): AssemblyError {
    return new AssemblyError({ line: this.statement.line, column: token.column }, reason, remedy);
  }

  private describe(): string {
    const token = this.peek();
    return token.type === 'end' ? 'the end of the statement' : `"${token.text}"`;
  }
}
