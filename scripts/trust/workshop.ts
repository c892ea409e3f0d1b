// A copy of the sources in which kernel functions can be left out, one at a time, and its tests run. The checkout is
// never touched. Left out: the tests of `cli/` and `emulator/`.
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ASKED, instrument } from './break.ts';
import { ROOT, read, sourceFiles, testFiles } from './files.ts';

const COPIED = [
  'emulator',
  'mm',
  'arch',
  'bpf',
  'testbed',
  'fixtures',
  'package.json',
  'tsconfig.json',
];

/** Tests that take longer with a function left out hang: they are run once more with the function throwing. */
const TIMEOUT = 45_000;
const ALL_TIMEOUT = 1_200_000;

/** A test that ran, and the ids of the functions that it reached. */
export interface Reach {
  readonly file: string;
  readonly title: string;
  readonly ids: readonly string[];
}

const SETUP = `import { appendFileSync } from 'node:fs';
import { afterEach, beforeEach } from 'vitest';
const reached = new Set();
globalThis.${ASKED} = (id) => {
  reached.add(id);
  if (id === process.env.THROWING) throw new Error('left out');
  return id === process.env.LEFT_OUT;
};
beforeEach(() => reached.clear());
afterEach(({ task }) => {
  if (!process.env.REACH) return;
  const names = [];
  for (let at = task; at?.name && at !== at.file; at = at.suite) names.unshift(at.name);
  const line = { file: task.file.name, title: names.join(' > '), ids: [...reached] };
  appendFileSync(process.env.REACH, JSON.stringify(line) + '\\n');
});
`;

const CONFIG = `import { defineConfig } from 'vitest/config';
export default defineConfig({ test: {
  include: ['{mm,arch,bpf,testbed}/**/*.test.ts'], pool: 'forks', testTimeout: 60_000, setupFiles: ['./setup.js'],
} });
`;

/** A copy of the sources, and the ids of the functions that can be left out in it. The caller removes it. */
export interface Workshop {
  readonly dir: string;
  readonly ids: readonly string[];
}

export function openWorkshop(): Workshop {
  const dir = mkdtempSync(join(tmpdir(), 'trust-'));
  for (const name of COPIED) cpSync(join(ROOT, name), join(dir, name), { recursive: true });
  for (const name of ['node_modules', '.engine']) {
    if (existsSync(join(ROOT, name))) symlinkSync(join(ROOT, name), join(dir, name));
  }
  writeFileSync(join(dir, 'setup.js'), SETUP);
  writeFileSync(join(dir, 'vitest.config.ts'), CONFIG);
  const ids = sourceFiles().flatMap((file) => {
    const { text, ids } = instrument(file, read(file));
    if (ids.length > 0) writeFileSync(join(dir, file), text);
    return ids;
  });
  return { dir, ids };
}

type Env = Readonly<Record<string, string>>;

/** Runs vitest in the copy. @returns false if it had to be killed, with all that it had started */
function runTests(dir: string, args: readonly string[], env: Env, limit: number): Promise<boolean> {
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const child = spawn(process.execPath, [vitest, 'run', ...args], {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: 'ignore',
    detached: true,
  });
  return new Promise((resolve) => {
    // A hanging worker would outlive its parent: the whole group goes.
    const timer = setTimeout(() => process.kill(-(child.pid as number), 'SIGKILL'), limit);
    child.on('exit', (_code, signal) => {
      clearTimeout(timer);
      resolve(signal === null);
    });
  });
}

/** Runs tests in the copy, all of them if none is named. @returns those that fail; null if they hang or do not run */
export async function failures(
  dir: string,
  tests: readonly Reach[],
  env: Env,
): Promise<string[] | null> {
  const report = join(dir, 'report.json');
  rmSync(report, { force: true });
  const args = ['--reporter=json', `--outputFile=${report}`];
  const names = tests.map(({ title }) => escaped(title.replaceAll(' > ', ' ')));
  if (tests.length > 0) args.push('-t', `^(${names.join('|')})$`);
  args.push(...new Set(tests.map(({ file }) => file)));
  const ended = await runTests(dir, args, env, tests.length > 0 ? TIMEOUT : ALL_TIMEOUT);
  if (!ended || !existsSync(report)) return null;
  const failed: string[] = [];
  for (const { name, assertionResults } of JSON.parse(readFileSync(report, 'utf8')).testResults) {
    for (const { status, ancestorTitles, title } of assertionResults) {
      const path = [...ancestorTitles.filter(Boolean), title].join(' > ');
      if (status === 'failed') failed.push(`${name.slice(dir.length + 1)}: ${path}`);
    }
  }
  return failed;
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/**
 * Runs all tests.
 * @returns what each reaches. Those that fail without a change are not among them: they would show nothing
 * @throws Error if the tests do not run
 */
export async function reachOf(dir: string): Promise<Reach[]> {
  const path = join(dir, 'reach.jsonl');
  const broken = await failures(dir, [], { REACH: path });
  if (broken === null || !existsSync(path)) throw new Error('the tests do not run');
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  const known = testFiles();
  return lines
    .map((line) => JSON.parse(line) as Reach)
    .filter(({ file, title }) => known.includes(file) && !broken.includes(`${file}: ${title}`));
}
