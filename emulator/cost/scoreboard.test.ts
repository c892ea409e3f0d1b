import { describe, expect, it } from 'vitest';
import { divide, LOAD_LATENCY, load, move, op, steady, store } from './test-core.ts';

const times = <T>(count: number, make: (n: number) => T): T[] =>
  Array.from({ length: count }, (_, n) => make(n));

describe('the scoreboard', () => {
  it('is bound by the width', () => {
    expect(steady(times(6, (n) => move(n, n)))).toBeCloseTo(3, 1);
  });

  it('is bound by a chain, whatever else there is', () => {
    expect(steady([op([0], [0], 3), op([1], [2])])).toBeCloseTo(3, 1);
  });

  it('is bound by ports that several want', () => {
    expect(steady(times(4, (n) => load(8, 64 * n, n)))).toBeCloseTo(4, 1);
  });

  it('lets a move take no time and no port', () => {
    const chain = [op([0], [1], 2), move(1, 2), move(2, 0)];
    expect(steady(chain)).toBeCloseTo(2, 1);
  });

  it('keeps the divider to one at a time', () => {
    expect(steady([divide([8], [0], 5), divide([8], [1], 5)])).toBeCloseTo(10, 1);
  });

  it('takes half cycles of the divider exactly', () => {
    expect(steady([divide([8], [0], 4.5)])).toBeCloseTo(4.5, 1);
  });

  it('follows a store into a load of its bytes', () => {
    const through = [op([0], [0]), store(8, 16, 0), load(8, 16, 0)];
    // Renamed, the chain is one cycle long: three slots bind.
    expect(steady(through)).toBeCloseTo(1.5, 1);
    expect(steady(through, { loop: false, copied: 1000 })).toBeCloseTo(7, 1);
  });

  it('does not follow a store beside the load', () => {
    const beside = [op([0], [0]), store(8, 16, 0), load(8, 24, 0)];
    expect(steady(beside)).toBeLessThan(3);
  });

  it('makes a load wait that needs more than one store has', () => {
    const wide = [store(8, 16, 0, 4), load(8, 16, 0, 8)];
    expect(steady(wide)).toBeGreaterThan(10);
  });

  it('writes one line after another', () => {
    const sameLine = steady([store(8, 0, 0), store(8, 8, 0), op([0], [1]), op([0], [2])]);
    expect(sameLine).toBeCloseTo(2, 1);
    // Across two lines a store is written twice.
    expect(steady([store(8, 60, 0), op([0], [1])])).toBeCloseTo(2, 1);
  });

  it('takes a chain of loads at their latency', () => {
    expect(steady([load(3, 0, 3)])).toBeCloseTo(LOAD_LATENCY, 1);
  });

  it('overlaps no more than its window', () => {
    // A chain of 40 cycles that starts anew each time, behind 40 moves: 32 slots of window cannot hide it.
    const long = [op([8], [0], 40), ...times(39, () => move(8, 1)), op([0], [2])];
    expect(steady(long)).toBeGreaterThan(24);
    const short = [op([8], [0], 5), ...times(39, () => move(8, 1)), op([0], [2])];
    expect(steady(short)).toBeLessThan(24);
  });

  it('gives the same cycles for the same code', () => {
    const code = [op([0], [1]), load(8, 0, 2), op([2, 1], [0], 3), store(8, 8, 0)];
    expect(steady(code)).toBe(steady(code));
  });
});

describe('the front end', () => {
  const unrolled = { loop: false, copied: 1000 };

  it('finds so many lengths in a window', () => {
    // 16 one-byte instructions a window, 8 lengths a cycle: the width of 2 binds.
    const short = times(16, (n) => ({ ...move(n % 8, n % 8), length: 1 }));
    expect(steady(short, unrolled)).toBeCloseTo(8, 0);
    const long = times(4, (n) => ({ ...move(n, n), length: 16 }));
    expect(steady(long, unrolled)).toBeCloseTo(4, 1);
  });

  it('waits for a length-changing prefix, but not from the micro-op cache', () => {
    const slow = [{ ...op([8], [0]), slowLength: true }];
    expect(steady(slow, unrolled)).toBeGreaterThan(2.9);
    expect(steady(slow)).toBeLessThan(1.1);
  });

  it('decodes one complex instruction a cycle', () => {
    const complex = times(4, (n) => ({ ...move(n, n), complex: true }));
    expect(steady(complex, unrolled)).toBeCloseTo(4, 1);
    expect(steady(complex)).toBeCloseTo(2, 1);
  });

  it('takes one branch a cycle', () => {
    const jump = op([], [], 1, { flow: 'jump' });
    expect(steady([jump])).toBeCloseTo(1, 1);
  });
});
