// faultline run: one file, and the story of its faults.
import { extname } from 'node:path';
import type { EventSink } from '../emulator/events.ts';
import type { CallSeen } from '../testbed/call.ts';
import type { StepRun, WorldRun } from '../testbed/run.ts';
import type { ArchName, Scenario } from '../testbed/scenario.ts';
import { Story } from '../testbed/story.ts';
import { CliError, EXIT } from './errors.ts';
import { type Executed, execute, pickArchs } from './execute.ts';
import { isScenarioFile, loadHost, loadScenario, withSeries } from './host.ts';
import { type Io, paint } from './io.ts';
import { type ProgramOptions, scenarioOfAssembly } from './program.ts';
import { stepSummary, storySource } from './tell.ts';

export interface RunOptions extends ProgramOptions {
  readonly json?: boolean;
  readonly trace?: string;
  readonly schedule?: string;
}

const TRACES = ['faults', 'walks', 'insns'];
/** Faults that are told in full unless `--trace faults` asks for all. */
const FULL = 3;

/** @returns the exit code */
export async function runCommand(file: string, options: RunOptions, io: Io): Promise<number> {
  const traces = parseTraces(options.trace);
  const scenario = scenarioFrom(file, options, io);
  if (options.schedule !== undefined) {
    throw new CliError('--schedule needs a scenario with several CPUs', 'leave it out');
  }
  const archs = pickArchs(scenario, options.arch);
  const host = await loadHost(options.assembler);
  const done: Executed[] = [];
  for (const arch of archs) {
    if (options.json) done.push(execute(host, scenario, arch));
    else
      done.push(
        tell(io, scenario, arch, traces, (prepare) => execute(host, scenario, arch, prepare)),
      );
  }
  if (options.json) {
    const results = done.map(({ document }) => document);
    const passed = done.filter(({ pass }) => pass).length;
    const document =
      results.length === 1
        ? results[0]
        : { passed, failed: done.length - passed, skipped: 0, results };
    io.out(`${JSON.stringify(document, null, 2)}\n`);
  }
  return done.every(({ pass }) => pass) ? EXIT.ok : EXIT.differs;
}

function scenarioFrom(file: string, options: RunOptions, io: Io): Scenario {
  if (isScenarioFile(file)) {
    return withSeries(loadScenario(file, io), options.series);
  }
  if (['.S', '.s'].includes(extname(file))) return scenarioOfAssembly(file, options, io);
  if (extname(file) === '.o') {
    throw new CliError(
      `${file}: compiled objects cannot be run yet`,
      'give the function as assembly (.S), or its bytes in a scenario',
    );
  }
  throw new CliError(
    `${file}: neither a scenario (.yaml, .json) nor assembly (.S, .s)`,
    'give the file the ending of what it is',
  );
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
  go: (prepare: (run: WorldRun) => void) => Executed,
): Executed {
  io.out(`${paint(io, 'bold', scenario.name)}\n${arch}, series ${scenario.series}\n\n`);
  let story: Story | null = null;
  const executed = go((run) => {
    const parts = {
      full: traces.has('faults') ? Number.POSITIVE_INFINITY : FULL,
      walks: traces.has('walks'),
      insns: traces.has('insns'),
    };
    const teller = new Story(storySource(run), parts, (line) => io.out(`${line}\n`));
    story = teller;
    readEvents(run.kernel.events, teller);
    run.kernel.cpus[0].traceInstructions = traces.has('insns');
  });
  const untold = (story as Story | null)?.untold ?? 0;
  if (untold > 0) io.out(`... and ${untold} more faults (--trace faults tells them)\n`);
  for (const step of executed.steps) tellStep(io, executed.run, step);
  io.out(
    `${executed.pass ? paint(io, 'green', 'as expected') : paint(io, 'red', 'not as expected')}\n\n`,
  );
  return executed;
}

const readEvents = (events: EventSink, story: Story): void =>
  void events.read((event) => story.read(event));

function tellStep(io: Io, run: WorldRun, step: StepRun): void {
  const { seen, failures } = step;
  io.out(`${stepSummary(run, step)}\n`);
  if (seen.kind === 'call') {
    const { oops } = seen as CallSeen;
    if (oops !== null) io.out(block('kernel log', oops.join('\n')));
  }
  if (seen.stderr !== '') io.out(block('stderr of the program', seen.stderr.trimEnd()));
  for (const { expect, wanted, got } of failures) {
    io.out(
      `  ${paint(io, 'red', expect)}: wanted ${wanted}\n  ${' '.repeat(expect.length)}  got    ${got}\n`,
    );
  }
}

const block = (title: string, text: string): string =>
  `${title}\n${text
    .split('\n')
    .map((line) => `  | ${line}`.trimEnd())
    .join('\n')}\n`;
