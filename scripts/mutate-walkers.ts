// Breaks the rules of the walkers and the TLB one at a time and shows that the tests notice:
// npm run --silent mutants -- [x86|arm64|tlb] [WORD].
// Each mutant is a textual change in a copy of the sources in a temporary directory; the checkout is never touched. WORD
// picks the mutants whose names contain it. Exit codes: 0 all are caught; 1 some survive; 2 wrong usage or a change that
// does not apply. It runs for minutes: one test run a mutant.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS as ARM64 } from './mutants-arm64.ts';
import { MUTANTS as TLB } from './mutants-tlb.ts';
import { MUTANTS as X86 } from './mutants-x86.ts';

/** What is broken, in which file, and how: `search` must occur there exactly once. */
export type Mutant = readonly [name: string, file: string, search: string, replace: string];

/** What `scripts/mutants-*.ts` export as MUTANTS. */
export interface MutantSet {
  /** Test files to run, as vitest filters them: parts of their paths. */
  readonly tests: readonly string[];
  readonly mutants: readonly Mutant[];
}

const SETS: Readonly<Record<string, MutantSet>> = { x86: X86, arm64: ARM64, tlb: TLB };

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const COPIED = ['emulator', 'mm', 'arch', 'fixtures/oracle', 'package.json', 'tsconfig.json'];

function copySources(): string {
  const copy = mkdtempSync(join(tmpdir(), 'walkers-'));
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  cpSync(join(ROOT, 'vitest.config.ts'), join(copy, 'vitest.config.ts'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

/** Runs the tests in the copy. @returns whether they pass */
function testsPass(copy: string, tests: readonly string[]): boolean {
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const args = [vitest, 'run', '--bail=1', '--silent=true', ...tests];
  const run = spawnSync(process.execPath, args, { cwd: copy, encoding: 'utf8' });
  if (run.error) throw run.error;
  if (run.status !== 0 && !/ FAIL /.test(run.stdout + run.stderr)) {
    throw new Error(`the tests did not run:\n${run.stdout}${run.stderr}`);
  }
  return run.status === 0;
}

function mutate(text: string, [name, file, search, replace]: Mutant): string {
  const parts = text.split(search);
  if (parts.length !== 2)
    throw new Error(`"${name}": ${file} has its text ${parts.length - 1} times`);
  return parts.join(replace);
}

/** @returns the names of the mutants that no test noticed */
function survivors(copy: string, { tests, mutants }: MutantSet): string[] {
  for (const mutant of mutants) mutate(readFileSync(join(copy, mutant[1]), 'utf8'), mutant);
  if (!testsPass(copy, tests)) throw new Error('the tests fail without any change');
  return mutants
    .filter((mutant) => {
      const path = join(copy, mutant[1]);
      const original = readFileSync(path, 'utf8');
      writeFileSync(path, mutate(original, mutant));
      const survives = testsPass(copy, tests);
      writeFileSync(path, original);
      console.log(`${survives ? 'SURVIVES' : 'caught  '}  ${mutant[0]}`);
      return survives;
    })
    .map(([name]) => name);
}

function main(args: readonly string[]): number {
  const archs = args[0] === undefined ? Object.keys(SETS) : [args[0]];
  let alive = 0;
  let total = 0;
  for (const arch of archs) {
    const set = SETS[arch];
    if (set === undefined)
      throw new Error(`no mutants for ${arch}: ${Object.keys(SETS).join(', ')}`);
    const mutants = set.mutants.filter(([name]) => name.includes(args[1] ?? ''));
    const copy = copySources();
    try {
      console.log(`${arch}: ${mutants.length} mutants`);
      alive += survivors(copy, { ...set, mutants }).length;
      total += mutants.length;
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  }
  console.log(`${total - alive} of ${total} caught`);
  return alive === 0 ? 0 : 1;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  console.error(`mutate-walkers: ${(error as Error).message}`);
  process.exitCode = 2;
}
