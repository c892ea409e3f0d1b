// Is the reduction sound? On random small races it must reach the same final states, and break the same invariants, as
// every schedule there is. And the explorer's other promises: it can be stopped, divided and replayed.
import { beforeAll, describe, expect, it } from 'vitest';
import { minimize, preemptionsOf, replay } from './counterexample.ts';
import { type ExploreOptions, Explorer } from './explore.ts';
import { parseMutant } from './mutant.ts';
import { play } from './race-run.ts';
import { type RunHost, WorldRun } from './run.ts';
import { sample } from './sample.ts';
import { type ArchName, INVARIANTS, parseScenario, type Series } from './scenario.ts';
import { followTurns, formatSchedule, randomNumbers, turnsOf } from './schedule.ts';
import { loadTestHost } from './test-run.ts';
import { WatchedRace } from './watched-race.ts';

const call = (x86: string, arm64: string) => ({
  call: { code: { x86_64: `${x86}\nret`, arm64: `${arm64}\nret` }, args: [{ arena: 0 }, 1] },
});
const STORE = call('mov [rdi], rsi', 'str x1, [x0]');
const POOL: readonly object[] = [
  STORE,
  call('mov rax, [rdi]', 'ldr x2, [x0]'),
  { alloc: { page: 0, count: 1 } },
  { alloc: { count: 1 } },
  { free: { page: 0, count: 1 } },
  { free: { page: 0, count: 1, sleepable: false } },
  { worker: {} },
  { user: { page: 0, access: 'write', value: 7 } },
  { reserve: { page: 0, count: 1 } },
];

const guest = (code: string, ...args: readonly (object | number)[]) => ({
  call: { code: { arm64: `${code}\nret` }, args },
});
const UNMAP = 'str xzr, [x0]\ndsb ish\nubfx x9, x2, #12, #44\ntlbi vaae1is, x9\ndsb ish';
/** Accesses, and stores to the entry of the page that they go to. */
const LATE_POOL: readonly object[] = [
  guest('str x1, [x0]', { arena: 0 }, 1),
  guest('ldr x2, [x0]', { arena: 0 }),
  { alloc: { page: 0, count: 1 } },
  { free: { page: 0, count: 1 } },
  guest('str x1, [x0]', { pte: 0 }, { entry: 1 }),
  guest('str xzr, [x0]', { pte: 0 }),
  guest(UNMAP, { pte: 0 }, { entry: 1 }, { arena: 0 }),
  guest('dsb st\nisb\nldr x2, [x0]', { arena: 0 }),
  guest('ldr x2, [x0]\ndsb sy\nisb\nldr x2, [x0]', { arena: 0 }),
];

let host: RunHost;
beforeAll(async () => {
  host = await loadTestHost();
});

function race(
  cpus: readonly (readonly object[])[],
  arch: ArchName,
  series: Series,
  more: object = {},
) {
  const text = JSON.stringify({ name: 'race', series, cpus, ...more });
  const scenario = parseScenario(text, 'race.json', () => new Uint8Array());
  const run = new WorldRun(host, scenario.worlds[arch]!);
  return { run, watched: new WatchedRace(run) };
}

function explore(watched: WatchedRace, options: ExploreOptions) {
  const finals = new Set<number>();
  const explorer = new Explorer(watched, {
    ...options,
    onEnd: (shared) => void finals.add(shared),
  });
  const { runs, complete, counterexamples, states } = explorer.explore();
  return {
    finals: [...finals].sort(),
    broken: [...counterexamples.keys()].sort(),
    runs,
    complete,
    states,
  };
}

describe('the reduction', () => {
  it('reaches the final states of every schedule, on 50 random races', () => {
    const random = randomNumbers(20260601n);
    const one = () => POOL[random(POOL.length)];
    let brute = 0;
    let reduced = 0;
    for (let i = 0; i < 50; i++) {
      const cpus = [[one()], random(3) === 0 ? [one(), one()] : [one()]];
      const arch = i % 2 === 0 ? 'x86_64' : 'arm64';
      const series = i % 4 < 2 ? 'mainline' : 'v2';
      const arena = random(2) === 0 ? { arena: { alloc: [[0, 1]] } } : {};
      const kernel = i % 3 === 0 ? { kernel: { tlb: { negative: 'on' } } } : {};
      const { run, watched } = race(cpus, arch, series, { ...arena, ...kernel });
      const all = explore(watched, { preemptions: 2, reduce: false });
      const some = explore(watched, { preemptions: 2 });
      const what = `race ${i}, ${arch} ${series}: ${JSON.stringify(cpus)}`;
      expect(some.finals, what).toEqual(all.finals);
      expect(some.broken, what).toEqual(all.broken);
      brute += all.runs;
      reduced += some.runs;
      run.close();
    }
    console.info(
      `every schedule: ${brute} runs; reduced: ${reduced}; factor ${(brute / reduced).toFixed(1)}`,
    );
    expect(reduced).toBeLessThan(brute);
  });

  it('does so where walks are late', { timeout: 120_000 }, () => {
    const random = randomNumbers(11n);
    const one = () => LATE_POOL[random(LATE_POOL.length)];
    for (let i = 0; i < 24; i++) {
      const cpus = [[one()], random(3) === 0 ? [one(), one()] : [one()]];
      const memory = i % 2 === 0 ? 'vmsa-ets2' : 'vmsa';
      const series = i % 4 < 2 ? 'mainline' : 'v2';
      const arena = { alloc: random(2) === 0 ? [[1, 1]] : [[0, 2]] };
      const without = random(2) === 0 ? [] : INVARIANTS;
      const more = { arch: 'arm64', memory, arena, without };
      const { run, watched } = race(cpus, 'arm64', series, more);
      const all = explore(watched, { preemptions: 1, reduce: false });
      const some = explore(watched, { preemptions: 1 });
      const what = `race ${i}, ${memory} ${series}: ${JSON.stringify(cpus)}`;
      expect(some.finals, what).toEqual(all.finals);
      expect(some.broken, what).toEqual(all.broken);
      run.close();
    }
  });

  it('misses states if it believes that everything commutes', () => {
    const { run, watched } = race(
      [[STORE], [{ alloc: { page: 0, count: 1 } }]],
      'x86_64',
      'mainline',
    );
    const all = explore(watched, { preemptions: 2, reduce: false });
    watched.footprints.concerns = () => false;
    expect(explore(watched, { preemptions: 2 }).finals).not.toEqual(all.finals);
    run.close();
  });
});

describe('an exploration', () => {
  const cpus = [[STORE], [{ alloc: { page: 0, count: 1 } }, { free: { page: 0, count: 1 } }]];

  it('is the same every time, and in parts', () => {
    const { run, watched } = race(cpus, 'arm64', 'mainline');
    const whole = explore(watched, { preemptions: 3 });
    expect(whole.complete).toBe(true);
    expect(explore(watched, { preemptions: 3 })).toEqual({ ...whole, runs: expect.any(Number) });
    const parts = [0, 1, 2].map((index) =>
      explore(watched, { preemptions: 3, shard: { index, count: 3 } }),
    );
    const finals = new Set(parts.flatMap((part) => part.finals));
    expect([...finals].sort()).toEqual(whole.finals);
    expect([...new Set(parts.flatMap((part) => part.broken))].sort()).toEqual(whole.broken);
    run.close();
  });

  it('goes on where it was stopped, on another race of the same scenario', () => {
    const first = race(cpus, 'x86_64', 'mainline');
    const whole = new Explorer(first.watched, { preemptions: 3 }).explore();
    const stopped = new Explorer(race(cpus, 'x86_64', 'mainline').watched, { preemptions: 3 });
    expect(stopped.advance(10)).toBe(true);
    const state = JSON.parse(JSON.stringify(stopped.save()));
    const resumed = new Explorer(race(cpus, 'x86_64', 'mainline').watched, { preemptions: 3 });
    resumed.load(state);
    const { schedules, states, runs, complete } = resumed.explore();
    expect({ schedules, states, complete }).toEqual({
      schedules: whole.schedules,
      states: whole.states,
      complete: true,
    });
    expect(runs).toBeGreaterThan(10);
    first.run.close();
  });
});

describe('a counterexample', () => {
  const mutant = parseMutant(
    'name: m\nreplace: {arena_free_pages/flush_tlb_kernel_range: skip}',
    'm.yaml',
  );
  const cpus = [[call('mov rax, [rdi]', 'ldr x2, [x0]')], [{ free: { page: 0, count: 1 } }]];
  const arena = { arena: { alloc: [[0, 1]] } };

  it('is short, within the bound, and replays', () => {
    const { run, watched } = race(cpus, 'x86_64', 'mainline', arena);
    expect(explore(watched, { preemptions: 2 }).broken).toEqual([]);
    run.close();
    const mutated = race(cpus, 'x86_64', 'mainline', arena);
    mutated.run.kernel.context.replacements = mutant.replacements;
    const again = new WatchedRace(mutated.run);
    const found = new Explorer(again, { preemptions: 2 }).explore().counterexamples.get('pages')!;
    const best = minimize(again, found, { preemptions: 2 });
    expect(best.cpus.length).toBeLessThanOrEqual(found.cpus.length);
    expect(formatSchedule(turnsOf(best.cpus))).toBe('0:1 1:4');
    expect(preemptionsOf(again, best.cpus)).toBeLessThanOrEqual(2);
    expect(replay(again, best.cpus, 'pages')?.violation.what).toMatch(
      /freed while the TLB of CPU 0 maps/,
    );
    again.restart();
    expect(play(again, followTurns(turnsOf(best.cpus))).violation?.invariant).toBe('pages');
    const sampled = sample(again, { mode: 'pct', runs: 50, seed: 1n, depth: 2 });
    expect([...sampled.counterexamples.keys()]).toEqual(['pages']);
    expect(sampled.chance).toBeCloseTo(1 / (2 * sampled.longest), 12);
    mutated.run.close();
  });
});
