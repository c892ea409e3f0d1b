// faultline walk: the page-table walk of an address after a scenario has run, and what the TLBs hold for it. Of several
// CPUs the schedule is played; one that the command line gives ends where its turns do.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { AccessKind } from '../emulator/engine.ts';
import type { WalkReport } from '../mm/paging.ts';
import { policiesOf } from '../testbed/policies.ts';
import { play } from '../testbed/race-run.ts';
import type { WorldRun } from '../testbed/run.ts';
import type { Scenario, Schedule } from '../testbed/scenario.ts';
import { chooserOf, followTurns } from '../testbed/schedule.ts';
import { WatchedRace } from '../testbed/watched-race.ts';
import { parseWord } from './decode.ts';
import { EXIT } from './errors.ts';
import { located, openRun } from './execute.ts';
import { loadHost } from './host.ts';
import type { Io } from './io.ts';
import { type ProgramOptions, scenarioFrom } from './program.ts';
import { scheduleOf } from './run-race.ts';
import { pickArch, worldOf } from './scenario-file.ts';
import { placeText } from './tell.ts';
import { tlbJson, tlbLines } from './tlb.ts';

export interface WalkOptions extends ProgramOptions {
  readonly access: 'read' | 'write' | 'fetch';
  readonly json?: boolean;
  readonly schedule?: string;
}

const KINDS: Readonly<Record<WalkOptions['access'], AccessKind>> = { read: 0, write: 1, fetch: 2 };

/** @returns the exit code */
export async function walkCommand(file: string, address: string, options: WalkOptions, io: Io) {
  const va = parseWord(address) as VirtAddr;
  const scenario = scenarioFrom(file, options, io);
  const schedule = scheduleOf(scenario, options.schedule);
  const arch = pickArch(scenario, options.arch);
  const host = await loadHost(options.assembler);
  const run = openRun(host, scenario, worldOf(scenario, arch));
  try {
    if (run.world.form === 'cpus') playRace(run, scenario, schedule);
    else for (const step of run.steps) located(scenario, step, () => run.runStep(step));
    const policies = policiesOf(run.world);
    const report = run.kernel.cpus[0].paging.inspect(va, KINDS[options.access]);
    if (options.json)
      io.out(
        `${JSON.stringify({ ...toJson(report), tlb: tlbJson(run, va), policies }, null, 2)}\n`,
      );
    else {
      const named = policies.map((policy) => `, policy ${policy}`).join('');
      io.out(`${options.access} of ${hex(va)}, ${placeText(run, va)}${named}\n`);
      for (const line of [...walkLines(report), ...tlbLines(run, va)]) io.out(`${line}\n`);
    }
    return EXIT.ok;
  } finally {
    run.close();
  }
}

function playRace(run: WorldRun, scenario: Scenario, schedule: Schedule | undefined): void {
  const watched = located(scenario, null, () => new WatchedRace(run));
  const choose =
    schedule?.kind === 'turns'
      ? followTurns(schedule.turns, 'stop')
      : chooserOf(run.world.schedule);
  located(scenario, null, () => play(watched, choose));
}

/** A walk as lines: a level each, then what it comes to. */
export function walkLines(report: WalkReport): string[] {
  const levels = report.levels.map(({ level, table, index, entryAddr, entry, bits, verdict }) => {
    const place = `${level.padEnd(4)} table ${hex(table)} index ${index}`;
    const what = bits === '' ? verdict : `${verdict} (${bits})`;
    return `  ${place.padEnd(34)} entry at ${hex(entryAddr).padEnd(12)} ${hex(entry).padEnd(18)}  ${what}`;
  });
  return [...levels, `  ${report.verdict}`];
}

const toJson = (report: WalkReport): object => ({
  va: hex(report.va),
  ok: report.ok,
  pa: report.pa === null ? null : hex(report.pa),
  code: report.code === null ? null : hex(report.code),
  verdict: report.verdict,
  levels: report.levels.map(({ level, table, index, entryAddr, entry, bits, verdict }) => ({
    level,
    table: hex(table),
    index,
    entryAddr: hex(entryAddr),
    entry: hex(entry),
    bits,
    verdict,
  })),
});
