// Runs one world of a scenario for a command: errors in its code get the file's name and line, events go to a reader.
import { isAbsolute, relative } from 'node:path';
import { decodeEsr } from '../arch/arm64/fault-code.ts';
import { decodePfErrorCode } from '../arch/x86/fault-code.ts';
import { AssemblyError } from '../emulator/assembler.ts';
import { CallError } from '../testbed/call.ts';
import type { Costing } from '../testbed/costing.ts';
import { documentOf, type RunDocument } from '../testbed/document.ts';
import { OutOfMemory } from '../testbed/kernel-memory.ts';
import type { Mutant } from '../testbed/mutant.ts';
import { isObjectPath } from '../testbed/object-file.ts';
import { type Played, type PlayWatch, play, raceDocument } from '../testbed/race-run.ts';
import type { RunReport } from '../testbed/report/model.ts';
import { Recorder } from '../testbed/report/recorder.ts';
import { type ReportParts, reportOf } from '../testbed/report/report.ts';
import { type RunHost, type StepRun, WorldRun } from '../testbed/run.ts';
import type { ArchName, Scenario, Schedule, Step, World } from '../testbed/scenario.ts';
import { chooserOf } from '../testbed/schedule.ts';
import { WatchedRace } from '../testbed/watched-race.ts';
import type { CostingOf } from './cost.ts';
import { CliError } from './errors.ts';
import { worldOf } from './scenario-file.ts';
import { stepSummary, storySource } from './tell.ts';

/** A run whose steps are all done. */
export interface Executed {
  readonly run: WorldRun;
  readonly steps: readonly StepRun[];
  readonly document: RunDocument;
  readonly pass: boolean;
  /** Of a race: who moved, and what it broke. */
  readonly played?: Played;
  /** What the HTML page shows; null if nobody asked. */
  readonly report?: RunReport | null;
}

/** Sets a world up. @throws CliError for what is wrong with the scenario */
export const openRun = (
  host: RunHost,
  scenario: Scenario,
  world: World,
  costing: Costing | null = null,
): WorldRun => located(scenario, null, () => new WorldRun(host, world, { costing }));

/** What a command wants of a run beside its results. */
export interface RunWatch {
  /** Options that a replay needs beside --arch and --series. */
  readonly replayOptions?: string;
  /** What calls are costed with; by default they are not. */
  readonly costing?: CostingOf;
  /** Of a race, instead of the scenario's own schedule. */
  readonly schedule?: Schedule;
  readonly mutant?: Mutant;
  /** Called before the first step of a race. @returns who is told of every step */
  prepareRace?(watched: WatchedRace): PlayWatch;
  /** See {@link WorldRun.checkContract}. */
  readonly checkContract?: boolean;
  /** Collect what the HTML page shows. */
  readonly report?: boolean;
  /** Called before the first step, to read events. */
  prepare?(run: WorldRun): void;
  /** Called after each step. */
  stepDone?(run: WorldRun, step: StepRun): void;
}

/** Runs every step of a world, with several CPUs by its schedule. @throws CliError for what is wrong with the scenario */
export function execute(
  host: RunHost,
  scenario: Scenario,
  arch: ArchName,
  watch: RunWatch = {},
): Executed {
  const run = openRun(host, scenario, worldOf(scenario, arch), watch.costing?.(arch));
  try {
    if (run.world.form === 'cpus') return executeRace(run, host, scenario, watch);
    run.checkContract = watch.checkContract ?? false;
    watch.prepare?.(run);
    const recorder = watch.report ? recorderOf(run) : null;
    const steps = run.steps.map((step) => {
      const done = located(scenario, step, () => run.runStep(step));
      recorder?.stepDone(done);
      watch.stepDone?.(run, done);
      return done;
    });
    const document = documentOf(run, steps, {
      scenario,
      replay: replayLine(scenario, run.world, watch.replayOptions ?? ''),
      decode: decoderOf(arch),
    });
    const pass = steps.every(({ failures }) => failures.length === 0);
    return {
      run,
      steps,
      document,
      pass,
      report: reported(recorder, { run, host, steps, document }),
    };
  } finally {
    run.close();
  }
}

/** Plays the one schedule of a race. */
function executeRace(run: WorldRun, host: RunHost, scenario: Scenario, watch: RunWatch): Executed {
  const { world, kernel } = run;
  kernel.context.replacements = watch.mutant?.replacements ?? null;
  watch.prepare?.(run);
  const watched = located(scenario, null, () => new WatchedRace(run));
  const told = watch.prepareRace?.(watched);
  const recorder = watch.report ? recorderOf(run) : null;
  const choose = chooserOf(watch.schedule ?? world.schedule);
  const seen: PlayWatch = {
    before: (cpu) => told?.before?.(cpu),
    after: (cpu) => {
      recorder?.moved();
      told?.after?.(cpu);
    },
  };
  const played = located(scenario, null, () => play(watched, choose, seen));
  const document = raceDocument(watched, played, {
    scenario,
    replay: replayLine(scenario, world, watch.replayOptions ?? ''),
    decode: decoderOf(world.arch),
  });
  const steps = watched.race.done.flat();
  const report = reported(recorder, { run, host, steps, document });
  return { run, steps, document, pass: document.pass, played, report };
}

const decoderOf = (arch: ArchName) => (arch === 'x86_64' ? decodePfErrorCode : decodeEsr);

const recorderOf = (run: WorldRun): Recorder =>
  new Recorder(run, storySource(run), decoderOf(run.world.arch));

/** The page's data, while the world is still there. */
function reported(
  recorder: Recorder | null,
  parts: Omit<ReportParts, 'summaries' | 'source'>,
): RunReport | null {
  if (recorder === null) return null;
  const { run, steps } = parts;
  const summaries = steps.map((step) => stepSummary(run, step));
  return reportOf(recorder, { ...parts, summaries, source: storySource(run) });
}

/** @throws CliError for a scenario of several CPUs, where a command follows one */
export function refuseCpus(scenario: Scenario, command: string): void {
  if (!Object.values(scenario.worlds).some(({ form }) => form === 'cpus')) return;
  throw new CliError(
    `${scenario.file}: ${command} follows one CPU, and the scenario has \`cpus:\``,
    "'faultline run' tells its schedule, 'faultline explore' all of them",
  );
}

/** Turns what is wrong with a step's code into an error with the file and the place in it. */
export function located<T>(scenario: Scenario, step: Step | null, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof AssemblyError) {
      const code = step?.kind === 'call' ? step.code : null;
      const line = (code?.kind === 'text' ? code.line : 1) + error.line - 1;
      throw new CliError(`${scenario.file}:${line}: ${error.reason}`, error.remedy);
    }
    if (error instanceof CallError || error instanceof OutOfMemory) {
      const line = ('line' in error ? error.line : null) ?? step?.line;
      // An object has no lines.
      const hasLines = line !== undefined && !isObjectPath(scenario.file);
      const place = hasLines ? `${scenario.file}:${line}` : scenario.file;
      // An object that is run by itself is named already.
      const named = error.message.startsWith(`${scenario.file}: `);
      throw new CliError(named ? error.message : `${place}: ${error.message}`, error.remedy);
    }
    throw error;
  }
}

/** The command line that runs this world again. */
function replayLine(scenario: Scenario, world: World, options: string): string {
  const fromHere = relative('.', scenario.file);
  const file = isAbsolute(scenario.file) || fromHere.startsWith('..') ? scenario.file : fromHere;
  return `npx faultline run ${shellWord(file)} --arch ${world.arch} --series ${world.series}${options}`;
}

/** `text` as one word of a shell's command line. */
export const shellWord = (text: string): string =>
  /^[\w./:,=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
