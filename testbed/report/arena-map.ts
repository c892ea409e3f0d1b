// The pages of an arena as they are at the end of a run, page by page: what its entries say, what was freed, and where faults
// hit. A map of a million pages is told in rows like a hexdump, of which those that repeat are told once.
import { guardSize } from '../../bpf/arena.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex, lo32, u64 } from '../../emulator/bits.ts';
import type { ArenaPlace } from '../places.ts';
import type { WorldRun } from '../run.ts';
import { pteKindOf } from '../steps.ts';
import type { FreedPages } from './freed-pages.ts';
import {
  type ArenaMap,
  type CellRun,
  cut,
  type Extent,
  type MapRow,
  type PageState,
} from './model.ts';
import type { FaultTally } from './tally.ts';

const STATES: readonly PageState[] = ['none', 'scratch', 'allocated', 'freed', 'other'];
const FREED = STATES.indexOf('freed');
const KIND_STATES = { none: 0, scratch: 1, page: 2, other: 4 } as const;

export const CELLS = 64;
/** Rows of a map, beyond which a cell stands for more pages. */
const MOST_ROWS = 96;
const COARSER = 8;
const MOST_EXTENTS = 64;
const SZ_4G = 2 ** 32;

/** States of all pages, from the lower guard to the upper one, and the faults in them. */
interface Pages {
  readonly states: Uint8Array;
  readonly faults: ReadonlyMap<number, number>;
  readonly band: number;
  readonly guard: number;
}

export function arenaMap(
  run: WorldRun,
  place: ArenaPlace,
  freed: FreedPages,
  tally: FaultTally,
): ArenaMap {
  const { pageSize, kbase, userVmStart, name } = place;
  const arena = run.kernel.arenas.get(name);
  const band = SZ_4G / pageSize;
  const guard = guardSize(pageSize) / 2 / pageSize;
  const states = new Uint8Array(guard + band + guard);
  for (const page of freed.of(name)) states[guard + page] = FREED;
  if (arena !== undefined) readStates(run, place, guard, states);
  const pages = { states, faults: tally.pagesOf(name), band, guard };
  const { rows, pagesPerCell } = mapRows(pages);
  return {
    name,
    kernVmStart: kbase,
    userVmStart,
    pageSize,
    pages: run.world.arenas.find((one) => one.name === name)?.pages ?? 0,
    band,
    guard,
    firstSlot: lo32(userVmStart) / pageSize,
    scratchPfn: arena === undefined ? '' : hex(arena.scratchPage),
    destroyed: arena === undefined,
    counts: countsOf(pages),
    pagesPerCell,
    rows: cut(rows, MOST_ROWS),
    extents: cut(extentsOf(pages), MOST_EXTENTS),
  };
}

function readStates(run: WorldRun, place: ArenaPlace, guard: number, states: Uint8Array): void {
  const { kernel } = run;
  const { mm, ram } = kernel;
  const arena = kernel.arenas.get(place.name)!;
  const size = BigInt(place.pageSize);
  const start = place.kbase - BigInt(guard) * size;
  for (let i = 0; i < states.length; ) {
    const va = virtAddr(u64(start + BigInt(i) * size)) as VirtAddr;
    const index = Number((va / size) % BigInt(mm.ptrsPerPte));
    const run = Math.min(mm.ptrsPerPte - index, states.length - i);
    const ptep = mm.ptepOffset(va);
    if (ptep !== null && !mm.allZero(ptep, run * 8)) {
      for (let j = 0; j < run; j++) {
        const entry = ram.read64(ptep + j * 8);
        if (entry !== 0n) states[i + j] = KIND_STATES[pteKindOf(kernel, arena, entry)];
      }
    }
    i += run;
  }
}

function countsOf({ states }: Pages): Record<PageState, number> {
  const counts = new Array<number>(STATES.length).fill(0);
  for (const state of states) counts[state]++;
  return Object.fromEntries(STATES.map((name, i) => [name, counts[i]])) as Record<
    PageState,
    number
  >;
}

/** Rows of one guard, of the band, and of the other guard; those that look like the one before are told by their number. */
function mapRows(pages: Pages): { rows: MapRow[]; pagesPerCell: number } {
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
function extentsOf({ states, faults, guard }: Pages): Extent[] {
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
