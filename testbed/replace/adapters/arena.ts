// kernel/bpf/arena.c in compiled code.
import type { BpfArena } from '../../../bpf/arena.ts';
import type { VmFault } from '../../../bpf/arena-mmap.ts';
import { hex } from '../../../emulator/bits.ts';
import type { Activity, InjectionPoint } from '../../../mm/context.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import type { ARENA_FUNCTIONS } from '../functions/arena.ts';
import { bool, s32 } from '../guest-calls.ts';
import { ClearHand, SetHand } from '../hand.ts';
import { pteFn } from '../pte-fn.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, call } from './adapter.ts';

const at = ({ object }: CompiledFunction, arena: BpfArena): bigint =>
  object.structures.arena(arena);

/** enum vm_fault_reason */
const VM_FAULT: Readonly<Record<number, VmFault>> = { 2: 'SIGBUS', 64: 'SIGSEGV', 1024: 'RETRY' };

export const ARENA_ADAPTERS: Adapters<typeof ARENA_FUNCTIONS> = {
  apply_range_set_cb(compiled, kernel) {
    const hand = new SetHand(kernel, compiled);
    return { applyRangeSetCb: (arena, data) => hand.fn(arena, data) };
  },
  apply_range_clear_cb(compiled, kernel) {
    const hand = new ClearHand(kernel, compiled);
    return { applyRangeClearCb: (arena, freePages) => hand.fn(arena, freePages) };
  },
  apply_range_set_scratch_cb: (compiled) => ({
    applyRangeSetScratchCb: ({ scratchPage }) =>
      pteFn(compiled, compiled.object.structures.page(scratchPage)),
  }),
  existing_page_cb: (compiled) => ({
    existingPageCb: (arena) => pteFn(compiled, compiled.object.structures.arena(arena)),
  }),
  bpf_arena_handle_page_fault: (compiled) => ({
    *bpfArenaHandlePageFault(addr, isWrite, faultIp) {
      return bool(yield* call(compiled, addr, isWrite, faultIp));
    },
  }),
  __bpf_prog_report_arena_violation: (compiled) => ({
    *reportArenaViolation(prog, isWrite, offset, faultIp) {
      yield* call(compiled, compiled.object.structures.prog(prog), isWrite, offset, faultIp);
    },
  }),
  bpf_prog_report_arena_violation: (compiled) => ({
    *bpfProgReportArenaViolation(isWrite, addr, faultIp) {
      yield* call(compiled, isWrite, addr, faultIp);
    },
  }),
  arena_alloc_pages: (compiled, kernel) => ({
    arenaAllocPages: (arena, uaddr, pageCnt, nodeId, sleepable) =>
      allocating(
        kernel,
        compiled,
        'pages_array',
        call(compiled, at(compiled, arena), uaddr, pageCnt, nodeId, sleepable),
      ),
  }),
  arena_free_pages: (compiled, kernel) => ({
    *arenaFreePages(arena, uaddr, pageCnt, sleepable) {
      yield* allocating(
        kernel,
        compiled,
        'span',
        call(compiled, at(compiled, arena), uaddr, pageCnt, sleepable),
      );
    },
  }),
  arena_reserve_pages: (compiled) => ({
    *arenaReservePages(arena, uaddr, pageCnt) {
      return s32(yield* call(compiled, at(compiled, arena), uaddr, pageCnt));
    },
  }),
  arena_vm_fault: (compiled, kernel) => ({
    *arenaVmFault(vma, address) {
      const { structures } = compiled.object;
      const vmf = structures.vmFault(vma, address);
      let page: bigint;
      try {
        const fault = s32(yield* call(compiled, vmf.at));
        if (fault !== 0) return VM_FAULT[fault] ?? 'SIGBUS';
        page = kernel.ram.read64(structures.phys(vmf.page));
      } finally {
        vmf.free();
      }
      const pfn = structures.pfn(page);
      if (pfn === null)
        throw new KernelStuck(`${compiled.name} gives ${hex(page)}, no struct page`);
      kernel.pages.pageRefAdd(pfn);
      return pfn;
    },
  }),
  bpf_arena_alloc_pages: (compiled, kernel) => ({
    bpfArenaAllocPages: kfuncAlloc(compiled, kernel),
  }),
  bpf_arena_alloc_pages_non_sleepable: (compiled, kernel) => ({
    bpfArenaAllocPagesNonSleepable: kfuncAlloc(compiled, kernel),
  }),
  bpf_arena_free_pages: (compiled, kernel) => ({ bpfArenaFreePages: kfuncFree(compiled, kernel) }),
  bpf_arena_free_pages_non_sleepable: (compiled, kernel) => ({
    bpfArenaFreePagesNonSleepable: kfuncFree(compiled, kernel),
  }),
  bpf_arena_reserve_pages: (compiled) => ({
    *bpfArenaReservePages(arena, ptr, pageCnt) {
      return s32(yield* call(compiled, at(compiled, arena), ptr, pageCnt));
    },
  }),
};

export const kfuncAlloc =
  (compiled: CompiledFunction, kernel: Kernel) =>
  (arena: BpfArena, addr: bigint, pageCnt: number, nodeId: number, flags: bigint) =>
    allocating(
      kernel,
      compiled,
      'pages_array',
      call(compiled, at(compiled, arena), addr, pageCnt, nodeId, flags),
    );

const kfuncFree = (compiled: CompiledFunction, kernel: Kernel) =>
  function* (arena: BpfArena, ptr: bigint, pageCnt: number): Activity<void> {
    yield* allocating(kernel, compiled, 'span', call(compiled, at(compiled, arena), ptr, pageCnt));
  };

/** Runs a call in which memory is asked for. @param first what the first request may fail as; later ones are spans */
export function* allocating(
  kernel: Kernel,
  compiled: CompiledFunction,
  first: InjectionPoint,
  call: Activity<bigint>,
): Activity<bigint> {
  const { allocates } = compiled.object.calls;
  const { cpu } = kernel.context;
  const outer = allocates[cpu] ?? null;
  allocates[cpu] = first;
  try {
    return yield* call;
  } finally {
    allocates[cpu] = outer;
  }
}
