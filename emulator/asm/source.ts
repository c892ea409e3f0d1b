// Cuts assembly text into statements, as GNU as does: newline and `;` separate, comments vanish, every statement keeps
// its line and column. There is no C preprocessor.
import { AssemblyError } from './error.ts';

export type AsmArch = 'x86_64' | 'arm64';

export interface Statement {
  /** From 1, in the text handed in. */
  readonly line: number;
  readonly column: number;
  /** Without comments and outer blanks. */
  readonly text: string;
}

const PREPROCESSOR = /^\s*#(include|define|undef|ifdef|ifndef|if|elif|else|endif|pragma|error)\b/;

/** @returns the statements in order, labels still in front of their instruction. @throws AssemblyError */
export function splitStatements(text: string, arch: AsmArch): Statement[] {
  const statements: Statement[] = [];
  let line = 0;
  for (const row of blankComments(text, arch).split('\n')) {
    line++;
    for (const [from, to] of pieces(row)) {
      const piece = row.slice(from, to);
      const trimmed = piece.trim();
      if (trimmed === '') continue;
      statements.push({ line, column: from + piece.search(/\S/) + 1, text: trimmed });
    }
  }
  return statements;
}

/** Characters that begin nothing special. */
const PLAIN = /[^/#"'\n\t\r\f\v\u00a0\u2028\u2029\ufeff]+/y;

/** The same text, character for character, with spaces where comments stood; newlines stay. */
function blankComments(text: string, arch: AsmArch): string {
  let out = '';
  let at = 0;
  let line = 1;
  let lineStart = 0;
  const skipTo = (end: number) => {
    for (; at < end; at++) {
      if (text[at] === '\n') {
        line++;
        lineStart = at + 1;
      }
      out += text[at] === '\n' ? '\n' : ' ';
    }
  };
  while (at < text.length) {
    PLAIN.lastIndex = at;
    const plain = PLAIN.exec(text)?.[0] ?? '';
    out += plain;
    at += plain.length;
    if (at >= text.length) break;
    const place = { line, column: at - lineStart + 1 };
    if (text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2);
      if (end < 0) throw new AssemblyError(place, 'comment without end', 'close it with */');
      skipTo(end + 2);
    } else if (text.startsWith('//', at) || startsHashComment(text, at, lineStart, arch)) {
      const end = endOfLine(text, at);
      refusePreprocessor(text.slice(lineStart, end), place);
      skipTo(end);
    } else {
      const end = literalEnd(text, at);
      if (text[at] === '\n') {
        line++;
        lineStart = at + 1;
      }
      // Other white space becomes a blank, so that no later stage meets a form feed or a carriage return.
      out += end === at + 1 && /[^\S\n]/.test(text[at]) ? ' ' : text.slice(at, end);
      at = end;
    }
  }
  return out;
}

/** On AArch64 `#` also marks an immediate, so it begins a comment only as the first thing on its line. */
const startsHashComment = (text: string, at: number, lineStart: number, arch: AsmArch) =>
  text[at] === '#' && (arch === 'x86_64' || text.slice(lineStart, at).trim() === '');

function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

function refusePreprocessor(row: string, place: { line: number; column: number }): void {
  const found = PREPROCESSOR.exec(row);
  if (found === null) return;
  throw new AssemblyError(
    place,
    `#${found[1]} is for the C preprocessor, which does not run here`,
    'preprocess the file first (cc -E), or begin a comment with "# " or "//"',
  );
}

/** End of the string or character constant that begins at `at`, never past its line; `at + 1` if none does. */
function literalEnd(text: string, at: number): number {
  if (text[at] === '"') {
    let end = at + 1;
    while (end < text.length && text[end] !== '"' && text[end] !== '\n') {
      end += text[end] === '\\' && text[end + 1] !== '\n' ? 2 : 1;
    }
    return Math.min(text[end] === '"' ? end + 1 : end, text.length);
  }
  if (text[at] === "'" && at + 1 < text.length && text[at + 1] !== '\n') {
    let end = text[at + 1] === '\\' && at + 2 < text.length ? at + 3 : at + 2;
    if (text[at + 1] === '\\' && text[at + 2] === '\n') end = at + 2;
    return text[end] === "'" ? end + 1 : end;
  }
  return at + 1;
}

/** Ranges of a row between the `;` that stand outside constants. */
function pieces(row: string): [number, number][] {
  const found: [number, number][] = [];
  let from = 0;
  for (let at = 0; at < row.length; at = literalEnd(row, at)) {
    if (row[at] !== ';') continue;
    found.push([from, at]);
    from = at + 1;
  }
  found.push([from, row.length]);
  return found;
}
