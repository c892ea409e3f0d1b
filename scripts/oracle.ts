// Runs files of golden cases: npm run --silent oracle -- [--through cpu] [--json] [--answers OUT] FILE...
// --through cpu: walk cases are real instructions on a vCPU; without it the walker alone answers. What a vCPU cannot reach
// is counted as skipped, by reason, and may be 2 % of the cases.
// Exit codes: 0 all agree; 1 some differ or were skipped; 2 wrong usage, an unreadable file or a kind not supported yet.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { createOracle as createArm64Oracle } from '../arch/arm64/oracle.ts';
import type { CycleCase, CycleReport } from '../arch/cycles-oracle.ts';
import type { GoldenCase, Oracle, OracleResult } from '../arch/oracle.ts';
import { createOracle as createX86Oracle } from '../arch/x86/oracle.ts';
import type { Engine } from '../emulator/engine.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { cycleJson, cycleTable, isCycleCase, runCycles } from './oracle-cycles.ts';

const SHOWN = 10;

/** Share of the cases that a vCPU may be unable to make. */
const UNREACHED = 0.02;

/** What a runner throws for a line that is not as its format says: BigInt() and field access. */
const MALFORMED = [TypeError, RangeError, SyntaxError];

/** A mistake of the user's: told in one line, exit code 2. */
class UsageError extends Error {}

interface Options {
  readonly json: boolean;
  readonly answers: string | null;
  /** Walk cases run on a vCPU. */
  readonly cpu: boolean;
  readonly files: readonly string[];
}

const USAGE =
  'usage: npm run --silent oracle -- [--through walk|cpu] [--json] [--answers OUT] FILE...';

function parseOptions(args: readonly string[]): Options {
  let json = false;
  let answers: string | null = null;
  let cpu = false;
  const files: string[] = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--json') json = true;
    else if (args[i] === '--answers') {
      answers = args[++i] ?? null;
      if (answers === null) throw new UsageError(`--answers needs a file; ${USAGE}`);
    } else if (args[i] === '--through') {
      const through = args[++i];
      if (through !== 'walk' && through !== 'cpu') {
        throw new UsageError(`--through needs walk or cpu; ${USAGE}`);
      }
      cpu = through === 'cpu';
    } else if (args[i].startsWith('-')) throw new UsageError(`unknown option ${args[i]}; ${USAGE}`);
    else files.push(args[i]);
  }
  if (files.length === 0) throw new UsageError(USAGE);
  return { json, answers, cpu, files };
}

/** The lines of a .jsonl or .jsonl.gz file. */
function readCases(file: string): GoldenCase[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
    if (file.endsWith('.gz')) bytes = gunzipSync(bytes);
  } catch (error) {
    throw new UsageError(`${file}: ${(error as Error).message}`);
  }
  const cases: GoldenCase[] = [];
  for (const [at, line] of bytes.toString('utf8').split('\n').entries()) {
    if (line.trim() === '') continue;
    try {
      cases.push(JSON.parse(line));
    } catch (error) {
      throw new UsageError(`${file}:${at + 1}: ${(error as Error).message}`);
    }
  }
  if (cases.length === 0) throw new UsageError(`${file}: no cases in it`);
  return cases;
}

/** Picks the runner by what a line holds: x86 cases have CR3, arm64 cases TTBR0_EL1. */
function oracleFor(line: GoldenCase, made: Map<string, Oracle>, engine: Engine | null): Oracle {
  const arch = 'cr3' in line ? 'x86' : 'ttbr0' in line ? 'arm64' : null;
  if (arch === null) throw new UsageError(`${line.id}: this kind of case is not known`);
  const known = made.get(arch);
  if (known) return known;
  const oracle = arch === 'x86' ? createX86Oracle(engine) : createArm64Oracle(engine);
  made.set(arch, oracle);
  return oracle;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  const results: OracleResult[] = [];
  const cycleLines: CycleCase[] = [];
  const made = new Map<string, Oracle>();
  const engine = options.cpu ? unicornEngine() : null;
  for (const file of options.files) {
    for (const line of readCases(file)) {
      if (isCycleCase(line)) {
        cycleLines.push(line as unknown as CycleCase);
        continue;
      }
      try {
        results.push(oracleFor(line, made, engine).run(line));
      } catch (error) {
        if (!MALFORMED.some((kind) => error instanceof kind)) throw error;
        throw new UsageError(`${file}: case ${line.id}: ${(error as Error).message}`);
      }
    }
  }
  const cycles = cycleLines.length > 0 ? await runCycles(cycleLines) : null;
  if (options.answers !== null) {
    const walks = results.flatMap(({ answer }) => answer ?? []);
    writeAnswers(options.answers, [...walks, ...(cycles?.answers ?? [])]);
  }
  return report(results, cycles, options);
}

function writeAnswers(file: string, answers: readonly object[]): void {
  try {
    const out = openSync(file, 'w');
    for (const answer of answers) writeSync(out, `${JSON.stringify(answer)}\n`);
    closeSync(out);
  } catch (error) {
    throw new UsageError(`${file}: ${(error as Error).message}`);
  }
}

/** For cycle cases `differ` counts those without an answer; how far answers are off is the table's to say. */
function report(
  results: readonly OracleResult[],
  cycles: CycleReport | null,
  { json, cpu }: Options,
): number {
  const skipped = results.filter((result) => result.skipped !== null);
  const wrong = results.filter((result) => result.differences.length > 0);
  const differ = [
    ...wrong,
    ...(cycles?.unanswered ?? []).map(({ id, why }) => ({ id, differences: [why] })),
  ];
  const answered = cycles?.answers.length ?? 0;
  const agree = results.length - skipped.length - wrong.length + answered;
  if (json) {
    const document = {
      agree,
      differ: differ.length,
      skipped: skipped.length,
      differences: differ.map(({ id, differences }) => ({ id, differences })),
      skips: skipped.map(({ id, skipped: why }) => ({ id, why })),
      ...(cpu ? { unreached: Object.fromEntries(reasons(skipped)) } : {}),
      ...(cycles === null ? {} : { cycles: cycleJson(cycles) }),
    };
    console.log(JSON.stringify(document, null, 2));
  } else {
    if (cycles !== null) for (const line of cycleTable(cycles)) console.log(line);
    for (const { id, differences } of wrong.slice(0, SHOWN)) {
      console.log(`${id}\n  ${differences.join('\n  ')}`);
    }
    if (wrong.length > SHOWN) console.log(`... and ${wrong.length - SHOWN} more`);
    if (cpu) for (const [why, count] of reasons(skipped)) console.log(`unreached ${count}: ${why}`);
    else
      for (const { id, skipped: why } of skipped.slice(0, SHOWN))
        console.log(`${id}: skipped, ${why}`);
    console.log(`agree ${agree}, differ ${differ.length}, skipped ${skipped.length}`);
  }
  const tolerated = cpu ? UNREACHED * results.length : 0;
  return differ.length === 0 && skipped.length <= tolerated ? 0 : 1;
}

/** How many cases were skipped for each reason. */
function reasons(skipped: readonly OracleResult[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { skipped: why } of skipped) counts.set(why!, (counts.get(why!) ?? 0) + 1);
  return counts;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`oracle: ${error.message}`);
  process.exitCode = 2;
}
