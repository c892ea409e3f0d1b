// Litmus tests: scenarios of a few instructions on each CPU, explored completely, and the final states that there are. A
// final state is what the call of each CPU returned, and z, the first word of the arena's third page.
import { virtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { Explorer } from './explore.ts';
import { type RunHost, WorldRun } from './run.ts';
import type { World } from './scenario.ts';
import { WatchedRace } from './watched-race.ts';

/** "0:0x1 1:0xf z:0x0", or {@link CONFLICT}. */
export type FinalState = string;

/** Of schedules in which a CPU dies, which nothing but a TLB conflict abort makes it do. */
const CONFLICT: FinalState = 'conflict';

/** Offset of z in the arena. */
const Z = 0x2000n;

export interface LitmusResult {
  readonly finals: readonly FinalState[];
  readonly complete: boolean;
  readonly schedules: number;
  readonly states: number;
}

/** Explores every schedule of a world whose CPUs make one call each. */
export function runLitmus(host: RunHost, world: World, reduce = true): LitmusResult {
  const run = new WorldRun(host, world);
  try {
    const watched = new WatchedRace(run);
    const finals = new Set<FinalState>();
    const onEnd = () => finals.add(finalState(watched));
    const preemptions = Number.POSITIVE_INFINITY;
    const explorer = new Explorer(watched, { preemptions, reduce, onEnd });
    const { complete, schedules, states, counterexamples } = explorer.explore();
    if (counterexamples.has('expect')) finals.add(CONFLICT);
    return { finals: [...finals].sort(), complete, schedules, states };
  } finally {
    run.close();
  }
}

function finalState({ race }: WatchedRace): FinalState {
  const ends = race.done.map((steps, cpu) => {
    const seen = steps.at(-1)?.seen;
    return `${cpu}:${seen?.kind === 'call' && seen.ret !== null ? hex(seen.ret) : '-'}`;
  });
  const { kernel, places } = race.run;
  const z = kernel.memory.readWord(virtAddr(places[0].kbase + Z));
  return [...ends, `z:${hex(z ?? 0n)}`].join(' ');
}

/** True if one of the states has all that `wanted` names: "1:0x1f" leaves the other CPUs open. */
export function reaches(finals: readonly FinalState[], wanted: FinalState): boolean {
  const parts = wanted.split(' ');
  return finals.some((final) => parts.every((part) => final.split(' ').includes(part)));
}
