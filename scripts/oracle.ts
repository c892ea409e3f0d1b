// Runs files of golden cases: npm run --silent oracle -- [--through cpu] [--json] [--answers OUT] FILE...
// --through cpu: walk cases are real instructions on a vCPU; without it the walker alone answers. What a vCPU cannot reach
// is counted as skipped, by reason, and may be 2 % of the cases.
// Exit codes: 0 all agree; 1 some differ or were skipped; 2 wrong usage, an unreadable file or a kind not supported yet.
import { closeSync, openSync, writeSync } from 'node:fs';
import { createOracle as createArm64Oracle } from '../arch/arm64/oracle.ts';
import type { CycleCase, CycleReport } from '../arch/cycles-oracle.ts';
import type { Oracle, OracleResult } from '../arch/oracle.ts';
import { createOracle as createX86Oracle } from '../arch/x86/oracle.ts';
import type { Engine } from '../emulator/engine.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { cycleJson, cycleTable, runCycles } from './oracle-cycles.ts';
import { readCases, UsageError } from './oracle-lines.ts';

const SHOWN = 10;

/** Share of the cases that a vCPU may be unable to make. */
const UNREACHED = 0.02;

/** What a runner throws for registers that no CPU of the case's could hold. */
const MALFORMED = [TypeError, RangeError];

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

/** The runner for a kind of walk case, made when the first one comes. */
function oracleFor(
  kind: 'x86' | 'arm64',
  made: Map<string, Oracle>,
  engine: Engine | null,
): Oracle {
  const known = made.get(kind);
  if (known) return known;
  const oracle = kind === 'x86' ? createX86Oracle(engine) : createArm64Oracle(engine);
  made.set(kind, oracle);
  return oracle;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  const results: OracleResult[] = [];
  const cycleLines: CycleCase[] = [];
  const made = new Map<string, Oracle>();
  const engine = options.cpu ? unicornEngine() : null;
  for (const file of options.files) {
    for (const { kind, place, golden } of readCases(file)) {
      if (kind === 'cycles') {
        cycleLines.push(golden as unknown as CycleCase);
        continue;
      }
      try {
        results.push(oracleFor(kind, made, engine).run(golden));
      } catch (error) {
        if (!MALFORMED.some((known) => error instanceof known)) throw error;
        throw new UsageError(`${place}: ${golden.id}: ${(error as Error).message}`);
      }
    }
  }
  const cycles = cycleLines.length > 0 ? await runCycles(cycleLines) : null;
  if (options.answers !== null) {
    const walks = results.map(
      ({ id, answer, skipped, differences }) =>
        answer ?? { id, expect: null, tables_after: [], why: skipped ?? differences.join('; ') },
    );
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
