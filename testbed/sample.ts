// Schedules by chance, for races with too many of them: uniform choice at every step, and probabilistic concurrency
// testing (PCT: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of
// Finding Bugs", ASPLOS 2010).
import type { Counterexample } from './explore.ts';
import { randomNumbers } from './schedule.ts';
import type { WatchedRace } from './watched-race.ts';

export interface SampleOptions {
  readonly mode: 'random' | 'pct';
  readonly runs: number;
  readonly seed: bigint;
  /** pct: how many steps must come in a certain order for the bug to show; 1 or more. */
  readonly depth: number;
}

export interface Sampled {
  readonly runs: number;
  readonly steps: number;
  /** Steps of the longest schedule. */
  readonly longest: number;
  /** Chance of one run, at least, to take one particular schedule (random) or to show a bug of the depth (pct). */
  readonly chance: number;
  /** The same of all runs together. */
  readonly chanceOfAll: number;
  readonly counterexamples: ReadonlyMap<string, Counterexample>;
}

export function sample(watched: WatchedRace, options: SampleOptions): Sampled {
  const random = randomNumbers(options.seed);
  const { race } = watched;
  const found = new Map<string, Counterexample>();
  const cpuCount = race.actorCount;
  let longest = playOne(watched, found, (ready) => ready[0]);
  let steps = longest;
  // PCT needs the length beforehand: the first runs tell it.
  for (let run = 0; run < options.runs; run++) {
    const choose =
      options.mode === 'random'
        ? uniform(random)
        : priorities(random, cpuCount, longest, options.depth);
    const length = playOne(watched, found, choose);
    steps += length;
    longest = Math.max(longest, length);
  }
  const chance =
    options.mode === 'random'
      ? cpuCount ** -longest
      : 1 / (cpuCount * longest ** (options.depth - 1));
  // 1 - (1 - p)^n, without losing a small p.
  const chanceOfAll = -Math.expm1(options.runs * Math.log1p(-chance));
  return { runs: options.runs, steps, longest, chance, chanceOfAll, counterexamples: found };
}

type Choose = (ready: readonly number[], step: number) => number;

const uniform =
  (random: (n: number) => number): Choose =>
  (ready) =>
    ready[random(ready.length)];

/** The ready CPU with the highest priority; at depth - 1 steps the one that moves falls behind all others. */
function priorities(
  random: (n: number) => number,
  cpus: number,
  length: number,
  depth: number,
): Choose {
  const priority = Array.from({ length: cpus }, (_, cpu) => cpu + depth);
  for (let i = cpus - 1; i > 0; i--) {
    const j = random(i + 1);
    [priority[i], priority[j]] = [priority[j], priority[i]];
  }
  const changes = Array.from({ length: depth - 1 }, () => random(length));
  return (ready, step) => {
    const highest = () => ready.reduce((a, b) => (priority[b] > priority[a] ? b : a));
    for (const [i, at] of changes.entries()) if (at === step) priority[highest()] = i;
    return highest();
  };
}

/** @returns its steps */
function playOne(watched: WatchedRace, found: Map<string, Counterexample>, choose: Choose): number {
  watched.restart();
  const cpus: number[] = [];
  for (let ready = watched.race.ready(); ready.length > 0; ready = watched.race.ready()) {
    const cpu = choose(ready, cpus.length);
    cpus.push(cpu);
    const violation = watched.step(cpu);
    if (violation === null) continue;
    note(found, { violation, cpus });
    return cpus.length;
  }
  const violation = watched.end();
  if (violation !== null) note(found, { violation, cpus });
  return cpus.length;
}

function note(found: Map<string, Counterexample>, example: Counterexample): void {
  const best = found.get(example.violation.invariant);
  if (best === undefined || example.cpus.length < best.cpus.length) {
    found.set(example.violation.invariant, example);
  }
}
