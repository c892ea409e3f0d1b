import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CELLS, extentsOf, mapRows, type Pages, STATES } from './map-rows.ts';

const GUARD = 8;

/** Pages in stretches of one state, and stretches in which faults hit. */
const pages = fc
  .record({
    stretches: fc.array(
      fc.tuple(fc.nat(STATES.length - 1), fc.oneof(fc.integer({ min: 1, max: 5 }), fc.nat(3000))),
      { minLength: 1, maxLength: 60 },
    ),
    faults: fc.array(fc.tuple(fc.nat(9000), fc.oneof(fc.nat(3), fc.nat(900))), { maxLength: 6 }),
  })
  .map(({ stretches, faults }): Pages => {
    const states = Uint8Array.from(stretches.flatMap(([state, n]) => Array(n).fill(state)));
    const band = 2 ** 14;
    const all = new Uint8Array(band + 2 * GUARD);
    all.set(states.subarray(0, all.length));
    const hit = new Map<number, number>();
    for (const [first, count] of faults) {
      for (let page = first; page < first + count; page++) hit.set(page, (hit.get(page) ?? 0) + 1);
    }
    return { states: all, faults: hit, band, guard: GUARD };
  });

const faultsOf = ({ faults }: Pages): number => [...faults.values()].reduce((a, b) => a + b, 0);

describe('a map of pages', () => {
  it('has every page of the band and the guards once, and every fault', () => {
    fc.assert(
      fc.property(pages, (all) => {
        const { rows, pagesPerCell } = mapRows(all);
        expect(rows.length).toBeLessThanOrEqual(96);
        let next = 0;
        let faults = 0;
        for (const { first, cells, repeats, repeatFaults } of rows) {
          const count = cells.reduce((sum, cell) => sum + cell.count, 0);
          faults += cells.reduce((sum, cell) => sum + cell.faults, 0) + repeatFaults;
          if (first < 0 || first >= all.band) {
            expect(count).toBe(GUARD);
            continue;
          }
          expect(first).toBe(next);
          next += count * pagesPerCell * (repeats + 1);
        }
        expect(next).toBe(all.band);
        expect(faults).toBe(faultsOf(all));
      }),
    );
  });

  it('shows each page as it is where a cell is a page, and else what any of its pages is', () => {
    fc.assert(
      fc.property(pages, (all) => {
        const { rows, pagesPerCell } = mapRows(all);
        for (const { first, cells, repeats } of rows) {
          const each = first < 0 || first >= all.band ? 1 : pagesPerCell;
          const width = cells.reduce((sum, cell) => sum + cell.count, 0);
          for (let row = 0; row <= repeats; row += Math.max(1, repeats)) {
            let page = first + row * width * each;
            for (const { state, count } of cells) {
              for (let i = 0; i < count; i++, page += each) {
                const from = GUARD + page;
                const held = new Set(all.states.subarray(from, from + each));
                held.delete(0);
                if (state === 'mixed') expect(held.size).toBeGreaterThan(1);
                else if (state === 'none' || state === 'guard') expect(held.size).toBe(0);
                else expect([...held]).toEqual([STATES.indexOf(state)]);
              }
            }
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it('of very different rows makes a cell of several pages', () => {
    const band = 2 ** 14;
    const states = new Uint8Array(band + 2 * GUARD);
    for (let page = 0; page < band; page++) states[GUARD + page] = page % (CELLS + 1) === 0 ? 2 : 0;
    const { rows, pagesPerCell } = mapRows({ states, faults: new Map(), band, guard: GUARD });
    expect(pagesPerCell).toBe(8);
    expect(rows.length).toBeLessThanOrEqual(96);
  });
});

describe('ranges of pages', () => {
  it('tell every page that holds something or was hit, each once, in stretches as long as can be', () => {
    fc.assert(
      fc.property(pages, (all) => {
        const extents = extentsOf(all);
        const told = new Map<number, string>();
        let faults = 0;
        for (const [i, extent] of extents.entries()) {
          faults += extent.faults;
          for (let page = extent.first; page < extent.first + extent.count; page++) {
            expect(told.has(page)).toBe(false);
            told.set(page, extent.state);
          }
          const before = extents[i - 1];
          if (before !== undefined && before.first + before.count === extent.first) {
            expect(before.state).not.toBe(extent.state);
          }
        }
        expect(faults).toBe(faultsOf(all));
        for (const [i, state] of all.states.entries()) {
          const page = i - GUARD;
          const wanted = state === 0 && !all.faults.has(page) ? undefined : STATES[state];
          if (told.get(page) !== wanted) expect(told.get(page), `page ${page}`).toBe(wanted);
        }
      }),
    );
  });
});
