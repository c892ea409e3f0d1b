// arena_alloc_pages() and arena_reserve_pages() of kernel/bpf/arena.c.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { lo32, u64 } from '../emulator/bits.ts';
import { type Activity, ERRNO } from '../mm/context.ts';
import { type BpfArena, bpfMapAllocPage } from './arena.ts';
import { arenaFreePages } from './arena-free.ts';
import { type ApplyRangeData, applyRangeSet } from './arena-pte.ts';
import { rawResSpinLock, unlock } from './rqspinlock.ts';

/** "Any node"; the model has node 0. */
const NUMA_NO_NODE = -1;
const NR_NODE_IDS = 1;

/** KMALLOC_MAX_CACHE_SIZE / sizeof(struct page *): pages of one batch, since kmalloc_nolock() gives no more. */
export const batchSize = (pageSize: number): number => (2 * pageSize) / 8;

/**
 * arena_alloc_pages(): allocates pages and maps them into the kernel's range. User mappings get them by fault.
 * @param uaddr wanted user address, of which the low 32 bits count, or 0 for the best fit
 * @param pageCnt a u32, at least 1. @param sleepable false defers the frees of a roll-back
 * @returns user address of the first page, or 0 with everything given back
 * @kernel arena_alloc_pages kernel/bpf/arena.c read
 */
export function* arenaAllocPages(
  arena: BpfArena,
  uaddr: bigint,
  pageCnt: number,
  nodeId: number,
  sleepable: boolean,
): Activity<bigint> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.arenaAllocPages) {
    return yield* compiled.arenaAllocPages(arena, uaddr, pageCnt, nodeId, sleepable);
  }
  const { pageSize } = kernel.config;
  const pageCntMax = arena.pageCntMax;
  if (nodeId !== NUMA_NO_NODE && nodeId >>> 0 >= NR_NODE_IDS) return 0n;
  if (pageCnt > pageCntMax) return 0n;
  let pgoff = 0;
  if (uaddr) {
    if (uaddr % BigInt(pageSize)) return 0n;
    pgoff = arena.pgoff(lo32(uaddr));
    // The request would reach outside of the user mapping.
    if (pgoff > pageCntMax - pageCnt) return 0n;
  }

  arena.memcgEnter();
  if (kernel.failure('pages_array') || (yield* rawResSpinLock(kernel, arena.spinlock))) {
    arena.memcgExit();
    return 0n;
  }
  pgoff = takeSlots(arena, uaddr ? pgoff : -1, pageCnt);
  if (pgoff < 0) {
    if (kernel.stepping) yield { kind: 'lock', what: 'release arena->spinlock' };
    unlock(kernel, arena.spinlock);
    arena.memcgExit();
    return 0n;
  }

  const uaddr32 = lo32(arena.userVmStart + BigInt(pgoff) * BigInt(pageSize));
  const mapped = yield* mapPages(arena, uaddr32, pageCnt);
  if (mapped < pageCnt) arena.rt.set(pgoff + mapped, pageCnt - mapped);
  if (kernel.stepping) yield { kind: 'lock', what: 'release arena->spinlock' };
  unlock(kernel, arena.spinlock);
  if (mapped < pageCnt && mapped > 0) {
    yield* arenaFreePages(arena, BigInt(uaddr32), mapped, sleepable);
  }
  arena.memcgExit();
  return mapped < pageCnt ? 0n : arena.fullUaddr(uaddr32);
}

/** Takes slots out of the free tree: those from `pgoff` on, or the best fit for -1. @returns the first, or an errno */
function takeSlots(arena: BpfArena, pgoff: number, pageCnt: number): number {
  const { rt } = arena;
  const first = pgoff < 0 ? rt.find(pageCnt) : rt.isSet(pgoff, pageCnt) || pgoff;
  if (first < 0) return first;
  // A node that could not be split is not put back: the slots are lost rather than given out twice.
  return rt.clear(first, pageCnt) || first;
}

/** Allocates and maps in batches, under the spinlock. @returns pages mapped; fewer than asked means failure */
function* mapPages(arena: BpfArena, uaddr32: number, pageCnt: number): Activity<number> {
  const { kernel, pages } = arena.bpf;
  const { pageSize } = kernel.config;
  let mapped = 0;
  while (mapped < pageCnt) {
    const data: ApplyRangeData = { pages: [], i: 0 };
    const batch = Math.min(pageCnt - mapped, batchSize(pageSize));
    const taken = yield* bpfMapAllocPages(arena, batch);
    if (!taken) return mapped;
    const start = u64(arena.kaddr(uaddr32) + BigInt(mapped) * BigInt(pageSize)) as VirtAddr;
    const err = yield* applyRangeSet(
      arena,
      start,
      batch * pageSize,
      Object.assign(data, { pages: taken }),
    );
    mapped += data.i;
    if (err) {
      for (const pfn of taken.slice(data.i)) {
        if (kernel.stepping) yield { kind: 'page', what: 'free a page that was not mapped' };
        pages.freePage(pfn);
      }
      return mapped;
    }
  }
  return mapped;
}

/**
 * bpf_map_alloc_pages(): one page at a time, all or none.
 * @kernel bpf_map_alloc_pages kernel/bpf/syscall.c read
 */
export function* bpfMapAllocPages(arena: BpfArena, count: number): Activity<Pfn[] | null> {
  const { compiled, kernel, pages } = arena.bpf;
  if (compiled?.bpfMapAllocPages) return yield* compiled.bpfMapAllocPages(arena, count);
  const taken: Pfn[] = [];
  while (taken.length < count) {
    if (kernel.stepping) yield { kind: 'page', what: 'allocate a page' };
    const pfn = bpfMapAllocPage(arena, arena.dataPages);
    if (pfn < 0) {
      for (const earlier of taken) pages.freePage(earlier);
      return null;
    }
    taken.push(pfn as Pfn);
  }
  return taken;
}

/**
 * arena_reserve_pages(): takes slots out of the free tree without pages, so that nothing is allocated there.
 * @returns 0 (also, doing nothing, for an unaligned address), -EINVAL outside of the user mapping, -EBUSY if a slot is
 *   not free or the lock failed, -ENOMEM
 * @kernel arena_reserve_pages kernel/bpf/arena.c read
 */
export function* arenaReservePages(
  arena: BpfArena,
  uaddr: bigint,
  pageCnt: number,
): Activity<number> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.arenaReservePages) return yield* compiled.arenaReservePages(arena, uaddr, pageCnt);
  if (uaddr % BigInt(kernel.config.pageSize)) return 0;
  const pgoff = arena.pgoff(lo32(uaddr));
  if (pgoff + pageCnt > arena.pageCntMax) return ERRNO.EINVAL;
  if (yield* rawResSpinLock(kernel, arena.spinlock)) return ERRNO.EBUSY;
  let ret: number = ERRNO.EBUSY;
  if (arena.rt.isSet(pgoff, pageCnt) === 0) {
    arena.memcgEnter();
    ret = arena.rt.clear(pgoff, pageCnt);
    arena.memcgExit();
  }
  if (kernel.stepping) yield { kind: 'lock', what: 'release arena->spinlock' };
  unlock(kernel, arena.spinlock);
  return ret;
}
