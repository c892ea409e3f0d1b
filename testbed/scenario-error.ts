// What is wrong with a scenario file, for the person who wrote it: place, key, what was expected, and the remedy.

/** One thing wrong. */
export interface Problem {
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** Keys from the top of the file: `steps[2].expect.freed`; empty for the file itself. */
  readonly path: string;
  readonly message: string;
  readonly remedy: string;
}

/** Files with very many mistakes mostly have one, repeated. */
const MOST = 20;

/** A file that cannot be used. Line, column and remedy are those of the first problem where there is only one. */
export class ScenarioError extends Error {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly remedy: string;
  /** Sorted by place, at most 20. */
  readonly problems: readonly Problem[];

  /** @param problems in any order, at least one; repetitions are dropped */
  constructor(file: string, problems: readonly Problem[]) {
    const all = distinct([...problems].sort(byPlace));
    const shown = all.slice(0, MOST);
    super(messageOf(file, shown, all.length - shown.length));
    this.name = 'ScenarioError';
    this.file = file;
    this.line = shown[0].line;
    this.column = shown[0].column;
    this.problems = shown;
    this.remedy = shown.length === 1 ? shown[0].remedy : 'mend these places and run it again';
  }
}

const byPlace = (a: Problem, b: Problem): number => a.line - b.line || a.column - b.column;

/** Both architectures of a file meet the same mistakes. */
const distinct = (problems: readonly Problem[]): Problem[] =>
  problems.filter(
    (problem, i) =>
      problems.findIndex((p) => p.path === problem.path && p.message === problem.message) === i,
  );

function messageOf(file: string, problems: readonly Problem[], more: number): string {
  const place = (p: Problem) =>
    `${file}:${p.line}:${p.column}: ${p.path === '' ? '' : `${p.path}: `}${p.message}`;
  if (problems.length === 1) return place(problems[0]);
  const lines = problems.map((p, i) =>
    // The same mistake in many places needs its remedy once.
    p.remedy === problems[i - 1]?.remedy ? place(p) : `${place(p)}\n    ${p.remedy}`,
  );
  return [...lines, ...(more > 0 ? [`and ${more} more`] : [])].join('\n');
}

export type Path = readonly (string | number)[];

/** `['steps', 2, 'expect']` as a reader writes it: `steps[2].expect`. */
export const formatPath = (path: Path): string =>
  path.map((key, i) => (typeof key === 'number' ? `[${key}]` : i > 0 ? `.${key}` : key)).join('');

/** The one of `known` that `word` was most likely meant to be, or null if none is near. */
export function nearest(word: string, known: readonly string[]): string | null {
  let best: string | null = null;
  // Nearly half of the letters may be wrong, and two in any case but that of the very short.
  let least = Math.max(Math.min(2, word.length - 1), Math.floor(word.length * 0.45)) + 1;
  for (const candidate of known) {
    if (word.length > 2 && candidate.startsWith(word)) return candidate;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least) {
      best = candidate;
      least = distance;
    }
  }
  return best;
}

/** Letters to insert, drop, change or swap with their neighbour (Damerau-Levenshtein, adjacent swaps once). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(change, row[j] + 1, next[j - 1] + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    before = row;
    row = next;
  }
  return row[b.length];
}
