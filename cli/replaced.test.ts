import { beforeAll, describe, expect, it } from 'vitest';
import { EventSink } from '../emulator/events.ts';
import { Explorer } from '../testbed/explore.ts';
import { isReplaceable, type ReplaceableName } from '../testbed/replace/functions/index.ts';
import { type RunHost, WorldRun } from '../testbed/run.ts';
import type { World } from '../testbed/scenario.ts';
import { notReplaceable } from '../testbed/scenario-load-kernel.ts';
import { WatchedRace } from '../testbed/watched-race.ts';
import { loadHost } from './host.ts';
import { STANDINGS } from './standings.ts';
import {
  difference,
  GROUPS,
  hasAll,
  limited,
  load,
  replacing,
  type Seen,
  see,
  suite,
} from './test-replaced.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

const CALLBACKS = GROUPS.CALLBACKS.names;
const REPORTS = GROUPS.REPORTS.names;
const PAGES = GROUPS.PAGES.names;
const MEMORY = GROUPS.MEMORY.names;
const ALL: readonly ReplaceableName[] = [
  ...CALLBACKS,
  ...REPORTS,
  ...GROUPS.HANDLER.names,
  ...MEMORY,
];
/** Each is compared at one level of optimization in every other scenario, so at both over the whole suite. */
const PARTS: Readonly<Record<string, readonly ReplaceableName[]>> = {
  REPORTS,
  PAGES,
  SYMBOLS: GROUPS.SYMBOLS.names,
  STACKS: GROUPS.STACKS.names,
  UNWINDER: GROUPS.UNWINDER.names,
  ACCESSORS: GROUPS.ACCESSORS.names,
  MEMORY,
  MAPS: [...GROUPS.MAP.names, ...GROUPS.MMAP.names],
  VMALLOC: GROUPS.VMALLOC.names,
  MAP_OPS: GROUPS.MAP_OPS.names,
  RANGE_TREE: GROUPS.RANGE_TREE.names,
  STREAMS: GROUPS.STREAMS.names,
  ALL,
  X86: [...GROUPS.FAULT_X86.names, ...GROUPS.EXTABLE_X86.names, ...GROUPS.DYING_X86.names],
  FAULT_ARM64: GROUPS.FAULT_ARM64.names,
  EXTABLE_ARM64: GROUPS.EXTABLE_ARM64.names,
  TRAPS_ARM64: GROUPS.TRAPS_ARM64.names,
};

// When walkers see the stores of compiled code is not modelled: that is refused.
const cases = suite
  .flatMap((file) => {
    const scenario = load(file);
    return scenario.archs.map((arch) => ({ file, arch, world: limited(scenario.worlds[arch]!) }));
  })
  .filter(({ world }) => !world.memory.startsWith('vmsa'))
  .map((one, index) => ({ ...one, index }));

/** How often compiled code was called, in all. */
const calls = new Map<string, number>();

function same(model: Seen, compiled: Seen, level: string): void {
  calls.set(level, (calls.get(level) ?? 0) + compiled.compiled);
  expect(difference(model, compiled)).toBeNull();
}

describe('what can be replaced', () => {
  it.each(Object.keys(STANDINGS))('%s, or the reason why not', (key) => {
    const name = key.replace(/^.*[/ ]/, '');
    if (isReplaceable(name)) expect(notReplaceable(name)[0]).toBeDefined();
    else expect(notReplaceable(name)[0]).toMatch(`${name} cannot be replaced: `);
  });

  it('says of other names that the model has no such function', () => {
    expect(notReplaceable('arena_alloc_page')[0]).toContain('is no function of the model');
    expect(notReplaceable('arena_alloc_page')[1]).toContain('did you mean arena_alloc_pages?');
  });
});

describe('the whole suite with compiled code in the place of the model', () => {
  it.each(cases)('$file $arch', ({ world, index }) => {
    const model = see(host, world, CALLBACKS);
    for (const level of ['O0', 'O2']) {
      same(model, see(host, replacing(world, CALLBACKS, level), CALLBACKS), level);
    }
    const level = index % 2 === 0 ? 'O0' : 'O2';
    for (const [part, names] of Object.entries(PARTS)) {
      if (!hasAll(world, names)) continue;
      same(see(host, world, names), see(host, replacing(world, names, level), names), part);
    }
  });

  it('runs it thousands of times', () => {
    expect(calls.get('O0')).toBe(calls.get('O2'));
    expect(calls.get('O0')).toBeGreaterThan(8000);
    for (const part of Object.keys(PARTS))
      expect([part, calls.get(part)! > 100]).toEqual([part, true]);
    expect(calls.get('ALL')).toBeGreaterThan(calls.get('O2')!);
  });
});

describe('all schedules with compiled code in the place of the model', () => {
  const races = ['fault-alloc', 'alloc-free-fault', 'fault-fault', 'free-worker'];
  const worlds = races.flatMap((name) => {
    const scenario = load(`races/${name}.yaml`);
    return scenario.archs.map((arch) => ({ name, arch, world: scenario.worlds[arch]! }));
  });

  function explore(world: World) {
    const run = new WorldRun(host, world, { events: new EventSink() });
    try {
      const explorer = new Explorer(new WatchedRace(run), { preemptions: 2 });
      const { schedules, states, complete, counterexamples } = explorer.explore();
      return { schedules, states, complete, broken: [...counterexamples.keys()] };
    } finally {
      run.close();
    }
  }

  it.each(worlds)(
    'are as many, come to as many states and break the same, $name $arch',
    ({ world }) => {
      const model = explore(world);
      expect(model.complete).toBe(true);
      for (const names of [CALLBACKS, REPORTS, PAGES, MEMORY]) {
        expect(explore(replacing(world, names, 'O2'))).toEqual(model);
      }
      // The handler walks in one step what the model does in two.
      const { complete, broken } = explore(replacing(world, ALL, 'O2'));
      expect({ complete, broken }).toEqual({ complete: true, broken: model.broken });
      // A mutex is let go within the step before.
      const maps = explore(replacing(world, PARTS.MAPS, 'O2'));
      expect([maps.complete, maps.broken]).toEqual([true, model.broken]);
    },
  );
});
