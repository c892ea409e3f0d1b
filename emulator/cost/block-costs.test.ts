import { describe, expect, it } from 'vitest';
import { BlockCosts } from './block-costs.ts';
import { op, testModel } from './test-core.ts';
import { cycles } from './units.ts';

const chain = { address: 0x1000, insns: [op([0], [0], 6)] };
const more = { address: 0x2000, insns: [op([0], [0], 6)] };
const apart = { address: 0x3000, insns: [op([8], [1]), op([8], [2])] };

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

  it('are found once for an edge', () => {
    const costs = new BlockCosts(testModel);
    const first = costs.ticks(chain, more);
    expect(costs.ticks(chain, { address: 0x2000, insns: [] })).toBe(first);
    costs.clear();
    expect(costs.ticks(chain, { address: 0x2000, insns: [] })).not.toBe(first);
  });
});
