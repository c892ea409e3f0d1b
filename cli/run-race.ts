// faultline run, for scenarios with several CPUs: one schedule, a column for each CPU.

import { Columns } from '../testbed/columns.ts';
import type { Mutant } from '../testbed/mutant.ts';
import { policiesOf } from '../testbed/policies.ts';
import type { RunHost, StepRun } from '../testbed/run.ts';
import type { ArchName, Scenario, Schedule } from '../testbed/scenario.ts';
import { parseSchedule } from '../testbed/scenario-load-kernel.ts';
import { actorsOfCpu } from '../testbed/scenario-model.ts';
import { CliError } from './errors.ts';
import { type Executed, execute, shellWord } from './execute.ts';
import { type Io, paint } from './io.ts';
import { worldOf } from './scenario-file.ts';
import { replayLines, stepLines, worldLine } from './tell.ts';

export const isRace = (scenario: Scenario): boolean =>
  Object.values(scenario.worlds).some(({ form }) => form === 'cpus');

/** @throws CliError for what is no schedule of this scenario */
export function scheduleOf(scenario: Scenario, text: string | undefined): Schedule | undefined {
  if (text === undefined) return undefined;
  if (!isRace(scenario)) {
    throw new CliError('--schedule needs a scenario with several CPUs', 'leave it out');
  }
  const [world] = Object.values(scenario.worlds);
  const actors = world.cpus.length * actorsOfCpu(world.memory);
  return parseSchedule(text, actors, (message, remedy) => {
    throw new CliError(`--schedule: ${message}`, remedy);
  });
}

/** As a command line gives them. */
export interface RaceOptions {
  readonly schedule?: string;
  /** A file. */
  readonly mutant?: string;
}

/** The options that a replay needs. */
export const raceOptions = (options: RaceOptions): string =>
  [
    options.schedule === undefined ? '' : ` --schedule ${shellWord(options.schedule)}`,
    options.mutant === undefined ? '' : ` --mutant ${shellWord(options.mutant)}`,
  ].join('');

/** Plays the schedule and tells it on stdout while it goes. */
export function tellRace(
  io: Io,
  host: RunHost,
  scenario: Scenario,
  arch: ArchName,
  race: { schedule?: Schedule; mutant?: Mutant },
): Executed {
  const line = (text: string) => io.out(`${text}\n`);
  line(paint(io, 'bold', scenario.name));
  const world = worldOf(scenario, arch);
  line(`${worldLine({ ...world, policies: policiesOf(world) }, race.mutant?.name)}\n`);
  const executed = execute(host, scenario, arch, {
    ...race,
    prepareRace({ race: going }) {
      const columns = new Columns(going, line);
      let told: StepRun[] = [];
      return {
        before: (cpu) => {
          told = [...(going.done[cpu] ?? [])];
          columns.before(cpu);
        },
        after: (cpu) => {
          const ended = (going.done[cpu] ?? []).slice(told.length);
          columns.after(
            cpu,
            ended.flatMap((step) => stepLines(going.run, step)),
          );
        },
      };
    },
  });
  const { schedule, streams } = executed.document as { schedule?: unknown; streams?: unknown };
  line('');
  line(`schedule "${schedule}"`);
  const { stderr } = streams as { stderr: string };
  if (stderr !== '') {
    line('stderr of the program');
    for (const text of stderr.trimEnd().split('\n')) line(`  | ${text}`.trimEnd());
  }
  const violation = executed.played?.violation ?? null;
  if (violation !== null) {
    const { invariant, cpu, what } = violation;
    line(`${paint(io, 'red', invariant)}${cpu === null ? '' : `, by CPU ${cpu}`}: ${what}`);
  }
  for (const text of replayLines(executed)) line(text);
  line(executed.pass ? paint(io, 'green', 'as expected') : paint(io, 'red', 'not as expected'));
  return executed;
}
