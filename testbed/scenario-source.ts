// The text of a scenario file as plain values, and where in it each of them stands. Integers become bigints, so that
// none loses bits; floating-point numbers stay numbers, and the schema refuses them. YAML 1.2 core, one document;
// JSON is a part of it.
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from 'yaml';
import { type Path, type Problem, ScenarioError } from './scenario-error.ts';

/** Values in a file at most: aliases of aliases can make a small file huge. */
const MOST_VALUES = 100_000;

/** Levels of nesting; a scenario needs about ten. The parser recurses, and far beyond this it takes the process down. */
const MOST_LEVELS = 100;

export interface Source {
  readonly file: string;
  readonly value: unknown;
  /** Where the value at `path` stands, or its key; the nearest enclosing value where nothing stands there. */
  placeOf(path: Path, part: 'key' | 'value'): Place;
}

/** From 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** @throws ScenarioError for a text that is no YAML */
export function readSource(text: string, file: string): Source {
  const lines = new LineCounter();
  const document = parse(text, file, lines);
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const faults = [...document.errors, ...document.warnings].map(
    (error): Problem => ({
      ...place(error.pos[0]),
      path: '',
      message: SYNTAX_MESSAGES[error.code] ?? summary(error.message),
      remedy:
        SYNTAX_REMEDIES[error.code] ?? 'the file must be YAML (or JSON): mend its syntax here',
    }),
  );
  if (faults.length > 0) throw new ScenarioError(file, faults);
  const fail = (node: Node | null, message: string, remedy: string): never => {
    const at = place(node?.range?.[0] ?? 0);
    throw new ScenarioError(file, [{ ...at, path: '', message, remedy }]);
  };
  return {
    file,
    value: new Converter(fail).convert(document.contents),
    placeOf: (path, part) => place(offsetOf(document, path, part)),
  };
}

const SYNTAX_MESSAGES: Record<string, string> = {
  DUPLICATE_KEY: 'this key stands twice in one mapping',
  MULTIPLE_DOCS: 'a second document begins here',
};

const SYNTAX_REMEDIES: Record<string, string> = {
  DUPLICATE_KEY: 'keep one of the two',
  MULTIPLE_DOCS: 'a file holds one scenario: move the others into files of their own',
  TAB_AS_INDENT: 'indent with spaces',
  BAD_INDENT: 'align it with its neighbours',
  TAG_RESOLVE_FAILED: 'leave the tag out',
  BAD_ALIAS: 'define the anchor above its first use',
};

/** The first line of the parser's message, without the place that it repeats. */
const summary = (message: string): string =>
  lowerFirst(message.split('\n', 1)[0].replace(/ at line \d+, column \d+:?$/, ''));

const lowerFirst = (text: string): string => text.slice(0, 1).toLowerCase() + text.slice(1);

function parse(text: string, file: string, lineCounter: LineCounter): Document {
  if (mayNestDeeply(text)) {
    const message = 'the file is nested too deeply';
    const remedy = 'a scenario needs about ten levels';
    throw new ScenarioError(file, [{ line: 1, column: 1, path: '', message, remedy }]);
  }
  return parseDocument(text, { intAsBigInt: true, lineCounter, prettyErrors: false });
}

/** A look at the text alone: brackets (also those in texts), and marks or blanks at the head of a line. */
function mayNestDeeply(text: string): boolean {
  let level = 0;
  for (const bracket of text.match(/[[\]{}]/g) ?? []) {
    level = bracket === '[' || bracket === '{' ? level + 1 : Math.max(level - 1, 0);
    if (level > MOST_LEVELS) return true;
  }
  return new RegExp(`(?:[-?:] +){${MOST_LEVELS}}|^ {${MOST_LEVELS * 8}}`, 'm').test(text);
}

class Converter {
  private values = 0;
  /** Filled in the order of the document, as YAML wants it: an alias means the last anchor before it. */
  private readonly anchors = new Map<string, Node>();
  private readonly fail: (node: Node | null, message: string, remedy: string) => never;

  constructor(fail: (node: Node | null, message: string, remedy: string) => never) {
    this.fail = fail;
  }

  convert(node: unknown, depth = 0): unknown {
    if (++this.values > MOST_VALUES || depth > MOST_LEVELS) {
      this.fail(node as Node, 'the file is too large or too deep', 'use fewer aliases and levels');
    }
    if (isAlias(node)) {
      const meant = this.anchors.get(node.source);
      if (!meant)
        this.fail(node, `no anchor &${node.source} stands before this`, 'define it above');
      return this.convert(meant, depth + 1);
    }
    if (isNode(node) && node.anchor) this.anchors.set(node.anchor, node);
    if (isSeq(node)) return node.items.map((item) => this.convert(item, depth + 1));
    if (isMap(node)) return this.mapping(node, depth);
    return isScalar(node) ? node.value : null;
  }

  private mapping(map: YAMLMap, depth: number): Record<string, unknown> {
    const result: Record<string, unknown> = {};
    for (const pair of map.items) {
      if (!isScalar(pair.key))
        this.fail(pair.key as Node, 'a key must be a word', 'write key: value');
      const key = keyOf(pair);
      // zod leaves it out of records, and an assignment would set the prototype.
      if (key === '__proto__')
        this.fail(pair.key as Node, 'a key cannot be __proto__', 'rename it');
      result[key] = this.convert(pair.value, depth + 1);
    }
    return result;
  }
}

const keyOf = (pair: Pair): string => String(isScalar(pair.key) ? pair.key.value : pair.key);

/** Offset into the text of what stands at `path`, or of the nearest thing around it. */
function offsetOf(document: Document, path: Path, part: 'key' | 'value'): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [i, key] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    const pair = isMap(node) ? node.items.find((item) => keyOf(item) === String(key)) : undefined;
    const next: unknown = pair ? pair.value : isSeq(node) ? node.items[Number(key)] : undefined;
    if (next === undefined) return offset;
    const last = i === path.length - 1;
    const keyStart = pair && startOf(pair.key);
    // An enclosing mapping is best pointed at by its key: its own first byte is that of some other key.
    const wanted = last && part === 'value' ? startOf(next) : (keyStart ?? startOf(next));
    offset = wanted ?? keyStart ?? offset;
    node = next;
  }
  return offset;
}

const startOf = (node: unknown): number | undefined => (node as Node | null)?.range?.[0];
