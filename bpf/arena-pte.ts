// The page-table callbacks of kernel/bpf/arena.c, each with the walk that calls it, so that every PTE operation is a
// step of its own. None of them flushes a TLB except where break-before-make asks for it. The patch adds the scratch
// page: set (mainline) replaces it, clear and existing skip it, and the set_scratch callback installs it.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { applyToExistingPageRange, applyToPageRange } from '../mm/apply-range.ts';
import { type Activity, ERRNO, finish, KernelStuck } from '../mm/context.ts';
import {
  emitPteBarriers,
  type Ptep,
  ptepGet,
  ptepGetAndClear,
  ptepTrySet,
  setPteAt,
} from '../mm/pte.ts';
import { ptepGetAndClearStep, ptepTrySetStep, setPteAtStep } from '../mm/pte-steps.ts';
import { flushTlbBeforeSet } from '../mm/tlb-control.ts';
import { warnOnce } from '../mm/warn.ts';
import { type BpfArena, recoverySize } from './arena.ts';
import { applyCompiled } from './compiled.ts';

/** struct apply_range_data: pages to map, and how many are. */
export interface ApplyRangeData {
  readonly pages: readonly Pfn[];
  i: number;
}

/** Rounds after which a loop that no other CPU can end counts as endless. */
const ENDLESS = 64;

/**
 * populate_pgtable_except_pte(): tables for the recovery range; every PTE stays none. @returns 0, -EINVAL, -ENOMEM
 * @kernel populate_pgtable_except_pte kernel/bpf/arena.c read
 */
export function populatePgtableExceptPte(arena: BpfArena): number {
  const { compiled, mm, kernel } = arena.bpf;
  if (compiled?.populatePgtableExceptPte) return finish(compiled.populatePgtableExceptPte(arena));
  return (
    kernel.failure('populate') ||
    mm.populate(arena.kernVmStart, recoverySize(kernel.config.pageSize))
  );
}

/**
 * apply_to_page_range(start, size, apply_range_set_cb, data): maps data.pages from data.i on.
 * @returns 0, or the error at which it stopped with data.i pages mapped
 * @kernel apply_range_set_cb kernel/bpf/arena.c read - v2: -EBUSY over any entry; mainline: replaces the scratch page
 */
export function* applyRangeSet(
  arena: BpfArena,
  start: VirtAddr,
  size: number,
  data: ApplyRangeData,
): Activity<number> {
  const { compiled, kernel, mm, pages } = arena.bpf;
  if (compiled?.applyRangeSetCb) {
    const before = data.i;
    const fn = compiled.applyRangeSetCb(arena, data);
    const err = yield* applyCompiled(arena, start, size, true, fn);
    if (!fn.counts) arena.nrPages += data.i - before;
    return err;
  }
  const mainline =
    kernel.config.series === 'mainline' &&
    mm.format.hasPtepTrySet &&
    kernel.replaced('apply_range_set_cb/ptep_try_set') !== 'set_pte_at';
  const set = mainline ? setOverScratch : setIfNone;
  const { compiled: accessors, stepping, tables } = kernel;
  const inSteps = stepping || accessors !== null || tables !== null || !mainline;
  const err = yield* applyToPageRange(mm, start, size, ({ addr, ptep }) => {
    const pfn = data.pages[data.i];
    if (!pages.pfnValid(pfn)) {
      warnOnce(kernel, 'apply_range_set_cb', 'pfn is not valid');
      return ERRNO.EINVAL;
    }
    const pte = mm.format.mkPte(pfn, 'PAGE_KERNEL');
    if (inSteps || !ptepTrySet(kernel, mm.ram, mm.format, addr, ptep, pte)) {
      return counted(arena, data, set(arena, addr, ptep, pte));
    }
    data.i++;
    arena.nrPages++;
    return 0;
  });
  // Lazy MMU mode puts off those of set_pte_at() to here, and none of ptep_try_set().
  if (!mainline && data.i > 0) yield* emitPteBarriers(kernel);
  return err;
}

/** Counts a page that could be set. */
function* counted(
  arena: BpfArena,
  data: ApplyRangeData,
  setting: Activity<number>,
): Activity<number> {
  const err = yield* setting;
  if (err) return err;
  data.i++;
  arena.nrPages++;
  return 0;
}

/** The callback as posted: the entry must be none, and a scratched one is not. */
function* setIfNone(arena: BpfArena, addr: VirtAddr, ptep: Ptep, pte: bigint): Activity<number> {
  const { kernel, mm } = arena.bpf;
  if (kernel.stepping) yield { kind: 'pte', what: `ptep_get ${hex(addr)}` };
  const blind = kernel.replaced('apply_range_set_cb/pte_none') === 'always';
  if (!mm.format.pteNone(ptepGet(kernel, mm.ram, ptep)) && !blind) return ERRNO.EBUSY;
  // The patch's handler takes no lock: here it can install scratch, which the store below then overwrites.
  yield* setPteAtStep(mm, addr, ptep, pte);
  return 0;
}

/** The callback after "bpf: Replace scratch PTE atomically when allocating arena pages". */
function* setOverScratch(
  arena: BpfArena,
  addr: VirtAddr,
  ptep: Ptep,
  pte: bigint,
): Activity<number> {
  const { kernel, mm, tlb } = arena.bpf;
  for (let round = 0; ; round++) {
    if (yield* ptepTrySetStep(mm, addr, ptep, pte)) {
      yield* emitPteBarriers(kernel);
      return 0;
    }
    if (kernel.stepping) yield { kind: 'pte', what: `ptep_get ${hex(addr)}` };
    const old = ptepGet(kernel, mm.ram, ptep);
    if (mm.format.pteNone(old)) {
      if (round > ENDLESS && !kernel.stepping) {
        throw new KernelStuck(`apply_range_set_cb spins on entry ${hex(old)} of ${hex(addr)}`);
      }
      continue;
    }
    if (mm.format.ptePfn(old) !== arena.scratchPage) {
      warnOnce(kernel, 'apply_range_set_cb', 'a page in a free slot');
      return ERRNO.EBUSY;
    }
    if (kernel.replaced('apply_range_set_cb/ptep_get_and_clear') === 'set_pte_at') {
      yield { kind: 'pte', what: `set_pte_at ${hex(addr)}` };
      setPteAt(kernel, mm.ram, addr, ptep, pte);
      return 0;
    }
    yield* ptepGetAndClearStep(mm, addr, ptep);
    // arm64 forbids valid -> valid: the entry is broken and its translation gone before the new one is made.
    if (kernel.replaced('apply_range_set_cb/flush_tlb_before_set') === 'skip') continue;
    yield* flushTlbBeforeSet(kernel, tlb, addr);
  }
}

/**
 * apply_to_existing_page_range(start, size, apply_range_clear_cb, &free_pages): zeroes PTEs and collects their pages,
 * the first at the end as llist_add() leaves them. The scratch page is not collected.
 * @kernel apply_range_clear_cb kernel/bpf/arena.c read
 */
export function* applyRangeClear(
  arena: BpfArena,
  start: VirtAddr,
  size: number,
  freePages: Pfn[],
): Activity<void> {
  const { compiled, kernel, mm } = arena.bpf;
  if (compiled?.applyRangeClearCb) {
    const before = freePages.length;
    const fn = compiled.applyRangeClearCb(arena, freePages);
    yield* applyCompiled(arena, start, size, false, fn);
    if (!fn.counts) arena.nrPages -= freePages.length - before;
    return;
  }
  const inSteps = kernel.stepping || kernel.compiled !== null || kernel.replacements !== null;
  yield* applyToExistingPageRange(mm, start, size, ({ addr, ptep }) => {
    if (inSteps) return clearInSteps(arena, addr, ptep, freePages);
    return collect(arena, ptepGetAndClear(kernel, mm.ram, addr, ptep), freePages);
  });
}

function* clearInSteps(
  arena: BpfArena,
  addr: VirtAddr,
  ptep: Ptep,
  freePages: Pfn[],
): Activity<number> {
  const { kernel, mm } = arena.bpf;
  // Pairs with ptep_try_set() of the fault handler: neither may lose what the other wrote.
  if (kernel.replaced('apply_range_clear_cb/ptep_get_and_clear') !== 'ptep_get_then_clear') {
    return collect(arena, yield* ptepGetAndClearStep(mm, addr, ptep), freePages);
  }
  if (kernel.stepping) yield { kind: 'pte', what: `ptep_get_and_clear ${hex(addr)}` };
  const old = ptepGet(kernel, mm.ram, ptep);
  yield { kind: 'pte', what: `pte_clear ${hex(addr)}` };
  ptepGetAndClear(kernel, mm.ram, addr, ptep);
  return collect(arena, old, freePages);
}

/** Adds the page of an entry that was cleared. @returns 0 */
function collect(arena: BpfArena, old: bigint, freePages: Pfn[]): number {
  const { kernel, mm } = arena.bpf;
  if (mm.format.pteNone(old) || !mm.format.ptePresent(old)) return 0;
  const pfn = mm.format.ptePfn(old);
  const skips = kernel.replaced('apply_range_clear_cb/is_scratch') !== 'never';
  if (pfn === arena.scratchPage && skips) return 0;
  freePages.push(pfn);
  arena.nrPages--;
  return 0;
}

/**
 * apply_to_existing_page_range(recovery range, existing_page_cb): frees every data page that is still mapped. PTEs are
 * left as they are; free_vm_area() clears them.
 * @kernel existing_page_cb kernel/bpf/arena.c read
 */
export function* existingPages(arena: BpfArena): Activity<void> {
  const { compiled, kernel, mm, pages } = arena.bpf;
  const size = recoverySize(kernel.config.pageSize);
  if (compiled?.existingPageCb) {
    const fn = compiled.existingPageCb(arena);
    yield* applyCompiled(arena, arena.kernVmStart, size, false, fn);
    return;
  }
  yield* applyToExistingPageRange(mm, arena.kernVmStart, size, (entry) => {
    const pte = ptepGet(kernel, mm.ram, entry.ptep);
    if (!mm.format.ptePresent(pte)) return 0;
    const pfn = mm.format.ptePfn(pte);
    const skips = kernel.replaced('existing_page_cb/is_scratch') !== 'never';
    if (pfn === arena.scratchPage && skips) return 0;
    if (kernel.stepping) return freeInSteps(arena, entry.addr, pfn);
    pages.freePage(pfn);
    return 0;
  });
}

function* freeInSteps(arena: BpfArena, addr: VirtAddr, pfn: Pfn): Activity<number> {
  yield { kind: 'page', what: `free the page at ${hex(addr)}` };
  arena.bpf.pages.freePage(pfn);
  return 0;
}
