import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CoreDescription } from './core.ts';
import type { Uop } from './instruction.ts';
import { Ports } from './ports.ts';
import { testCore } from './test-core.ts';
import { TICKS_PER_CYCLE } from './units.ts';

const core: CoreDescription = { ...testCore, schedulers: [{ ports: 0b1111, entries: 4096 }] };
const NO_BANK = -1;

const uop = (busy = 0): Uop => ({
  ...{ ports: 0, latency: 1, busy, unit: -1 },
  ...{ reads: [], writes: [], load: -1, store: -1 },
});

/** Cycles in which operations start that are all ready at 0, each by the ports that it may go to. */
function starts(allowed: readonly number[], on = new Ports(core)): number[] {
  return allowed.map((ports) => on.start(uop(), ports, 0, NO_BANK));
}

/** Most operations that can have a port each, by trying everything. */
function most(allowed: readonly number[], taken = 0): number {
  const [ports, ...rest] = allowed;
  if (ports === undefined) return 0;
  let best = most(rest, taken);
  for (let bit = 1; bit <= 8; bit *= 2) {
    if ((ports & ~taken & bit) !== 0) best = Math.max(best, 1 + most(rest, taken | bit));
  }
  return best;
}

describe('ports', () => {
  it('move an operation on that has other ports', () => {
    expect(starts([0b0011, 0b0001])).toEqual([0, 0]);
    // Through two: the third's port from the second, which has it from the first.
    expect(starts([0b0111, 0b0011, 0b0001])).toEqual([0, 0, 0]);
  });

  it('keep a younger operation waiting where all are taken', () => {
    expect(starts([0b0001, 0b0001, 0b0011])).toEqual([0, 1, 0]);
    expect(starts([0b0011, 0b0011, 0b0011])).toEqual([0, 0, 1]);
  });

  it('leave an operation where it is that keeps its port for several cycles', () => {
    const on = new Ports(core);
    expect(on.start(uop(3 * TICKS_PER_CYCLE), 0b0011, 0, NO_BANK)).toBe(0);
    expect(starts([0b0001, 0b0010, 0b0001], on)).toEqual([3, 0, 4]);
  });

  it('start as many in a cycle as can have ports, in whichever order they come', () => {
    const masks = fc.array(fc.integer({ min: 1, max: 15 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(masks, (allowed) => {
        const first = (order: readonly number[]) => starts(order).filter((at) => at === 0).length;
        expect(first(allowed)).toBe(most(allowed));
        expect(first([...allowed].reverse())).toBe(most(allowed));
      }),
    );
  });

  it('remember more cycles than they began with', () => {
    const on = new Ports(core);
    const cycles = Array.from({ length: 5000 }, () => on.start(uop(), 0b0001, 0, NO_BANK));
    expect(cycles).toEqual(cycles.map((_, n) => n));
  });
});
