// faultline run: one file, and the story of its faults.
import { policiesOf } from '../testbed/policies.ts';
import type { RunHost } from '../testbed/run.ts';
import type { ArchName, Scenario } from '../testbed/scenario.ts';
import { Story } from '../testbed/story.ts';
import { type CostOptions, costingFrom, costReplay } from './cost.ts';
import { CliError, EXIT } from './errors.ts';
import { type Executed, execute, type RunWatch } from './execute.ts';
import { Explainer } from './explain.ts';
import { loadHost } from './host.ts';
import { type Io, paint } from './io.ts';
import { listCommand } from './list-object.ts';
import { checkProfile, tellProfiles } from './profile.ts';
import { type ProgramOptions, replayOptions, scenarioFrom } from './program.ts';
import { checkMutant } from './replace.ts';
import { checkReport, writeReport } from './report.ts';
import { isRace, type RaceOptions, raceOptions, scheduleOf, tellRace } from './run-race.ts';
import { loadMutant, pickArchs, worldOf } from './scenario-file.ts';
import { replayLines, stepLines, storySource, worldLine } from './tell.ts';

export interface RunOptions extends ProgramOptions, CostOptions, RaceOptions {
  readonly json?: boolean;
  readonly trace?: string;
  /** Say of every printed line which kernel function prints it. */
  readonly explain?: boolean;
  /** Run nothing: say what the object offers and needs. */
  readonly list?: boolean;
  /** Say what the cycles were spent on. */
  readonly profile?: boolean;
  /** File for folded stacks. */
  readonly folded?: string;
  /** File for the HTML page. */
  readonly report?: string;
  /** Report accesses that break the kfuncs' contract. */
  readonly checkContract?: boolean;
}

const TRACES = ['faults', 'walks', 'insns'];
/** Faults that are told in full unless `--trace faults` asks for all. */
const FULL = 3;

/** @returns the exit code */
export async function runCommand(file: string, options: RunOptions, io: Io): Promise<number> {
  if (options.list) {
    listCommand(file, options, io);
    return EXIT.ok;
  }
  checkProfile(options);
  if (options.report !== undefined) checkReport(options.report);
  const traces = parseTraces(options.trace);
  const scenario = scenarioFrom(file, options, io);
  const schedule = scheduleOf(scenario, options.schedule);
  const mutant = options.mutant === undefined ? undefined : loadMutant(options.mutant, io);
  if (mutant !== undefined && !isRace(scenario)) {
    throw new CliError('--mutant needs a scenario with several CPUs', 'leave it out');
  }
  checkMutant(scenario, mutant);
  const archs = pickArchs(scenario, options.arch);
  const host = await loadHost(options.assembler);
  const { checkContract = false } = options;
  if (checkContract && isRace(scenario)) {
    throw new CliError('--check-contract is for one CPU', 'leave it out, or give `steps:`');
  }
  const contract = checkContract ? ' --check-contract' : '';
  const watch = {
    checkContract,
    report: options.report !== undefined,
    replayOptions: replayOptions(options) + costReplay(options) + raceOptions(options) + contract,
    costing: costingFrom(options, archs, host, io),
  };
  const race = { ...watch, schedule, mutant };
  const done = archs.map((arch, i): Executed => {
    if (isRace(scenario)) {
      if (options.json) return execute(host, scenario, arch, race);
      if (i > 0) io.out('\n');
      return tellRace(io, host, scenario, arch, race);
    }
    const explainer = options.explain ? new Explainer(arch) : null;
    if (options.json) return document(host, scenario, arch, watch, explainer);
    if (i > 0) io.out('\n');
    return tell(io, scenario, arch, traces, explainer, (teller) =>
      execute(host, scenario, arch, { ...watch, ...teller }),
    );
  });
  if (options.json) io.out(`${JSON.stringify(documentOf(done), null, 2)}\n`);
  if (options.profile || options.folded !== undefined) tellProfiles(io, host, done, options);
  if (options.report !== undefined) writeReport(options.report, done);
  return done.every(({ pass }) => pass) ? EXIT.ok : EXIT.differs;
}

/** Runs one world for its document. */
function document(
  host: RunHost,
  scenario: Scenario,
  arch: ArchName,
  watch: RunWatch,
  explainer: Explainer | null,
): Executed {
  if (explainer === null) return execute(host, scenario, arch, watch);
  const executed = execute(host, scenario, arch, {
    ...watch,
    prepare: (run) => void run.kernel.events.read((event) => explainer.read(event)),
  });
  return { ...executed, document: { ...executed.document, explained: explainer.takeJson() } };
}

/** One run's own document; of several the one that `faultline test` prints. */
function documentOf(done: readonly Executed[]): object {
  const results = done.map(({ document }) => document);
  if (results.length === 1) return results[0];
  const passed = done.filter(({ pass }) => pass).length;
  return { passed, failed: done.length - passed, skipped: 0, results };
}

function parseTraces(text: string | undefined): ReadonlySet<string> {
  const traces = (text ?? '').split(',').filter((name) => name !== '');
  const unknown = traces.find((name) => !TRACES.includes(name));
  if (unknown !== undefined) {
    throw new CliError(`--trace: unknown part ${unknown}`, `give some of ${TRACES.join(', ')}`);
  }
  return new Set(traces);
}

/** Runs one world and tells it on stdout while it goes. */
function tell(
  io: Io,
  scenario: Scenario,
  arch: ArchName,
  traces: ReadonlySet<string>,
  explainer: Explainer | null,
  go: (watch: Parameters<typeof execute>[3]) => Executed,
): Executed {
  const parts = {
    full: traces.has('faults') ? Number.POSITIVE_INFINITY : FULL,
    walks: traces.has('walks'),
    insns: traces.has('insns'),
  };
  const world = worldOf(scenario, arch);
  const policies = policiesOf(world);
  let title = `${paint(io, 'bold', scenario.name)}\n${worldLine({ ...world, policies })}\n\n`;
  // Nothing is told of a run that cannot even begin.
  const line = (text: string) => {
    io.out(`${title}${text}\n`);
    title = '';
  };
  let story: Story | null = null;
  const executed = go({
    prepare(run) {
      const teller = new Story(storySource(run), parts, line);
      story = teller;
      run.kernel.events.read((event) => teller.read(event));
      if (explainer !== null) run.kernel.events.read((event) => explainer.read(event));
      run.kernel.cpus[0].traceInstructions = parts.insns;
    },
    stepDone(run, step) {
      const untold = story?.takeUntold() ?? 0;
      if (untold > 0) line(`... and ${untold} more faults (--trace faults tells them)`);
      const printed = explainer?.take();
      for (const text of stepLines(run, step, (word) => paint(io, 'red', word), printed))
        line(text);
      if (step.seen.kind === 'call' && step.step !== run.steps.at(-1)) line('');
    },
  });
  for (const text of replayLines(executed)) line(text);
  line(executed.pass ? paint(io, 'green', 'as expected') : paint(io, 'red', 'not as expected'));
  return executed;
}
