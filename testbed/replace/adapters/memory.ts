// mm/ in compiled code: page tables and pages.
import { virtAddr } from '../../../emulator/address.ts';
import type { CompiledMemory } from '../../../mm/compiled-memory.ts';
import { LOOKED, onward } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import type { MEMORY_FUNCTIONS } from '../functions/memory.ts';
import { s32 } from '../guest-calls.ts';
import { PteCallbacks } from '../pte-callbacks.ts';
import type { CompiledFunction } from '../replacements.ts';
import type { Adapters } from './adapter.ts';

/** Instructions beyond its limit that a walk may retire for each entry: an arena has a million of them. */
const PER_ENTRY = 128;

export const MEMORY_ADAPTERS: Adapters<typeof MEMORY_FUNCTIONS> = {
  apply_to_page_range: (compiled, kernel) => ({
    applyToPageRange: walk(compiled, kernel, false),
  }),
  apply_to_existing_page_range: (compiled, kernel) => ({
    applyToExistingPageRange: walk(compiled, kernel, true),
  }),
};

/** @param looks it looks at entries before it hands them to the callback. As in the model, that is no step of its own */
function walk(
  { entry, name, object }: CompiledFunction,
  kernel: Kernel,
  looks: boolean,
): NonNullable<CompiledMemory['applyToPageRange']> {
  const callbacks = new PteCallbacks(kernel, name, object);
  return (start, size, fn) => {
    const end = start + BigInt(size);
    const looksFrom = (va: bigint) => looks && noteLooks(kernel, va, end);
    looksFrom(start);
    return callbacks.during(
      function* (one) {
        const { addr } = one;
        const result = yield* onward(fn(one));
        if (result === 0) looksFrom(addr + BigInt(kernel.pageSize));
        return result;
      },
      function* (at, data) {
        const args = [object.initMm, start, BigInt(size), at, data];
        const how = { readsAreSteps: false, extra: (size / kernel.pageSize) * PER_ENTRY };
        return s32(yield* object.calls.call(name, entry, args, null, how));
      },
    );
  };
}

/** Tells whoever asks that all entries of [va, end) may be looked at now. */
function noteLooks({ context, mm }: Kernel, va: bigint, end: bigint): void {
  const { access } = context;
  if (access === null) return;
  const span = BigInt(mm.pmdSize);
  for (let at = va; at < end; at += span - (at % span)) {
    const ptep = mm.ptepOffset(virtAddr(at));
    if (ptep !== null) access.range(ptep, mm.pageSize - (ptep % mm.pageSize), LOOKED);
  }
}
