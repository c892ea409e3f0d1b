// Schedules: which CPU moves when. As text "0:3 1:2 0:*": turns of a CPU and so many of its steps, or all it has left.
import type { Schedule } from './scenario-model.ts';

/** Picks the CPU that moves, one of `ready`, which is in ascending order and never empty; null: the schedule is over. */
export type Choose = (ready: readonly number[]) => number | null;

/** A turn: steps of one CPU in a row; null for all that it has left. */
export interface Turn {
  readonly cpu: number;
  readonly steps: number | null;
}

export const formatSchedule = (turns: readonly Turn[]): string =>
  turns.map(({ cpu, steps }) => `${cpu}:${steps ?? '*'}`).join(' ');

/** The turns of CPUs that moved one after the other. */
export function turnsOf(cpus: readonly number[]): Turn[] {
  const turns: { cpu: number; steps: number }[] = [];
  for (const cpu of cpus) {
    const last = turns.at(-1);
    if (last?.cpu === cpu) last.steps++;
    else turns.push({ cpu, steps: 1 });
  }
  return turns;
}

/**
 * Follows turns. A CPU that cannot move, because it has ended or waits, gives its turn to the next.
 * @param behind what comes behind the last turn: CPUs run to their ends, the lowest first, or nothing
 */
export function followTurns(turns: readonly Turn[], behind: 'run' | 'stop' = 'run'): Choose {
  let at = 0;
  let left = turns[0]?.steps ?? Number.POSITIVE_INFINITY;
  return (ready) => {
    while (at < turns.length) {
      if (left > 0 && ready.includes(turns[at].cpu)) {
        left--;
        return turns[at].cpu;
      }
      at++;
      left = turns[at]?.steps ?? Number.POSITIVE_INFINITY;
    }
    return behind === 'run' ? ready[0] : null;
  };
}

/** Picks by chance: each ready CPU is as likely as the others, at every step. */
export function followSeed(seed: bigint): Choose {
  const random = randomNumbers(seed);
  return (ready) => ready[random(ready.length)];
}

/** The schedule of a scenario; without one, one CPU after the other. */
export function chooserOf(schedule: Schedule | null): Choose {
  if (schedule === null) return followTurns([]);
  return schedule.kind === 'seed' ? followSeed(schedule.seed) : followTurns(schedule.turns);
}

/**
 * Numbers that look random and follow from a seed: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
 * @returns a function that gives a number from 0 to n - 1, n at most 2^31
 */
export function randomNumbers(seed: bigint): (n: number) => number {
  let state = BigInt.asUintN(64, seed);
  return (n) => {
    state = BigInt.asUintN(64, state + 0x9e37_79b9_7f4a_7c15n);
    let z = BigInt.asUintN(64, (state ^ (state >> 30n)) * 0xbf58_476d_1ce4_e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn);
    return Number((z ^ (z >> 31n)) % BigInt(n));
  };
}
