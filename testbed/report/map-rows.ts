// The pages of an arena as a map: rows of cells like a hexdump, of which those that repeat are told once, and ranges of pages
// that hold the same. Of a map that would have too many rows a cell stands for several pages.
import type { CellRun, Extent, MapRow, PageState } from './model.ts';

/** States of pages, by the number that {@link Pages} has for them. */
export const STATES: readonly PageState[] = ['none', 'scratch', 'allocated', 'freed', 'other'];
export const CELLS = 64;
/** Rows of a map, beyond which a cell stands for more pages. */
const MOST_ROWS = 96;
const COARSER = 8;

/** States of all pages, from the lower guard to the upper one, and the faults in them. */
export interface Pages {
  readonly states: Uint8Array;
  readonly faults: ReadonlyMap<number, number>;
  readonly band: number;
  readonly guard: number;
}

/** Rows of one guard, of the band, and of the other guard; those that look like the one before are told by their number. */
export function mapRows(pages: Pages): { rows: MapRow[]; pagesPerCell: number } {
  const { band, guard } = pages;
  const lower = rowOf(pages, -guard, 1, guard);
  const upper = rowOf(pages, band, 1, guard);
  for (let pagesPerCell = 1; ; pagesPerCell *= COARSER) {
    const rows: MapRow[] = [];
    let look = '';
    for (let first = 0; first < band; first += CELLS * pagesPerCell) {
      const cells = Math.min(CELLS, Math.ceil((band - first) / pagesPerCell));
      const row = rowOf(pages, first, pagesPerCell, cells);
      const looks = row.cells
        .map(({ count, state, faults }) => `${count}${state}${faults > 0}`)
        .join();
      const last = rows.at(-1);
      if (last !== undefined && looks === look) {
        rows[rows.length - 1] = {
          ...last,
          repeats: last.repeats + 1,
          repeatFaults: last.repeatFaults + faultsIn(row.cells),
        };
      } else rows.push(row);
      look = looks;
    }
    if (rows.length <= MOST_ROWS - 2) return { rows: [lower, ...rows, upper], pagesPerCell };
  }
}

const faultsIn = (cells: readonly CellRun[]): number =>
  cells.reduce((sum, { faults }) => sum + faults, 0);

function rowOf(pages: Pages, first: number, pagesPerCell: number, count: number): MapRow {
  const cells: CellRun[] = [];
  if (isEmpty(pages, first, count * pagesPerCell)) {
    const state = first < 0 || first >= pages.band ? 'guard' : 'none';
    return { first, cells: [{ count, state, faults: 0 }], repeats: 0, repeatFaults: 0 };
  }
  for (let i = 0; i < count; i++) {
    const { state, faults } = cellOf(pages, first + i * pagesPerCell, pagesPerCell);
    const last = cells.at(-1);
    if (last !== undefined && last.state === state && last.faults > 0 === faults > 0) {
      cells[cells.length - 1] = { state, count: last.count + 1, faults: last.faults + faults };
    } else cells.push({ state, count: 1, faults });
  }
  return { first, cells, repeats: 0, repeatFaults: 0 };
}

/** Most rows of an arena are: they are looked at as a whole. */
function isEmpty({ states, faults, guard }: Pages, first: number, count: number): boolean {
  for (let page = first; page < first + count; page++) {
    if (states[guard + page] !== 0 || (faults.size > 0 && faults.has(page))) return false;
  }
  return true;
}

function cellOf(
  { states, faults, band, guard }: Pages,
  first: number,
  count: number,
): Omit<CellRun, 'count'> {
  const found = new Set<number>();
  let hits = 0;
  for (let page = first; page < first + count; page++) {
    found.add(states[guard + page] ?? 0);
    if (faults.size > 0) hits += faults.get(page) ?? 0;
  }
  found.delete(0);
  const [state = 0] = found;
  const inGuard = first < 0 || first >= band;
  const name = found.size > 1 ? 'mixed' : inGuard && state === 0 ? 'guard' : STATES[state];
  return { state: name, faults: hits };
}

/** Pages in a row of one state, those without anything and without faults left out. */
export function extentsOf({ states, faults, guard }: Pages): Extent[] {
  const extents: { first: number; count: number; state: PageState; faults: number }[] = [];
  let last: (typeof extents)[number] | null = null;
  for (const [i, code] of states.entries()) {
    const page = i - guard;
    const hits = faults.size === 0 ? 0 : (faults.get(page) ?? 0);
    if (code === 0 && hits === 0) {
      last = null;
      continue;
    }
    const state = STATES[code];
    if (last === null || last.state !== state) {
      last = { first: page, count: 0, state, faults: 0 };
      extents.push(last);
    }
    last.count++;
    last.faults += hits;
  }
  return extents;
}
