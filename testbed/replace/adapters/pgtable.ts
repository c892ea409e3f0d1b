// Accessors of page-table entries in compiled code.
import type { VirtAddr } from '../../../emulator/address.ts';
import type { Activity } from '../../../mm/context.ts';
import type { PGTABLE_FUNCTIONS } from '../functions/pgtable.ts';
import { bool } from '../guest-calls.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, call } from './adapter.ts';

export const PGTABLE_ADAPTERS: Adapters<typeof PGTABLE_FUNCTIONS> = {
  ptep_try_set: (compiled) => ({
    *ptepTrySet(addr, ptep, pte) {
      return bool(yield* onEntry(compiled, addr, ptep, pte));
    },
  }),
  ptep_get_and_clear: (compiled) => ({
    ptepGetAndClear: (addr, ptep) => onEntryOf(compiled, addr, ptep),
  }),
  set_pte_at: (compiled) => ({
    *setPteAt(addr, ptep, pte) {
      yield* onEntryOf(compiled, addr, ptep, pte);
    },
  }),
  flush_tlb_before_set: (compiled) => ({
    *flushTlbBeforeSet(addr) {
      yield* call(compiled, addr);
    },
  }),
};

/** A function on an entry, which it is handed first. */
function onEntry(
  { entry, name, object }: CompiledFunction,
  addr: VirtAddr,
  ptep: number,
  ...values: readonly bigint[]
): Activity<bigint> {
  const args = [object.structures.virt(ptep), ...values];
  return object.calls.call(name, entry, args, { ptep, addr });
}

/** A function on an entry of init_mm that maps `addr`. */
function onEntryOf(
  { entry, name, object }: CompiledFunction,
  addr: VirtAddr,
  ptep: number,
  ...values: readonly bigint[]
): Activity<bigint> {
  const args = [object.initMm, addr, object.structures.virt(ptep), ...values];
  return object.calls.call(name, entry, args, { ptep, addr });
}
