// A function of compiled code as a callback of apply_to_page_range() (pte_fn_t).
import type { CompiledPteFn } from '../../bpf/compiled.ts';
import type { CompiledFunction } from './replacements.ts';

/** @param data what it is handed with every entry */
export function pteFn({ entry, name, object }: CompiledFunction, data: bigint): CompiledPteFn {
  const { calls, structures } = object;
  return {
    *call(ptep, addr) {
      const args = [structures.virt(ptep), addr, data];
      return Number(BigInt.asIntN(32, yield* calls.call(name, entry, args, { ptep, addr })));
    },
    end() {},
    counts: false,
  };
}
