// The functions of the kernel that stand in compiled code, as the model calls them: one adapter for each, between values of
// the model and a call's registers and memory.
import type { CompiledFunctions } from '../../bpf/compiled.ts';
import type { Activity } from '../../mm/context.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import type { ReplaceableName } from './functions.ts';
import { ClearHand, SetHand } from './hand.ts';
import { pteFn } from './pte-fn.ts';
import type { CompiledFunction } from './replacements.ts';

type Adapter = (compiled: CompiledFunction, kernel: Kernel) => CompiledFunctions;

const call = (
  { entry, name, object }: CompiledFunction,
  ...args: readonly (bigint | boolean | number)[]
): Activity<bigint> => object.calls.call(name, entry, args.map(BigInt));

const bool = (value: bigint): boolean => (value & 0xffn) !== 0n;

const ADAPTERS: Readonly<Record<ReplaceableName, Adapter>> = {
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
  bpf_prog_find_from_stack: (compiled) => ({
    *bpfProgFindFromStack() {
      const { structures } = compiled.object;
      const found = yield* call(compiled);
      const prog = found === 0n ? null : structures.progAt(found);
      if (found === 0n || prog !== null) return prog;
      throw new KernelStuck(`${compiled.name} returns 0x${found.toString(16)}, no struct bpf_prog`);
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
};

/** @throws CallError for structures that the model cannot fill in */
export function compiledFunctions(
  kernel: Kernel,
  functions: ReadonlyMap<ReplaceableName, CompiledFunction>,
): CompiledFunctions {
  const made = [...functions].map(([name, compiled]) => ADAPTERS[name](compiled, kernel));
  return Object.assign({}, ...made);
}
