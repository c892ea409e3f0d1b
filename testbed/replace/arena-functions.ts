// The functions of kernel/bpf/arena.c that stand in compiled code, as the model calls them.
import type { CompiledArena } from '../../bpf/compiled.ts';
import type { Kernel } from '../kernel.ts';
import type { ReplaceableName } from './functions.ts';
import { ClearHand, SetHand } from './hand.ts';
import { pteFn } from './pte-fn.ts';
import type { CompiledFunction } from './replacements.ts';

/** @throws CallError for structures that the model cannot fill in */
export function compiledArena(
  kernel: Kernel,
  functions: ReadonlyMap<ReplaceableName, CompiledFunction>,
): CompiledArena {
  const made = <T>(name: ReplaceableName, make: (compiled: CompiledFunction) => T): T | null => {
    const compiled = functions.get(name);
    return compiled === undefined ? null : make(compiled);
  };
  return {
    applyRangeSetCb: made('apply_range_set_cb', (compiled) => {
      const hand = new SetHand(kernel, compiled);
      return (arena, data) => hand.fn(arena, data);
    }),
    applyRangeClearCb: made('apply_range_clear_cb', (compiled) => {
      const hand = new ClearHand(kernel, compiled);
      return (arena, freePages) => hand.fn(arena, freePages);
    }),
    applyRangeSetScratchCb: made('apply_range_set_scratch_cb', (compiled) => (arena) => {
      return pteFn(compiled, compiled.object.structures.page(arena.scratchPage));
    }),
    existingPageCb: made('existing_page_cb', (compiled) => (arena) => {
      return pteFn(compiled, compiled.object.structures.arena(arena));
    }),
    bpfArenaHandlePageFault: made(
      'bpf_arena_handle_page_fault',
      ({ entry, name, object }) =>
        function* (addr, isWrite, faultIp) {
          const args = [addr, isWrite ? 1n : 0n, faultIp];
          return ((yield* object.calls.call(name, entry, args)) & 0xffn) !== 0n;
        },
    ),
  };
}
