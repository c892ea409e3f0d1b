// zod's issues in the words of a person: what was expected at a key, what stands there, and the remedy. Where a value
// may have several forms, the one that its writer most likely meant is found first, and only its mistakes are told.
import type { core } from 'zod/mini';
import { nearest, type Path } from './scenario-error.ts';
import type { BlockIssue } from './scenario-values.ts';

type Issue = core.$ZodIssue;

/** A problem before it has a place in the text. */
export interface Complaint {
  readonly path: Path;
  /** The key is wrong rather than its value. */
  readonly part: 'key' | 'value';
  readonly message: string;
  readonly remedy: string;
}

/** @param root the value that was checked */
export function complaintsOf(issues: readonly Issue[], root: unknown): Complaint[] {
  return issues.flatMap((issue) => explain(issue, issue.path as Path, root));
}

function explain(issue: Issue, path: Path, root: unknown): Complaint[] {
  const got = valueAt(root, path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return unknownKeys(issue.keys, path, issue.message.split(' '));
    case 'invalid_union':
      return explainUnion(issue.errors as Issue[][], path, root);
    case 'too_small':
      return [wrongLength(path, issue.minimum, got)];
    case 'too_big':
      return [wrongLength(path, issue.maximum, got)];
    default: {
      if (got === undefined) return [missing(path, [issue])];
      const { wrong, remedy } = paramsOf(issue);
      if (wrong !== undefined) return [complaint(path, wrong, remedy)];
      return [mismatch(path, [issue], got)];
    }
  }
}

/** Tells the mistakes of the one form that was meant, or what the forms are. */
function explainUnion(branches: Issue[][], path: Path, root: unknown): Complaint[] {
  const forms = branches.flatMap(flatten);
  const got = valueAt(root, path);
  if (got === undefined) return [missing(path, forms.flat())];
  const kin = forms.filter((issues) => !issues.some((issue) => isOtherKind(issue, got)));
  const isNoWord = typeof got !== 'object' && !kin.flat().some((i) => paramsOf(i).wrong);
  if (kin.length === 0 || isNoWord) return [mismatch(path, forms.flat().filter(atRoot), got)];
  const fewest = Math.min(...kin.map((issues) => unknownAtRoot(issues).length));
  const closest = kin.filter((issues) => unknownAtRoot(issues).length === fewest);
  if (closest.length === 1) {
    return closest[0].flatMap((issue) => explain(issue, [...path, ...(issue.path as Path)], root));
  }
  const all = kin.flatMap(keysOf);
  const known = [...new Set(all)];
  const unknown = unknownAtRoot(closest[0]).filter((key) => !known.includes(key));
  if (unknown.length > 0) return unknownKeys(unknown, path, known);
  const telling = known.filter((key) => all.indexOf(key) === all.lastIndexOf(key));
  const message = 'exactly one key must say what is meant';
  return [complaint(path, message, `give one of ${telling.join(', ')}`)];
}

const atRoot = (issue: Issue): boolean => issue.path.length === 0;

/** Unions of unions at the same place are one. */
const flatten = (issues: Issue[]): Issue[][] =>
  issues.length === 1 && issues[0].code === 'invalid_union' && atRoot(issues[0])
    ? (issues[0].errors as Issue[][]).flatMap(flatten)
    : [issues];

/** Keys that a form knows: those of its unknown-key issue, and those it misses. */
const keysOf = (issues: Issue[]): string[] =>
  issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' && atRoot(issue)
      ? issue.message.split(' ')
      : issue.path.slice(0, 1).map(String),
  );

const unknownAtRoot = (issues: Issue[]): string[] =>
  issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' && atRoot(issue) ? issue.keys : [],
  );

/** True if the issue says that the whole value is of another kind than the form has. */
function isOtherKind(issue: Issue, got: unknown): boolean {
  if (!atRoot(issue)) return false;
  if (issue.code === 'invalid_type') return true;
  if (issue.code === 'invalid_value') return typeof got !== typeof issue.values[0];
  return issue.code === 'custom' && paramsOf(issue).wrong === undefined;
}

function unknownKeys(keys: readonly string[], path: Path, known: readonly string[]): Complaint[] {
  return keys.map((key) => {
    const near = nearest(key, known);
    const remedy = near ? `did you mean \`${near}\`?` : `known keys here are ${known.join(', ')}`;
    return { path: [...path, key], part: 'key', message: 'unknown key', remedy };
  });
}

const complaint = (path: Path, message: string, remedy: string): Complaint => ({
  path,
  part: 'value',
  message,
  remedy,
});

const wrongLength = (path: Path, wanted: number | bigint, got: unknown): Complaint =>
  complaint(path, `a list of ${(got as unknown[]).length} is given`, `give a list of ${wanted}`);

const missing = (path: Path, issues: readonly Issue[]): Complaint =>
  complaint(path, 'is missing', `give ${expectedOf(issues)}`);

function mismatch(path: Path, issues: readonly Issue[], got: unknown): Complaint {
  const expected = expectedOf(issues);
  return complaint(path, `expected ${expected}, got ${describe(got)}`, remedyFor(issues, got));
}

function remedyFor(issues: readonly Issue[], got: unknown): string {
  const values = issues.flatMap((issue) => (issue.code === 'invalid_value' ? issue.values : []));
  if (typeof got === 'string' && values.length > 0) {
    const near = nearest(got, values.map(String));
    if (near) return `did you mean \`${near}\`?`;
  }
  const wantsText = issues.some((i) => i.code === 'invalid_type' && i.expected === 'string');
  if (wantsText && ['bigint', 'number', 'boolean'].includes(typeof got)) return 'put it in quotes';
  const own = issues.map(paramsOf).find((params) => params.remedy !== '');
  return own && issues.length === 1 ? own.remedy : `give ${expectedOf(issues)}`;
}

const KINDS: Record<string, string> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  tuple: 'a list',
  string: 'text',
  boolean: 'true or false',
  null: 'null',
};

/** A mapping of few keys is best told by them. */
function formOf(issue: Extract<Issue, { code: 'invalid_type' }>): string {
  const kind = KINDS[issue.expected] ?? issue.expected;
  const keys = issue.expected === 'object' ? issue.message.split(' ') : [];
  return keys.length > 0 && keys.length <= 6 ? `{${keys.join(', ')}}` : kind;
}

/** What the issues' forms would have been, as a phrase. */
function expectedOf(issues: readonly Issue[]): string {
  const phrases = new Set<string>();
  for (const issue of issues) {
    if (issue.code === 'invalid_type') phrases.add(formOf(issue));
    else if (issue.code === 'invalid_value') {
      phrases.add((issue.values.length > 1 ? 'one of ' : '') + issue.values.map(String).join(', '));
    } else if (issue.code === 'custom') phrases.add(paramsOf(issue).expected);
    else if (issue.code === 'unrecognized_keys') phrases.add('a mapping');
  }
  const all = [...phrases];
  return all.length > 1 ? `${all.slice(0, -1).join(', ')} or ${all.at(-1)}` : (all[0] ?? 'a value');
}

const paramsOf = (issue: Issue): BlockIssue =>
  (issue.code === 'custom' ? (issue.params as BlockIssue | undefined) : undefined) ?? {
    expected: '',
    remedy: '',
  };

/** A value as an error message shows it. */
function describe(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return String(value);
  const text = JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return `the text ${text}`;
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string | number, unknown>)[key];
  }
  return value;
}
