// `run --profile` and `--folded`: what the cycles of a run's calls were spent on.
import { writeFileSync } from 'node:fs';
import type { CallSeen } from '../testbed/call.ts';
import { foldedStacks, type Profile, type ProfileRow, profileOf } from '../testbed/profile.ts';
import type { RunHost } from '../testbed/run.ts';
import { CliError } from './errors.ts';
import type { Executed } from './execute.ts';
import type { Io } from './io.ts';

export interface ProfileOptions {
  readonly profile?: boolean;
  readonly folded?: string;
  readonly json?: boolean;
  readonly cost?: string;
}

/** @throws CliError for options that do not go together */
export function checkProfile({ profile, folded, json, cost }: ProfileOptions): void {
  const wanted = profile ? '--profile' : folded === undefined ? null : '--folded';
  if (wanted !== null && cost === 'off') {
    throw new CliError(`${wanted} needs cycles`, 'leave --cost off out');
  }
  if (profile && json) throw new CliError('--profile has no --json form', 'leave one of them out');
}

/** Tells the profiles of all calls, or writes their stacks. @throws CliError for a file that cannot be written */
export function tellProfiles(
  io: Io,
  host: RunHost,
  done: readonly Executed[],
  { profile, folded }: ProfileOptions,
): void {
  const stacks: string[] = [];
  for (const { run, steps } of done) {
    const { costing } = run.kernel;
    for (const { seen } of steps) {
      if (seen.kind !== 'call' || costing === null) continue;
      const found = profileOf(seen as CallSeen, costing, host.disassembler);
      if (found === null) continue;
      if (profile) io.out(`${profileLines(found).join('\n')}\n`);
      stacks.push(...foldedStacks(run.world.arch, found));
    }
  }
  if (folded === undefined) return;
  try {
    writeFileSync(folded, stacks.map((line) => `${line}\n`).join(''));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(`--folded ${folded}: cannot be written: ${why}`, 'check the path');
  }
}

const BLOCKS_SHOWN = 10;

function profileLines({ cycles, cost, ...parts }: Profile): string[] {
  const table = (title: string, rows: readonly ProfileRow[]): string[] => {
    if (rows.length === 0) return [];
    return ['', `cycles by ${title}`, ...rows.map((row) => rowLine(row, cycles))];
  };
  return [
    '',
    `${cycles} cycles (${cost})`,
    ...table('function', parts.functions),
    ...table('event', parts.events),
    ...table('block', parts.blocks.slice(0, BLOCKS_SHOWN)),
    ...table('instruction', parts.instructions),
    ...table('source line', parts.lines),
  ];
}

function rowLine({ name, count, cycles }: ProfileRow, all: number): string {
  const share = `${((100 * cycles) / all).toFixed(2)}%`.padStart(8);
  return `${share} ${cycles.toFixed(1).padStart(12)} ${String(count).padStart(10)}  ${name}`;
}
