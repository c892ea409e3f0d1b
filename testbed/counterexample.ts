// The shortest way to break an invariant: first by search, then by leaving out what the end does not need.
import { type Counterexample, type ExploreOptions, Explorer } from './explore.ts';
import { turnsOf } from './schedule.ts';
import type { WatchedRace } from './watched-race.ts';

/**
 * A shortest counterexample among the schedules that are explored, without steps that it can do without.
 * @param found one to begin with. @param runs to spend on the search at most
 */
export function minimize(
  watched: WatchedRace,
  found: Counterexample,
  options: Pick<ExploreOptions, 'preemptions'>,
  runs = 20_000,
): Counterexample {
  const shortest = { invariant: found.violation.invariant, steps: found.cpus.length - 1 };
  const explorer = new Explorer(watched, { preemptions: options.preemptions, shortest });
  explorer.advance(runs);
  const better = explorer.result().counterexamples.get(found.violation.invariant) ?? found;
  return trim(watched, better, options.preemptions);
}

/** Takes steps off the ends of turns while the same invariant breaks. */
function trim(watched: WatchedRace, example: Counterexample, preemptions: number): Counterexample {
  let best = example;
  for (let progress = true; progress; ) {
    progress = false;
    const ends: number[] = [];
    let at = 0;
    for (const { steps } of turnsOf(best.cpus)) {
      at += steps!;
      ends.push(at - 1);
    }
    // The last turn ends with the step that breaks it.
    for (const end of ends.slice(0, -1).reverse()) {
      const cpus = best.cpus.filter((_, i) => i !== end);
      const tried = replay(watched, cpus, best.violation.invariant);
      if (tried === null || preemptionsOf(watched, tried.cpus) > preemptions) continue;
      best = tried;
      progress = true;
      break;
    }
  }
  return best;
}

/** Moves CPUs as told. @returns null unless exactly the last step breaks the invariant */
export function replay(
  watched: WatchedRace,
  cpus: readonly number[],
  invariant: string,
): Counterexample | null {
  watched.restart();
  for (const [i, cpu] of cpus.entries()) {
    if (!watched.race.isReady(cpu)) return null;
    const violation = watched.step(cpu);
    if (violation === null) continue;
    return violation.invariant === invariant ? { violation, cpus: cpus.slice(0, i + 1) } : null;
  }
  const violation = watched.race.ready().length === 0 ? watched.end() : null;
  return violation?.invariant === invariant ? { violation, cpus } : null;
}

/** How often a schedule takes the CPU from somebody who could have gone on. */
export function preemptionsOf(watched: WatchedRace, cpus: readonly number[]): number {
  watched.restart();
  let count = 0;
  let last = -1;
  for (const actor of cpus) {
    const cpu = watched.race.cpuOf(actor);
    if (cpu !== null) {
      // A walker's step is part of its CPU's.
      if (last >= 0 && cpu !== last && watched.race.isReady(last)) count++;
      last = cpu;
    }
    watched.step(actor);
  }
  return count;
}
