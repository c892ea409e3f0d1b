// arena_free_pages(), its worker for contexts that may not sleep, and zap_pages() of kernel/bpf/arena.c. The order is
// the point: slots free, PTEs cleared, lock released, TLBs flushed, user mappings zapped, pages given back.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hex, lo32, u64 } from '../emulator/bits.ts';
import { type Activity, CHANGED, LOOKED } from '../mm/context.ts';
import { flushTlbKernelRangeSteps } from '../mm/tlb-control.ts';
import type { ArenaFreeSpan, BpfArena, VmaListEntry } from './arena.ts';
import { applyRangeClear } from './arena-pte.ts';
import { mutexLock, rawResSpinLock, unlock } from './rqspinlock.ts';
import { zapVmaRange } from './user-mm.ts';

/**
 * arena_free_pages(): frees what is mapped in the range; slots without a page become free as well. The range is cut at
 * user_vm_end but not at user_vm_start: below it, slot numbers wrap and enter the tree all the same.
 * @param uaddr of which the low 32 bits count. @param sleepable false defers everything to the worker
 * @kernel arena_free_pages kernel/bpf/arena.c read
 */
export function* arenaFreePages(
  arena: BpfArena,
  uaddr: bigint,
  pageCnt: number,
  sleepable: boolean,
): Activity<void> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.arenaFreePages) {
    yield* compiled.arenaFreePages(arena, uaddr, pageCnt, sleepable);
    return;
  }
  const { pageSize } = kernel.config;
  const low = lo32(uaddr);
  const offset = low - (low % pageSize);
  const full = arena.fullUaddr(offset);
  const wantedEnd = full + BigInt(pageCnt) * BigInt(pageSize);
  const end = wantedEnd < arena.userVmEnd ? wantedEnd : arena.userVmEnd;
  if (full >= end) return;
  const span = { uaddr: offset, pageCnt: Number(end - full) / pageSize };

  arena.memcgEnter();
  const locks = kernel.replaced('arena_free_pages/lock') !== 'skip';
  if (!sleepable || (locks && (yield* rawResSpinLock(kernel, arena.spinlock)))) {
    yield* defer(arena, span);
    return;
  }
  arena.rt.set(arena.pgoff(offset), span.pageCnt);
  const freePages: Pfn[] = [];
  yield* applyRangeClear(arena, arena.kaddr(offset), span.pageCnt * pageSize, freePages);
  if (locks) {
    if (kernel.stepping) yield { kind: 'lock', what: 'release arena->spinlock' };
    unlock(kernel, arena.spinlock);
  }

  // llist_add() pushes to the front, so the last page of the range goes first.
  freePages.reverse();
  const freesFirst = kernel.replaced('arena_free_pages/free_page') === 'before_flush';
  if (freesFirst) yield* freeCollected(arena, span, full, freePages);
  if (kernel.replaced('arena_free_pages/flush_tlb_kernel_range') !== 'skip') {
    yield* flushSpan(arena, span);
  }
  if (span.pageCnt > 1) yield* zapPages(arena, full, span.pageCnt);
  if (!freesFirst) yield* freeCollected(arena, span, full, freePages);
  arena.memcgExit();
}

function* freeCollected(
  arena: BpfArena,
  span: ArenaFreeSpan,
  full: bigint,
  freePages: readonly Pfn[],
): Activity<void> {
  const { kernel, pages } = arena.bpf;
  for (const pfn of freePages) {
    // One page is rarely mapped by user space, and zapping is slow.
    if (span.pageCnt === 1 && maybeUserMapped(arena, pfn)) yield* zapPages(arena, full, 1);
    if (kernel.stepping) yield { kind: 'page', what: `free page ${hex(pfn)}` };
    pages.freePage(pfn);
  }
}

/** Without memory for a span the pages stay, mapped and not free, until the arena dies. */
function* defer(arena: BpfArena, span: ArenaFreeSpan): Activity<void> {
  const { kernel } = arena.bpf;
  const failed = kernel.failure('span');
  arena.memcgExit();
  if (!failed) yield* queueSpan(arena, span);
}

/** Leaves a span to the worker, and has that run. */
export function* queueSpan(arena: BpfArena, span: ArenaFreeSpan): Activity<void> {
  const { kernel } = arena.bpf;
  if (kernel.stepping) yield { kind: 'call', what: 'queue the span and free_irq' };
  kernel.access?.object(arena.deferred, LOOKED | CHANGED);
  arena.freeSpans.unshift(span);
  yield* runFreeIrq(arena);
}

/**
 * irq_work_queue(&arena->free_irq): its handler runs at once, and schedules free_work.
 * @kernel arena_free_irq kernel/bpf/arena.c read
 */
export function* runFreeIrq(arena: BpfArena): Activity<void> {
  const { compiled } = arena.bpf;
  if (compiled?.arenaFreeIrq) yield* compiled.arenaFreeIrq(arena);
  else arena.freeWorkQueued = true;
}

function* flushSpan(arena: BpfArena, span: ArenaFreeSpan): Activity<void> {
  const { kernel, tlb } = arena.bpf;
  const start = arena.kaddr(span.uaddr);
  const size = BigInt(span.pageCnt * kernel.config.pageSize);
  yield* flushTlbKernelRangeSteps(kernel, tlb, start, u64(start + size) as VirtAddr);
}

/**
 * As posted the test was page_mapped(), now it is a reference beyond the arena's own.
 * @kernel arena_free_pages kernel/bpf/arena.c read - zap of a single page: v2 asks page_mapped(), mainline
 *   page_ref_count() > 1
 */
function maybeUserMapped(arena: BpfArena, pfn: Pfn): boolean {
  const { kernel, pages } = arena.bpf;
  return kernel.config.series === 'v2' ? pages.pageMapped(pfn) : pages.pageRefCount(pfn) > 1;
}

/**
 * arena_free_worker(): does what frees in contexts that may not sleep left over. Without the lock it queues itself.
 * @kernel arena_free_worker kernel/bpf/arena.c read
 */
export function* arenaFreeWorker(arena: BpfArena): Activity<void> {
  const { compiled, kernel, pages } = arena.bpf;
  kernel.access?.object(arena.deferred, LOOKED | CHANGED);
  arena.freeWorkQueued = false;
  if (compiled?.arenaFreeWorker) {
    yield* compiled.arenaFreeWorker(arena);
    return;
  }
  const locks = kernel.replaced('arena_free_worker/lock') !== 'skip';
  if (locks && (yield* rawResSpinLock(kernel, arena.spinlock))) {
    kernel.access?.object(arena.deferred, LOOKED | CHANGED);
    arena.freeWorkQueued = true;
    return;
  }
  arena.memcgEnter();
  kernel.access?.object(arena.deferred, LOOKED | CHANGED);
  const spans = arena.freeSpans;
  arena.freeSpans = [];
  const freePages: Pfn[] = [];
  for (const { uaddr, pageCnt } of spans) {
    const size = pageCnt * kernel.config.pageSize;
    yield* applyRangeClear(arena, arena.kaddr(uaddr), size, freePages);
    arena.rt.set(arena.pgoff(uaddr), pageCnt);
  }
  if (locks) {
    if (kernel.stepping) yield { kind: 'lock', what: 'release arena->spinlock' };
    unlock(kernel, arena.spinlock);
  }

  for (const span of spans) {
    if (kernel.replaced('arena_free_worker/flush_tlb_kernel_range') !== 'skip') {
      yield* flushSpan(arena, span);
    }
    yield* zapPages(arena, arena.fullUaddr(span.uaddr), span.pageCnt);
  }
  for (const pfn of freePages.reverse()) {
    if (kernel.stepping) yield { kind: 'page', what: `free page ${hex(pfn)}` };
    pages.freePage(pfn);
  }
  arena.memcgExit();
}

/**
 * irq_work_sync(&free_irq), flush_work(&free_work): runs the worker if it is queued, once.
 * @kernel irq_work_sync kernel/irq_work.c read - for the arena's own work
 * @kernel flush_work kernel/workqueue.c read - for the arena's own work
 */
export function* flushFreeWork(arena: BpfArena): Activity<void> {
  const { kernel } = arena.bpf;
  if (kernel.stepping) yield { kind: 'call', what: 'run free_work if it is queued' };
  kernel.access?.object(arena.deferred, LOOKED);
  if (arena.freeWorkQueued) yield* arenaFreeWorker(arena);
}

/**
 * zap_pages(): takes the pages out of every live user mapping.
 * @kernel zap_pages kernel/bpf/arena.c read - v2: all mappings under arena->lock; mainline: by generation
 */
export function zapPages(arena: BpfArena, uaddr: bigint, pageCnt: number): Activity<void> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.zapPages) return compiled.zapPages(arena, uaddr, pageCnt);
  const zap = kernel.config.series === 'v2' ? zapUnderLock : zapByGeneration;
  return zap(arena, uaddr, pageCnt);
}

function* zapUnderLock(arena: BpfArena, uaddr: bigint, pageCnt: number): Activity<void> {
  const { kernel, pages } = arena.bpf;
  yield* mutexLock(kernel, arena.lock);
  kernel.access?.object(arena.mappings, LOOKED);
  for (const { vma } of arena.vmaList) {
    if (kernel.stepping) yield { kind: 'pte', what: `zap user pages from ${hex(uaddr)}` };
    zapVmaRange(kernel, pages, vma, uaddr, pageCnt);
  }
  unlock(kernel, arena.lock);
}

/**
 * arena->lock is dropped for mmap_read_lock(), which arena_vm_close() holds around it the other way; generations
 * remember which mappings this call has done, and zap_mutex keeps the marks of two calls apart.
 */
function* zapByGeneration(arena: BpfArena, uaddr: bigint, pageCnt: number): Activity<void> {
  const { kernel, pages } = arena.bpf;
  yield* mutexLock(kernel, arena.zapMutex);
  yield* mutexLock(kernel, arena.lock);
  kernel.access?.object(arena.mappings, LOOKED | CHANGED);
  const myGen = ++arena.zapGen;
  for (let vml = nextToZap(arena, myGen); vml; vml = nextToZap(arena, myGen)) {
    const { mm, start } = vml.vma;
    unlock(kernel, arena.lock);
    yield* mutexLock(kernel, mm.mmapLock);
    kernel.access?.object(mm, LOOKED);
    // While the lock was dropped the mapping may have gone, and another come in its place.
    const vma = mm.findVma(start);
    if (vma?.start === start && vma.arena === arena) {
      if (kernel.stepping) yield { kind: 'pte', what: `zap user pages from ${hex(uaddr)}` };
      zapVmaRange(kernel, pages, vma, uaddr, pageCnt);
    }
    unlock(kernel, mm.mmapLock);
    yield* mutexLock(kernel, arena.lock);
    kernel.access?.object(arena.mappings, LOOKED | CHANGED);
  }
  // Both are given back in one step: nothing lies between them.
  if (kernel.stepping) yield { kind: 'lock', what: 'release arena->lock and zap_mutex' };
  unlock(kernel, arena.lock);
  unlock(kernel, arena.zapMutex);
}

/** The first mapping of a living mm that is not marked with `gen`; marks it and the dead ones before it. */
function nextToZap(arena: BpfArena, gen: number): VmaListEntry | null {
  for (const vml of arena.vmaList) {
    if (vml.zapGen >= gen) continue;
    vml.zapGen = gen;
    if (vml.vma.mm.alive) return vml;
  }
  return null;
}
