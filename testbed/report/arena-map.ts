// The pages of an arena as they are at the end of a run, page by page: what its entries say, what was freed, and where faults
// hit.
import { guardSize } from '../../bpf/arena.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex, lo32, u64 } from '../../emulator/bits.ts';
import type { ArenaPlace } from '../places.ts';
import type { WorldRun } from '../run.ts';
import { pteKindOf } from '../steps.ts';
import type { FreedPages } from './freed-pages.ts';
import { extentsOf, mapRows, type Pages, STATES } from './map-rows.ts';
import { type ArenaMap, cut, type PageState } from './model.ts';
import type { FaultTally } from './tally.ts';

const FREED = STATES.indexOf('freed');
const KIND_STATES = { none: 0, scratch: 1, page: 2, other: 4 } as const;

const MOST_EXTENTS = 40;
const SZ_4G = 2 ** 32;

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
    rows,
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
