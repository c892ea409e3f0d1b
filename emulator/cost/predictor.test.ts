import { describe, expect, it } from 'vitest';
import { BranchPredictor } from './predictor.ts';

/** Wrong predictions in the last of some rounds through a loop of so many trips. */
function missesOfLoop(trips: number, rounds: number): number {
  const predictor = new BranchPredictor();
  let misses = 0;
  for (let round = 0; round < rounds; round++) {
    misses = 0;
    for (let trip = 1; trip <= trips; trip++) {
      if (!predictor.resolve(0x40, trip < trips)) misses++;
    }
  }
  return misses;
}

describe('the branch predictor', () => {
  it.each([2, 8, 31, 64])('knows the exit of a loop of %i trips', (trips) => {
    expect(missesOfLoop(trips, 30)).toBe(0);
  });

  it('misses the exit of a loop that its longest history does not span', () => {
    expect(missesOfLoop(400, 30)).toBe(1);
  });

  it('misses some of what has no pattern', () => {
    const predictor = new BranchPredictor();
    let state = 1;
    let misses = 0;
    for (let n = 0; n < 400; n++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      if (!predictor.resolve(0x40, state >>> 31 === 1)) misses++;
    }
    expect(misses).toBeGreaterThan(100);
  });
});
