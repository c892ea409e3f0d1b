// One schedule of a race, played to its end or to the first invariant that it breaks.

import { hex } from '../emulator/bits.ts';
import type { JsonObject, RunDocument } from './document.ts';
import { type DocumentOptions, stepDocument } from './document.ts';
import type { Violation } from './invariants.ts';
import { pageAt } from './places.ts';
import { policiesOf } from './policies.ts';
import type { Choose } from './schedule.ts';
import { formatSchedule, turnsOf } from './schedule.ts';
import type { WatchedRace } from './watched-race.ts';

/** What a schedule came to. */
export interface Played {
  /** Who moved, step by step. */
  readonly cpus: readonly number[];
  readonly violation: Violation | null;
}

export interface PlayWatch {
  before?(cpu: number): void;
  after?(cpu: number): void;
}

/** Steps of one schedule at most: beyond it the schedule is one of those that never end. */
const MOST_STEPS = 1_000_000;

/** Plays from where the race stands until nobody can move or the schedule is over. A broken invariant is told once; the schedule goes on to its end. */
export function play(watched: WatchedRace, choose: Choose, watch: PlayWatch = {}): Played {
  const { race } = watched;
  const cpus: number[] = [];
  let violation: Violation | null = null;
  for (
    let ready = race.ready();
    ready.length > 0 && cpus.length < MOST_STEPS;
    ready = race.ready()
  ) {
    const cpu = choose(ready);
    if (cpu === null) return { cpus, violation };
    watch.before?.(cpu);
    const broken = watched.step(cpu);
    cpus.push(cpu);
    watch.after?.(cpu);
    violation ??= broken;
  }
  return { cpus, violation: violation ?? watched.end() };
}

/** The document of a race that was played. */
export function raceDocument(
  watched: WatchedRace,
  played: Played,
  options: DocumentOptions,
): RunDocument {
  const { race } = watched;
  const { run } = race;
  const { world } = run;
  const base = {
    scenario: options.scenario.file,
    name: options.scenario.name,
    arch: world.arch,
    series: world.series,
    policies: policiesOf(world),
  };
  const cpus = race.done.map((steps) =>
    steps.map((step) => ({ ...base, ...stepDocument(run, step, options) })),
  );
  const failures = race.done.flatMap((steps, cpu) =>
    steps.flatMap((step, i) =>
      step.failures.map((failure) => ({
        ...failure,
        expect: `cpus[${cpu}][${i}].${failure.expect}`,
      })),
    ),
  );
  const { violation } = played;
  if (violation !== null && violation.invariant !== 'expect') {
    failures.push({ expect: violation.invariant, wanted: 'that it holds', got: violation.what });
  }
  const calls = race.done.flat().flatMap(({ seen }) => (seen.kind === 'call' ? [seen] : []));
  const outcome = calls.find((call) => call.outcome !== 'returned')?.outcome ?? 'returned';
  const faults = run.kernel.cpus.flatMap((vcpu): JsonObject[] =>
    [...vcpu.faults.since(0)].map((fault) => ({
      cpu: fault.cpu,
      ip: hex(fault.ip),
      addr: hex(fault.addr),
      page: pageAt(fault.addr, run.places),
      access: fault.access,
      code: hex(fault.code),
      resolution: fault.resolution,
    })),
  );
  return {
    ...base,
    pass: failures.length === 0,
    outcome,
    kbase: hex(run.places[0].kbase),
    instructions: calls.reduce((sum, call) => sum + call.instructions, 0),
    cost: 'uncalibrated',
    faults,
    streams: { stdout: '', stderr: run.program(null).mainProg.streams[1].peek() },
    schedule: formatSchedule(turnsOf(played.cpus)),
    violation: violation === null ? null : { ...violation },
    failures: failures as unknown as JsonObject[],
    cpus,
    replay: options.replay,
  };
}
