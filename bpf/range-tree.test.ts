import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventSink } from '../emulator/events.ts';
import { ERRNO, KernelContext } from '../mm/context.ts';
import { RangeTree } from './range-tree.ts';
import { NaiveTree } from './test-naive-tree.ts';

const kernelContext = () => new KernelContext(new EventSink(), {} as never);

function tree(...ranges: [number, number][]) {
  const rt = new RangeTree(kernelContext());
  for (const [start, last] of ranges) rt.set(start, last - start + 1);
  return rt;
}

const nodes = (rt: RangeTree) => rt.nodes().map((rn) => [rn.start, rn.last]);

describe('range tree', () => {
  it('merges with neighbours on either side, or both', () => {
    const rt = tree([0, 9], [20, 29]);
    rt.set(10, 5);
    expect(nodes(rt)).toEqual([
      [0, 14],
      [20, 29],
    ]);
    rt.set(18, 2);
    expect(nodes(rt)).toEqual([
      [0, 14],
      [18, 29],
    ]);
    rt.set(15, 3);
    expect(nodes(rt)).toEqual([[0, 29]]);
  });

  it('swallows what overlaps', () => {
    const rt = tree([2, 3], [5, 6], [8, 12]);
    rt.set(3, 7);
    expect(nodes(rt)).toEqual([[2, 12]]);
  });

  it('cuts: inside, left, right, whole, several, nothing', () => {
    const rt = tree([0, 99]);
    rt.clear(40, 20);
    expect(nodes(rt)).toEqual([
      [0, 39],
      [60, 99],
    ]);
    rt.clear(30, 15);
    expect(nodes(rt)).toEqual([
      [0, 29],
      [60, 99],
    ]);
    rt.clear(55, 10);
    expect(nodes(rt)).toEqual([
      [0, 29],
      [65, 99],
    ]);
    rt.clear(30, 35);
    expect(nodes(rt)).toEqual([
      [0, 29],
      [65, 99],
    ]);
    rt.clear(10, 80);
    expect(nodes(rt)).toEqual([
      [0, 9],
      [90, 99],
    ]);
    rt.clear(0, 10);
    expect(nodes(rt)).toEqual([[90, 99]]);
  });

  it('finds the best fit, and -ENOENT where nothing fits', () => {
    const rt = tree([0, 9], [20, 24], [40, 49]);
    expect(rt.find(5)).toBe(20);
    expect(rt.find(1)).toBe(20);
    expect(rt.find(11)).toBe(ERRNO.ENOENT);
    expect(tree().find(1)).toBe(ERRNO.ENOENT);
  });

  it('takes, of equal sizes, the node inserted last', () => {
    const rt = tree([0, 9], [20, 29], [40, 49]);
    expect(rt.find(10)).toBe(40);
    // Covered already: no edit, the order stays.
    rt.set(0, 10);
    expect(rt.find(10)).toBe(40);
    // An edit that shrinks and one that grows it again insert it anew.
    rt.clear(0, 1);
    rt.set(0, 1);
    expect(rt.find(10)).toBe(0);
  });

  it('inserts the right part of a split after the left one', () => {
    const rt = tree([0, 20]);
    rt.clear(10, 1);
    expect(rt.find(10)).toBe(11);
  });

  it('answers whether all of a range is in one node', () => {
    const rt = tree([5, 9]);
    expect([rt.isSet(5, 5), rt.isSet(6, 1)]).toEqual([0, 0]);
    expect([rt.isSet(4, 2), rt.isSet(9, 2), rt.isSet(20, 1)]).toEqual(Array(3).fill(ERRNO.ESRCH));
  });

  it('loses the right part when a split finds no memory', () => {
    const kernel = kernelContext();
    const rt = new RangeTree(kernel);
    kernel.inject('range_node', 2, ERRNO.ENOMEM);
    expect(rt.set(0, 100)).toBe(0);
    expect(rt.clear(40, 20)).toBe(ERRNO.ENOMEM);
    expect(nodes(rt)).toEqual([[0, 39]]);
  });

  it('sets nothing when there is no memory for a node', () => {
    const kernel = kernelContext();
    kernel.inject('range_node', 1, ERRNO.ENOMEM);
    const rt = new RangeTree(kernel);
    expect(rt.set(3, 4)).toBe(ERRNO.ENOMEM);
    expect(nodes(rt)).toEqual([]);
  });

  it('is empty after destroy', () => {
    const rt = tree([0, 5]);
    rt.destroy();
    expect([nodes(rt), rt.find(1)]).toEqual([[], ERRNO.ENOENT]);
  });
});

describe('range tree, by property', () => {
  it('does what a naive set of runs does, in 100,000 operations', () => {
    const operation = fc.tuple(fc.nat(3), fc.nat(63), fc.integer({ min: 1, max: 16 }));
    const script = fc.array(operation, { minLength: 400, maxLength: 400 });
    fc.assert(
      fc.property(script, (operations) => {
        const rt = new RangeTree(kernelContext());
        const naive = new NaiveTree();
        for (const [op, start, len] of operations) {
          const last = start + len - 1;
          if (op === 0) expect(rt.set(start, len)).toBe(naive.set(start, last) ?? 0);
          if (op === 1) expect(rt.clear(start, len)).toBe(naive.clear(start, last) ?? 0);
          if (op === 2) expect(rt.isSet(start, len) === 0).toBe(naive.covered(start, last));
          const found = rt.find(len);
          if (found !== naive.find(len)) expect(found).toBe(naive.find(len));
          // Allocation as the arena does it: find, then clear.
          if (op === 3 && found >= 0) {
            rt.clear(found, len);
            naive.clear(found, found + len - 1);
          }
        }
        expect(nodes(rt)).toEqual(naive.nodes());
      }),
      { numRuns: 250 },
    );
  });

  it('stays fast with fifty thousand holes', () => {
    const rt = tree([0, 0xf_ffff]);
    for (let i = 0; i < 50_000; i++) rt.clear(i * 4, 1);
    for (let i = 0; i < 50_000; i++) rt.clear(rt.find(1), 1);
    // The runs of three slots were eaten one after the other.
    expect(rt.nodes().length).toBe(33_334);
  });
});
