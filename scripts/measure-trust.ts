// Finds the tests that hold each tagged kernel function: npx tsx scripts/measure-trust.ts [WORD...]
// In a copy of the sources it leaves out one function at a time (it returns at once) and runs tests that reach it; a
// test that then fails holds the function. Writes scripts/trust/held-by.json, from which gen-trust.ts makes
// docs/trust.md. With WORDs it measures only the functions whose ids contain one of them and keeps the rest. Exit codes:
// 0 every function is held; 1 some are not; 2 the tests do not run. It runs for ten minutes or so.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { idOf } from './trust/break.ts';
import { ROOT, read, sourceFiles } from './trust/files.ts';
import { readSource } from './trust/tags.ts';
import { testsOf, titleMatches, type WrittenTest } from './trust/tests.ts';
import { failures, openWorkshop, type Reach, reachOf } from './trust/workshop.ts';

const OUTPUT = 'scripts/trust/held-by.json';
/** Tests that are tried for a function: first a few of the closest, then more. Rows of a table count once. */
const TRIED = [6, 60, 400];
/** Tests of speed, which fail on a busy machine. */
const TIMED = /well under a second|stays fast|stays quick/;
/** Tests that are kept of a function. */
const KEPT = 2;

/** Columns of a line, with its comma. */
const WIDTH = 100;

type HeldBy = Record<string, readonly string[]>;

/**
 * The tests that reach a function, the closest first: those that name the kernel function, those in the file beside
 * it, and then those that reach little else.
 */
function byCloseness(id: string, names: readonly string[], reach: readonly Reach[]): Reach[] {
  const beside = id.replace(/\.ts#.*$/, '.test.ts');
  const distance = ({ file, title, ids }: Reach): number =>
    ids.length -
    (names.some((name) => new RegExp(`\\b${name}\\b`).test(title)) ? 1000 : 0) -
    (file === beside ? 500 : 0);
  return reach
    .filter(({ ids }) => ids.includes(id))
    .map((test) => ({ test, far: distance(test) }))
    .sort((a, b) => a.far - b.far)
    .map(({ test }) => test);
}

const written = new Map<string, readonly WrittenTest[]>();

/** `file: title` of a test as it is written; undefined for one that is made at run time. */
function writtenName({ file, title }: Reach): string | undefined {
  const tests = written.get(file) ?? testsOf(file, read(file));
  written.set(file, tests);
  const test = tests.find((each) => titleMatches(each.title, title));
  return test && `${file}: ${test.title}`;
}

/** The closest tests that fail without a function. */
async function holdersOf(dir: string, id: string, reaching: readonly Reach[]): Promise<string[]> {
  const byName = new Map<string, Reach>();
  for (const test of reaching) {
    const name = writtenName(test);
    if (name !== undefined && !byName.has(name)) byName.set(name, test);
  }
  const candidates = [...byName];
  for (const tried of TRIED) {
    const tests = candidates.slice(0, tried).map(([, test]) => test);
    if (tests.length === 0) break;
    const failed =
      (await failures(dir, tests, { LEFT_OUT: id })) ??
      (await failures(dir, tests, { THROWING: id })) ??
      [];
    const kept = candidates
      .filter(([, { file, title }]) => failed.includes(`${file}: ${title}`))
      .slice(0, KEPT);
    if (kept.length > 0) return kept.map(([name]) => name);
    if (tried >= candidates.length) break;
  }
  return [];
}

/** As the formatter would have it. */
function formatted(heldBy: HeldBy): string {
  const lines = Object.entries(heldBy).map(([id, tests]) => {
    const name = `  ${JSON.stringify(id)}: `;
    const texts = tests.map((test) => JSON.stringify(test));
    const short = `${name}[${texts.join(', ')}]`;
    return short.length < WIDTH ? short : `${name}[\n    ${texts.join(',\n    ')}\n  ]`;
  });
  return `{\n${lines.join(',\n')}\n}\n`;
}

const wanted = (id: string, words: readonly string[]): boolean =>
  words.length === 0 || words.some((word) => id.includes(word));

async function main(words: readonly string[]): Promise<number> {
  const tags = sourceFiles().flatMap((file) => readSource(file, read(file)).tags);
  const { dir, ids } = openWorkshop();
  try {
    const reach = (await reachOf(dir)).filter(({ title }) => !TIMED.test(title));
    const old: HeldBy =
      words.length > 0 && existsSync(join(ROOT, OUTPUT)) ? JSON.parse(read(OUTPUT)) : {};
    const heldBy: HeldBy = Object.fromEntries(ids.map((id) => [id, old[id] ?? []]));
    for (const id of ids.filter((each) => wanted(each, words))) {
      const names = tags.filter((tag) => idOf(tag.file, tag.symbol) === id).map((tag) => tag.name);
      heldBy[id] = await holdersOf(dir, id, byCloseness(id, names, reach));
      console.log(`${id}  ${heldBy[id].join('  AND  ') || 'NOT HELD'}`);
    }
    writeFileSync(join(ROOT, OUTPUT), formatted(heldBy));
    return Object.values(heldBy).every((tests) => tests.length > 0) ? 0 : 1;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(`measure-trust: ${(error as Error).message}`);
  process.exitCode = 2;
}
