import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SortedList } from './sorted-list.ts';

describe('sorted list', () => {
  it('keeps what a sorted array keeps, over the borders of its chunks', () => {
    const numbers = fc.array(fc.nat(3000), { minLength: 1500, maxLength: 4000 });
    fc.assert(
      fc.property(numbers, fc.array(fc.nat(3000), { maxLength: 50 }), (values, probes) => {
        const list = new SortedList<number>((a, b) => a < b);
        const set = new Set<number>();
        for (const value of values) {
          if (set.delete(value)) list.remove(value);
          else {
            set.add(value);
            list.insert(value);
          }
        }
        const sorted = [...set].sort((a, b) => a - b);
        expect(list.items()).toEqual(sorted);
        for (const probe of [-1, ...probes, 3001]) {
          expect(list.first((n) => n < probe)).toBe(sorted.find((n) => n >= probe));
          expect(list.last((n) => n < probe)).toBe(sorted.findLast((n) => n < probe));
        }
        list.clear();
        expect(list.items()).toEqual([]);
        expect(list.last(() => true)).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });
});
