// The kfuncs of arenas as programs, and kernel code on their behalf, call them: the checks of their arguments, and then
// the function of arena-alloc or arena-free. The verifier swaps in the _non_sleepable variant by program context.
import { type Activity, ERRNO } from '../mm/context.ts';
import { BPF_MAP_TYPE_ARENA, type BpfArena } from './arena.ts';
import { arenaAllocPages, arenaReservePages } from './arena-alloc.ts';
import { arenaFreePages } from './arena-free.ts';

/** A map of any type: only an arena has the rest. */
export interface BpfMap {
  readonly mapType: number;
}

const isArena = (map: BpfMap): map is BpfArena => map.mapType === BPF_MAP_TYPE_ARENA;

/**
 * bpf_arena_alloc_pages(), also bpf_arena_alloc_pages_sleepable() of mainline's kernel callers.
 * @param addr wanted user address or 0. @param pageCnt a u32. @param nodeId -1 for any
 * @returns user address, or 0 (NULL)
 * @kernel bpf_arena_alloc_pages, bpf_arena_alloc_pages_sleepable kernel/bpf/arena.c read - the _sleepable name is
 *   mainline's
 */
export function* bpfArenaAllocPages(
  map: BpfMap,
  addr: bigint,
  pageCnt: number,
  nodeId = -1,
  flags = 0n,
  sleepable = true,
): Activity<bigint> {
  if (!isArena(map)) return 0n;
  const { compiled } = map.bpf;
  const own = sleepable ? compiled?.bpfArenaAllocPages : compiled?.bpfArenaAllocPagesNonSleepable;
  if (own) return yield* own(map, addr, pageCnt, nodeId, flags);
  if (flags || !pageCnt) return 0n;
  return yield* arenaAllocPages(map, addr, pageCnt, nodeId, sleepable);
}

/** {@link bpfArenaAllocPages} by the name under which mainline's kernel callers have it. */
export function* bpfArenaAllocPagesSleepable(
  map: BpfMap,
  addr: bigint,
  pageCnt: number,
): Activity<bigint> {
  const own = isArena(map) ? map.bpf.compiled?.bpfArenaAllocPagesSleepable : undefined;
  if (own) return yield* own(map as BpfArena, addr, pageCnt, -1, 0n);
  return yield* bpfArenaAllocPages(map, addr, pageCnt);
}

/** @kernel bpf_arena_alloc_pages_non_sleepable kernel/bpf/arena.c read */
export const bpfArenaAllocPagesNonSleepable = (
  map: BpfMap,
  addr: bigint,
  pageCnt: number,
  nodeId = -1,
  flags = 0n,
): Activity<bigint> => bpfArenaAllocPages(map, addr, pageCnt, nodeId, flags, false);

/**
 * bpf_arena_free_pages(). The whole 64-bit pointer is tested for NULL. @param pageCnt a u32
 * @kernel bpf_arena_free_pages kernel/bpf/arena.c read
 */
export function* bpfArenaFreePages(
  map: BpfMap,
  ptr: bigint,
  pageCnt: number,
  sleepable = true,
): Activity<void> {
  if (!isArena(map)) return;
  const { compiled } = map.bpf;
  const own = sleepable ? compiled?.bpfArenaFreePages : compiled?.bpfArenaFreePagesNonSleepable;
  if (own) yield* own(map, ptr, pageCnt);
  else if (pageCnt && ptr) yield* arenaFreePages(map, ptr, pageCnt, sleepable);
}

/** @kernel bpf_arena_free_pages_non_sleepable kernel/bpf/arena.c read */
export const bpfArenaFreePagesNonSleepable = (
  map: BpfMap,
  ptr: bigint,
  pageCnt: number,
): Activity<void> => bpfArenaFreePages(map, ptr, pageCnt, false);

/**
 * bpf_arena_reserve_pages(). @param pageCnt a u32. @returns 0 or a negative errno
 * @kernel bpf_arena_reserve_pages kernel/bpf/arena.c read
 */
export function* bpfArenaReservePages(map: BpfMap, ptr: bigint, pageCnt: number): Activity<number> {
  if (!isArena(map)) return ERRNO.EINVAL;
  const own = map.bpf.compiled?.bpfArenaReservePages;
  if (own) return yield* own(map, ptr, pageCnt);
  if (!pageCnt) return 0;
  return yield* arenaReservePages(map, ptr, pageCnt);
}
