// Refusals that a TLB keeps, under the explorer: an access may fault once more than it has to, and no more often.
import { beforeAll, describe, expect, it } from 'vitest';
import { Explorer } from './explore.ts';
import { play } from './race-run.ts';
import { type RunHost, WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';
import { followTurns } from './schedule.ts';
import { loadTestHost } from './test-run.ts';
import { WatchedRace } from './watched-race.ts';

const load = {
  call: {
    code: { x86_64: 'mov rax, [rdi]\nret', arm64: 'ldr x0, [x0]\nret' },
    args: [{ arena: 0 }],
  },
};

let host: RunHost;
beforeAll(async () => {
  host = await loadTestHost();
});

function race(arch: ArchName, negative: 'off' | 'on') {
  const cpus = [[load], [{ alloc: { page: 0, count: 1 } }]];
  const text = JSON.stringify({ cpus, kernel: { tlb: { negative } } });
  const scenario = parseScenario(text, 'race.json', () => new Uint8Array());
  const run = new WorldRun(host, scenario.worlds[arch]!);
  return { run, watched: new WatchedRace(run) };
}

/** Faults of CPU 0 and what breaks, with the schedule of one CPU after the other. */
function played({ run, watched }: ReturnType<typeof race>) {
  const { violation } = play(watched, followTurns([]));
  const faults = [...run.kernel.cpus[0].faults.since(0)].map(({ resolution }) => resolution);
  run.close();
  return { faults, broken: violation?.invariant ?? null };
}

describe.each(['x86_64', 'arm64'] as const)('a kept refusal on %s', (arch) => {
  const again = arch === 'x86_64' ? 'scratch' : 'spurious';

  it('costs one more fault, which breaks nothing in any schedule', () => {
    expect(played(race(arch, 'off'))).toEqual({ faults: ['scratch'], broken: null });
    expect(played(race(arch, 'on'))).toEqual({ faults: ['scratch', again], broken: null });
    const { run, watched } = race(arch, 'on');
    const { complete, counterexamples } = new Explorer(watched, { preemptions: 2 }).explore();
    expect([complete, [...counterexamples.keys()]]).toEqual([true, []]);
    run.close();
  });

  it('that is never dropped breaks progress with its second fault', () => {
    const stuck = race(arch, 'on');
    stuck.run.kernel.cpus[0].mmu.tlb.drop = () => {};
    const { faults, broken } = played(stuck);
    expect(faults.slice(0, 4)).toEqual(['scratch', again, again, again]);
    expect(broken).toBe('progress');
    const early = race(arch, 'on');
    early.run.kernel.cpus[0].mmu.tlb.drop = () => {};
    const { watched } = early;
    for (let left = 100; left > 0 && watched.step(0) === null; left--);
    expect(early.run.kernel.cpus[0].faults.length).toBe(2);
    early.run.close();
  });
});
