// Text patterns of the scenario format: whole lines, in which {re:…} stands for what a regular expression matches, and
// lines holding only … that skip any number of lines. The expression ends at the brace that matches its first one;
// braces that it escapes or lists in a class do not count. Line ends after the last line are not compared, since YAML's
// block texts drop them.

/** A pattern of one or more lines, compiled. */
export interface TextPattern {
  /** As it was written. */
  readonly source: string;
  readonly lines: readonly LinePattern[];
}

export type LinePattern =
  | { readonly kind: 'line'; readonly source: string; readonly matches: (line: string) => boolean }
  /** A lone …: any number of lines, none included. */
  | { readonly kind: 'skip' };

/** A pattern that cannot be read. `index` is where in the text, from 0. */
export class PatternError extends Error {
  readonly index: number;

  constructor(message: string, index: number) {
    super(message);
    this.name = 'PatternError';
    this.index = index;
  }
}

/** What was compared, and where it went wrong: at the line of the pattern that the text got to at best. */
export type MatchResult =
  | { readonly ok: true }
  /** The pattern's line, and the text's at `textLine` (from 0), that stood there instead. */
  | {
      readonly ok: false;
      readonly wanted: string;
      readonly got: string;
      readonly textLine: number;
    };

const SKIP = '…';
const OPEN = '{re:';

/** @throws PatternError for an expression without its closing brace, or one that is no regular expression */
export function compilePattern(source: string): TextPattern {
  const lines: LinePattern[] = [];
  let index = 0;
  for (const line of splitLines(source)) {
    lines.push(compileLine(line, index));
    index += line.length + 1;
  }
  return { source, lines };
}

/** Does the whole of `text` match, from its first line to its last? */
export function matchText(pattern: TextPattern, text: string): MatchResult {
  const { lines } = pattern;
  const got = splitLines(text);
  // Greedy with one step back: the last … seen takes one more line whenever what follows it does not fit.
  let at = 0;
  let line = 0;
  let retry: { pattern: number; line: number } | null = null;
  let furthest = { line: 0, pattern: -1 };
  while (line < got.length) {
    const wanted = lines[at];
    if (wanted?.kind === 'skip') {
      retry = { pattern: ++at, line };
      continue;
    }
    if (wanted?.matches(got[line])) {
      at++;
      line++;
      continue;
    }
    if (at > furthest.pattern) furthest = { line, pattern: at };
    if (retry === null) return mismatch(lines, got, furthest);
    retry.line++;
    line = retry.line;
    at = retry.pattern;
  }
  while (lines[at]?.kind === 'skip') at++;
  if (at === lines.length) return { ok: true };
  const end = { line: got.length, pattern: at };
  return mismatch(lines, got, at > furthest.pattern ? end : furthest);
}

/**
 * Are there lines of `text` that match `wanted`, in this order?
 * @returns index of the first pattern that finds no line, or -1
 */
export function findInOrder(wanted: readonly TextPattern[], text: readonly string[]): number {
  let from = 0;
  for (const [index, pattern] of wanted.entries()) {
    for (const line of pattern.lines) {
      if (line.kind === 'skip') continue;
      const at = text.findIndex((candidate, i) => i >= from && line.matches(candidate));
      if (at < 0) return index;
      from = at + 1;
    }
  }
  return -1;
}

function mismatch(
  lines: readonly LinePattern[],
  got: readonly string[],
  at: { line: number; pattern: number },
): MatchResult {
  const wanted = lines[at.pattern];
  return {
    ok: false,
    wanted:
      wanted === undefined ? 'no further line' : wanted.kind === 'line' ? wanted.source : SKIP,
    got: at.line < got.length ? got[at.line] : 'no further line',
    textLine: at.line,
  };
}

/** Lines without their ends; ends after the last line count for nothing, so an empty text has no lines. */
function splitLines(text: string): string[] {
  const body = text.replace(/\n+$/, '');
  return body === '' ? [] : body.split('\n');
}

function compileLine(line: string, start: number): LinePattern {
  if (line.trim() === SKIP) return { kind: 'skip' };
  if (!line.includes(OPEN)) {
    return { kind: 'line', source: line, matches: (candidate) => candidate === line };
  }
  let expression = '';
  let at = 0;
  for (;;) {
    const open = line.indexOf(OPEN, at);
    if (open < 0) break;
    const close = closingBrace(line, open + OPEN.length);
    if (close < 0) throw new PatternError('{re: has no closing brace on its line', start + open);
    const part = line.slice(open + OPEN.length, close);
    compileExpression(part, start + open);
    expression += `${escapeLiteral(line.slice(at, open))}(?:${part})`;
    at = close + 1;
  }
  const whole = new RegExp(`^(?:${expression}${escapeLiteral(line.slice(at))})$`, 'u');
  return { kind: 'line', source: line, matches: (candidate) => whole.test(candidate) };
}

function compileExpression(source: string, index: number): RegExp {
  try {
    return new RegExp(source, 'u');
  } catch (error) {
    throw new PatternError(error instanceof Error ? error.message : String(error), index);
  }
}

/** Index of the brace that closes the one before `from`, or -1. */
function closingBrace(line: string, from: number): number {
  let depth = 1;
  let inClass = false;
  for (let i = from; i < line.length; i++) {
    const c = line[i];
    if (c === '\\') i++;
    else if (inClass) inClass = c !== ']';
    else if (c === '[') inClass = true;
    else if (c === '{') depth++;
    else if (c === '}' && --depth === 0) return i;
  }
  return -1;
}

const escapeLiteral = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
