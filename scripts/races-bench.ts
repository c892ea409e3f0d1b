// Steps of kernel paths and instructions per second while exploring, as a ratio to the same race played in one fixed
// schedule with nobody watching. Going back to the start counts for both.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadHost } from '../cli/host.ts';
import { Explorer } from '../testbed/explore.ts';
import { Race } from '../testbed/race.ts';
import { type RunHost, WorldRun } from '../testbed/run.ts';
import { ARCHS, type ArchName, parseScenario } from '../testbed/scenario.ts';
import { WatchedRace } from '../testbed/watched-race.ts';

/** CPU seconds of each measurement. */
const SECONDS = 1;

/** Repeats `once`, which says how many steps it did. @returns steps for each second of CPU */
function speed(once: () => number): number {
  // What the first rounds compile is not measured.
  for (let i = 0; i < 3; i++) once();
  const begun = process.cpuUsage();
  let steps = 0;
  for (;;) {
    steps += once();
    const { user, system } = process.cpuUsage(begun);
    if (user + system > SECONDS * 1e6) return (steps * 1e6) / (user + system);
  }
}

function ratioOn(host: RunHost, arch: ArchName): { exploring: number; fixed: number } {
  const path = fileURLToPath(new URL('../fixtures/races/alloc-free-fault.yaml', import.meta.url));
  const world = parseScenario(readFileSync(path, 'utf8'), path, (name) => readFileSync(name))
    .worlds[arch]!;
  const played = new WorldRun(host, world);
  const race = new Race(played);
  const fixed = speed(() => {
    race.restart();
    let steps = 0;
    for (let ready = race.ready(); ready.length > 0; ready = race.ready(), steps++)
      race.step(ready[0]);
    return steps;
  });
  played.close();
  const explored = new WorldRun(host, world);
  const watched = new WatchedRace(explored);
  const exploring = speed(() => new Explorer(watched, { preemptions: 3 }).explore().steps);
  explored.close();
  return { exploring, fixed };
}

const host = await loadHost();
for (const arch of ARCHS) {
  const { exploring, fixed } = ratioOn(host, arch);
  const figures = `${Math.round(exploring)} steps a second exploring, ${Math.round(fixed)} in one schedule`;
  process.stdout.write(`${arch}: ratio ${(exploring / fixed).toFixed(2)} (${figures})\n`);
}
