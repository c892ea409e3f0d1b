// Functions of kernel/bpf/arena.c that compiled code does in the model's place: what the model asks of whoever runs it.
// Those that are absent the model does itself.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { applyToExistingPageRange, applyToPageRange } from '../mm/apply-range.ts';
import type { Activity } from '../mm/context.ts';
import type { Ptep } from '../mm/pte.ts';
import type { BpfArena } from './arena.ts';
import type { arenaAllocPages, arenaReservePages, bpfMapAllocPages } from './arena-alloc.ts';
import type { arenaFreePages } from './arena-free.ts';
import type { arenaVmFault } from './arena-mmap.ts';
import type { ApplyRangeData } from './arena-pte.ts';
import type { CompiledMaps } from './compiled-maps.ts';
import type { CompiledStreams } from './compiled-streams.ts';
import type { CompiledSymbols } from './compiled-symbols.ts';
import type { BpfProg } from './prog.ts';
import type { RangeTree } from './range-tree.ts';

/** A pte_fn_t with its data, for one walk. */
export interface CompiledPteFn {
  /** One call. @returns what the function returned: 0 to go on */
  call(ptep: Ptep, addr: VirtAddr): Activity<number>;
  /** The walk has ended: takes over what the data has come to. */
  end(): void;
  /** The code counts the arena's pages itself. */
  readonly counts: boolean;
}

type CompiledAlloc = (
  arena: BpfArena,
  addr: bigint,
  pageCnt: number,
  nodeId: number,
  flags: bigint,
) => Activity<bigint>;
type CompiledFree = (arena: BpfArena, ptr: bigint, pageCnt: number) => Activity<void>;

/** kernel/bpf/range_tree.c. None of it has a step that another CPU could see. */
export interface CompiledRangeTree {
  rangeTreeInit?(rt: RangeTree): void;
  rangeTreeDestroy?(rt: RangeTree): void;
  rangeTreeFind?(rt: RangeTree, len: number): number;
  rangeTreeSet?(rt: RangeTree, start: number, len: number): number;
  rangeTreeClear?(rt: RangeTree, start: number, len: number): number;
  isRangeTreeSet?(rt: RangeTree, start: number, len: number): number;
  /** @returns the first slot of a node that overlaps [start, last], or null */
  rangeItIterFirst?(rt: RangeTree, start: number, last: number): number | null;
}

export interface CompiledFunctions
  extends CompiledSymbols,
    CompiledMaps,
    CompiledRangeTree,
    CompiledStreams {
  applyRangeSetCb?(arena: BpfArena, data: ApplyRangeData): CompiledPteFn;
  /** @param freePages collected pages are added, the first at the end */
  applyRangeClearCb?(arena: BpfArena, freePages: Pfn[]): CompiledPteFn;
  applyRangeSetScratchCb?(arena: BpfArena): CompiledPteFn;
  existingPageCb?(arena: BpfArena): CompiledPteFn;
  bpfArenaHandlePageFault?(addr: VirtAddr, isWrite: boolean, faultIp: VirtAddr): Activity<boolean>;
  bpfProgFindFromStack?(): Activity<BpfProg | null>;
  /** __bpf_prog_report_arena_violation() @param offset in the band */
  reportArenaViolation?(
    prog: BpfProg,
    isWrite: boolean,
    offset: bigint,
    faultIp: VirtAddr,
  ): Activity<void>;
  arenaAllocPages?: typeof arenaAllocPages;
  bpfMapAllocPages?: typeof bpfMapAllocPages;
  arenaFreePages?: typeof arenaFreePages;
  arenaReservePages?: typeof arenaReservePages;
  arenaVmFault?: typeof arenaVmFault;
  bpfArenaAllocPages?: CompiledAlloc;
  bpfArenaAllocPagesNonSleepable?: CompiledAlloc;
  bpfArenaAllocPagesSleepable?: CompiledAlloc;
  bpfArenaFreePages?: CompiledFree;
  bpfArenaFreePagesNonSleepable?: CompiledFree;
  bpfArenaReservePages?(arena: BpfArena, ptr: bigint, pageCnt: number): Activity<number>;
  bpfProgReportArenaViolation?(isWrite: boolean, addr: bigint, faultIp: VirtAddr): Activity<void>;
}

/**
 * Walks as apply_to_page_range() with a compiled callback; with `create` false as apply_to_existing_page_range().
 * @returns 0, what the callback returned, -EINVAL or -ENOMEM
 */
export function* applyCompiled(
  arena: BpfArena,
  start: VirtAddr,
  size: number,
  create: boolean,
  fn: CompiledPteFn,
): Activity<number> {
  const apply = create ? applyToPageRange : applyToExistingPageRange;
  const result = yield* apply(arena.bpf.mm, start, size, ({ ptep, addr }) => fn.call(ptep, addr));
  fn.end();
  return result;
}
