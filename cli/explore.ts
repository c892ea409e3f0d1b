// faultline explore: interleavings of a scenario with several CPUs, all up to a bound or some by chance, and the shortest
// schedule that breaks each invariant.
import { writeFileSync } from 'node:fs';
import { minimize, preemptionsOf } from '../testbed/counterexample.ts';
import { type Counterexample, Explorer, type ExploreState } from '../testbed/explore.ts';
import { memoryModelText } from '../testbed/memory-model.ts';
import type { Mutant } from '../testbed/mutant.ts';
import { policiesOf } from '../testbed/policies.ts';
import type { RunHost } from '../testbed/run.ts';
import { sample } from '../testbed/sample.ts';
import type { ArchName, Scenario, World } from '../testbed/scenario.ts';
import { formatSchedule, turnsOf } from '../testbed/schedule.ts';
import { WatchedRace } from '../testbed/watched-race.ts';
import { CliError, EXIT } from './errors.ts';
import { located, openRun, shellWord } from './execute.ts';
import { exploreInJobs } from './explore-jobs.ts';
import {
  type ExploreDocument,
  mergeDocuments,
  type Shard,
  tellDocument,
} from './explore-report.ts';
import { readText } from './files.ts';
import { loadHost } from './host.ts';
import type { Io } from './io.ts';
import { checkMutant, withReplacements } from './replace.ts';
import { isRace } from './run-race.ts';
import { loadMutant, loadScenario, pickArchs, withSeries, worldOf } from './scenario-file.ts';

export interface ExploreOptions {
  readonly arch?: string;
  readonly series?: string;
  readonly assembler?: string;
  readonly json?: boolean;
  readonly mutant?: string;
  /** FUNCTION=OBJECT, each */
  readonly replace?: readonly string[];
  /** A number, `none`, or `bound`: what the scenario says. */
  readonly preemptions: string;
  readonly mode: 'exhaustive' | 'random' | 'pct';
  readonly runs?: number;
  readonly depth?: number;
  readonly seed?: number;
  readonly jobs?: number;
  /** i/n */
  readonly shard?: string;
  readonly merge?: readonly string[];
  readonly stopAfter?: number;
  readonly save?: string;
  readonly resume?: string;
}

/** Preemptions where neither the scenario nor the command line says how many. */
const DEFAULT_PREEMPTIONS = 2;
/** Runs between two looks at the outside world. */
const SLICE = 50;

/** What `--save` keeps of each architecture. */
type Saved = Readonly<Record<string, ExploreState>>;

/** @returns the exit code: 1 if an invariant can be broken */
export async function exploreCommand(
  file: string,
  options: ExploreOptions,
  io: Io,
): Promise<number> {
  const scenario = withReplacements(
    withSeries(loadScenario(file, io), options.series),
    options,
    io,
  );
  if (!isRace(scenario)) {
    throw new CliError(
      `${file}: the scenario has one CPU`,
      'give the steps of each CPU under `cpus:`',
    );
  }
  const archs = pickArchs(scenario, options.arch);
  const mutant = options.mutant === undefined ? null : loadMutant(options.mutant, io);
  checkMutant(scenario, mutant ?? undefined);
  const shard = parseShard(options.shard);
  if (options.merge !== undefined) {
    const documents = options.merge.flatMap((path) => readDocuments(path, io));
    return report(mergeDocuments(documents, file), options, io);
  }
  if ((options.jobs ?? 1) > 1) {
    return report(await exploreInJobs(file, options, archs, io), options, io);
  }
  const host = await loadHost(options.assembler);
  const documents: ExploreDocument[] = [];
  const saved: Record<string, ExploreState> = {};
  const resumed: Saved = options.resume === undefined ? {} : readSaved(options.resume, io);
  for (const arch of archs) {
    const explored = await exploreWorld(
      { io, host, scenario, arch, mutant, shard, options },
      resumed[arch],
    );
    documents.push(explored.document);
    if (explored.state !== null) saved[arch] = explored.state;
  }
  if (Object.keys(saved).length > 0 && options.save !== undefined) {
    writeFileSync(options.save, JSON.stringify(saved));
    io.err(`what is left is in ${options.save}: go on with --resume ${shellWord(options.save)}\n`);
  }
  return report(documents, options, io);
}

interface Task {
  readonly io: Io;
  readonly host: RunHost;
  readonly scenario: Scenario;
  readonly arch: ArchName;
  readonly mutant: Mutant | null;
  readonly shard: Shard | null;
  readonly options: ExploreOptions;
}

async function exploreWorld(
  task: Task,
  resumed: ExploreState | undefined,
): Promise<{ document: ExploreDocument; state: ExploreState | null }> {
  const { host, scenario, arch, mutant, options } = task;
  const run = openRun(host, scenario, worldOf(scenario, arch));
  try {
    run.kernel.context.replacements = mutant?.replacements ?? null;
    const watched = located(scenario, null, () => new WatchedRace(run));
    const begun = process.cpuUsage();
    const base = baseOf(task, run.world);
    if (options.mode !== 'exhaustive') {
      const document = sampleWorld(task, watched, base);
      return { document: { ...document, seconds: secondsSince(begun) }, state: null };
    }
    const preemptions = boundOf(options, run.world);
    const explorer = new Explorer(watched, { preemptions, shard: task.shard ?? undefined });
    if (resumed !== undefined) explorer.load(resumed);
    const stopped = await drive(explorer, task);
    const { complete, counterexamples, ...counts } = explorer.result();
    // What is kept is kept before the search for short counterexamples uses the race for itself.
    const state = complete || !stopped ? null : structuredClone(explorer.save());
    const stateKeys = task.shard === null ? undefined : packKeys(explorer.stateKeys);
    const violations = [...counterexamples.values()].map((found) =>
      violationOf(task, watched, minimize(watched, found, { preemptions })),
    );
    const bound = Number.isFinite(preemptions) ? preemptions : null;
    const document: ExploreDocument = {
      ...base,
      mode: 'exhaustive',
      preemptions: bound,
      complete,
      ...counts,
      seconds: secondsSince(begun),
      violations,
      ...(stateKeys === undefined ? {} : { stateKeys, shard: options.shard }),
    };
    return { document, state };
  } finally {
    run.close();
  }
}

/** Explores in slices, so that a signal is heard and a terminal sees progress. @returns true if it was stopped */
async function drive(explorer: Explorer, { io, options, arch }: Task): Promise<boolean> {
  let interrupted = false;
  const onSignal = () => {
    interrupted = true;
  };
  process.once('SIGINT', onSignal);
  try {
    let left = options.stopAfter ?? Number.POSITIVE_INFINITY;
    while (left > 0 && !interrupted) {
      const runs = Math.min(SLICE, left);
      left -= runs;
      if (!explorer.advance(runs)) return false;
      if (io.terminal) {
        const { schedules, states, steps, pass } = explorer.progress();
        io.err(
          `\r\x1b[K${arch}: pass ${pass}, ${schedules} schedules, ${states} states, ${steps} steps`,
        );
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    return true;
  } finally {
    if (io.terminal) io.err('\r\x1b[K');
    process.removeListener('SIGINT', onSignal);
  }
}

function sampleWorld(
  task: Task,
  watched: WatchedRace,
  base: ReturnType<typeof baseOf>,
): ExploreDocument {
  const { options } = task;
  const { mode, runs = 1000, depth = 3, seed = 1 } = options;
  if (depth < 1) throw new CliError('--depth 0 is no depth', 'give 1 or more');
  const sampled = sample(watched, {
    mode: mode as 'random' | 'pct',
    runs,
    depth,
    seed: BigInt(seed),
  });
  const { counterexamples, ...counts } = sampled;
  const violations = [...counterexamples.values()].map((found) =>
    violationOf(
      task,
      watched,
      minimize(watched, found, { preemptions: Number.POSITIVE_INFINITY }, 0),
    ),
  );
  return {
    ...base,
    mode,
    complete: false,
    seed,
    ...(mode === 'pct' ? { depth } : {}),
    ...counts,
    seconds: 0,
    violations,
  };
}

function baseOf({ scenario, arch, mutant }: Task, world: World) {
  return {
    scenario: scenario.file,
    name: scenario.name,
    arch,
    series: scenario.series,
    policies: policiesOf(world),
    mutant: mutant?.name ?? null,
    memory: memoryModelText(world),
    without: [...world.without],
  };
}

function violationOf(
  { scenario, arch, options }: Task,
  watched: WatchedRace,
  { violation, cpus }: Counterexample,
) {
  const schedule = formatSchedule(turnsOf(cpus));
  const mutant = options.mutant === undefined ? '' : ` --mutant ${shellWord(options.mutant)}`;
  const replace = (options.replace ?? []).map((one) => ` --replace ${shellWord(one)}`).join('');
  const where = `${shellWord(scenario.file)} --arch ${arch} --series ${scenario.series}${mutant}${replace}`;
  return {
    invariant: violation.invariant,
    cpu: violation.cpu,
    what: violation.what,
    schedule,
    steps: cpus.length,
    preemptions: preemptionsOf(watched, cpus),
    replay: `npx faultline run ${where} --schedule "${schedule}"`,
  };
}

/** CPU time of the process since then. */
function secondsSince(begun: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1e6;
}

function boundOf({ preemptions }: ExploreOptions, world: World): number {
  if (preemptions === 'bound') return world.bound.preemptions ?? DEFAULT_PREEMPTIONS;
  if (preemptions === 'none') return Number.POSITIVE_INFINITY;
  const bound = Number(preemptions);
  if (preemptions === '' || !Number.isSafeInteger(bound) || bound < 0) {
    throw new CliError(`--preemptions ${preemptions} is no bound`, 'give a whole number, or none');
  }
  return bound;
}

function parseShard(text: string | undefined): Shard | null {
  if (text === undefined) return null;
  const [, i, count] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  if (!(i >= 1 && i <= count)) {
    throw new CliError(`--shard: ${text} is no part`, 'give i/n with 1 <= i <= n');
  }
  return { index: i - 1, count };
}

function readDocuments(path: string, io: Io): ExploreDocument[] {
  const parsed = parseJson(path, io);
  const list = (parsed as { results?: unknown }).results ?? [parsed];
  if (!Array.isArray(list) || !list.every((one) => one?.stateKeys !== undefined)) {
    throw new CliError(`${path}: is no result of a shard`, 'make it with --shard i/n --json');
  }
  return list;
}

function readSaved(path: string, io: Io): Saved {
  const parsed = parseJson(path, io) as Saved;
  const whole = Object.values(parsed).every((state) => Array.isArray(state?.nodes));
  if (!whole) throw new CliError(`${path}: nothing that --save wrote`, 'give a file of --save');
  return parsed;
}

function parseJson(path: string, io: Io): object {
  try {
    // Infinity, as JSON has none, was written as null: more preemptions than any schedule has.
    const value = JSON.parse(readText(path, io), (key, item) =>
      item === null && (key === 'left' || /^\d+$/.test(key)) ? Number.POSITIVE_INFINITY : item,
    );
    if (typeof value === 'object' && value !== null) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new CliError(`${path}: no JSON`, 'give a file that faultline explore wrote');
}

/** Hashes as base64 of doubles. */
function packKeys(keys: Iterable<number>): string {
  return Buffer.from(Float64Array.from(keys).buffer).toString('base64');
}

function report(documents: readonly ExploreDocument[], { json }: ExploreOptions, io: Io): number {
  if (json) {
    const results = documents.length === 1 ? documents[0] : { results: documents };
    io.out(`${JSON.stringify(results, null, 2)}\n`);
  } else {
    for (const [i, document] of documents.entries()) {
      if (i > 0) io.out('\n');
      tellDocument(document, io);
    }
  }
  return documents.every(({ violations }) => violations.length === 0) ? EXIT.ok : EXIT.differs;
}
