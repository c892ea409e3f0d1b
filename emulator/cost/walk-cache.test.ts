import { describe, expect, it } from 'vitest';
import { WalkCache } from './walk-cache.ts';

const steps = { length: 4, shift: [39, 30, 21, 12] };
const HI = 0xffff_c900;

describe('paging-structure caches', () => {
  it('leave one entry to read where a walk before it came the same way', () => {
    const cache = new WalkCache(4, 32);
    expect(cache.walked(HI, 0x1000, steps)).toBe(0);
    expect(cache.walked(HI, 0x2000, steps)).toBe(3);
    expect(cache.walked(HI, 0x20_0000, steps)).toBe(2);
    expect(cache.walked(HI, 0x4000_0000, steps)).toBe(1);
    expect(cache.walked(HI + 0x80, 0, steps)).toBe(0);
  });

  it('hold so many entries, and lose the one not used for the longest time', () => {
    const cache = new WalkCache(1, 2);
    for (const lo of [0, 0x20_0000, 0, 0x40_0000]) cache.walked(HI, lo, steps);
    expect(cache.walked(HI, 0, steps)).toBe(3);
    expect(cache.walked(HI, 0x20_0000, steps)).toBe(2);
  });

  it('keep nothing of where a walk ended, and nothing over an invalidation', () => {
    const cache = new WalkCache(4, 32);
    cache.walked(HI, 0, { length: 2, shift: [39, 30] });
    expect(cache.walked(HI, 0, steps)).toBe(1);
    cache.clear();
    expect(cache.walked(HI, 0, steps)).toBe(0);
  });
});
