import { describe, expect, it } from 'vitest';
import { BlockCosts } from './block-costs.ts';
import { move, op, testModel } from './test-core.ts';
import { cycles } from './units.ts';

const chain = { key: '0x1000', insns: [op([0], [0], 6)] };
const more = { key: '0x2000', insns: [op([0], [0], 6)] };
const apart = { key: '0x3000', insns: [op([8], [1]), op([8], [2])] };

describe('block costs', () => {
  it('add a chain that goes through both blocks', () => {
    const costs = new BlockCosts(testModel);
    expect(cycles(costs.ticks(chain, more))).toBeCloseTo(6, 1);
  });

  it('take the width of what runs beside', () => {
    const costs = new BlockCosts(testModel);
    expect(cycles(costs.ticks(chain, apart))).toBeCloseTo(1, 1);
  });

  it('are the loop of a block that follows itself', () => {
    const costs = new BlockCosts(testModel);
    expect(cycles(costs.ticks(chain, chain))).toBeCloseTo(6, 1);
    expect(costs.ticks(null, chain)).toBe(costs.ticks(chain, chain));
  });

  it('are exact where the core takes a fraction of a cycle', () => {
    // Two slots a cycle; all of 24 times end in the middle of one or at its end.
    const costs = new BlockCosts(testModel);
    const ticksOf = (count: number) => {
      const insns = Array.from({ length: count }, (_, n) => move(n, n));
      return costs.ticks(null, { key: `${count} moves`, insns });
    };
    expect([1, 3, 5, 7].map(ticksOf)).toEqual([30, 90, 150, 210]);
  });

  it('are found once for an edge', () => {
    const costs = new BlockCosts(testModel);
    const first = costs.ticks(chain, more);
    expect(costs.ticks(chain, { key: more.key, insns: [] })).toBe(first);
    expect(costs.ticks(chain, { key: 'other', insns: [] })).not.toBe(first);
  });

  it('by instruction sum up to the block', () => {
    const costs = new BlockCosts(testModel);
    const both = { key: 'both', insns: [...chain.insns, ...apart.insns] };
    const parts = costs.byInstruction(both);
    expect(parts[0]).toBe(costs.ticks(null, chain));
    expect(parts.reduce((sum, part) => sum + part)).toBe(costs.ticks(null, both));
  });
});
