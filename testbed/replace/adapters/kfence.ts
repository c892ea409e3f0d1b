// KFENCE in compiled code.
import { virtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import { ERRORS } from '../callees/kfence.ts';
import type { KFENCE_FUNCTIONS } from '../functions/kfence.ts';
import { bool } from '../guest-calls.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, call } from './adapter.ts';

export const KFENCE_ADAPTERS: Adapters<typeof KFENCE_FUNCTIONS> = {
  kfence_handle_page_fault(compiled, kernel) {
    const { name, object } = compiled;
    return {
      *kfenceHandlePageFault(kfence, addr, isWrite, ip) {
        const regs = registers(compiled, kernel);
        const handling = () => call(compiled, addr, isWrite, regs);
        return bool(yield* object.kfence.blaming(ip, name, kfence, handling));
      },
    };
  },
  kfence_protect: (compiled) => ({
    *kfenceProtect(kfence, addr) {
      yield* compiled.object.kfence.during(compiled.name, kfence, () => call(compiled, addr));
    },
  }),
  kfence_unprotect: (compiled) => ({
    *kfenceUnprotect(kfence, addr) {
      yield* compiled.object.kfence.during(compiled.name, kfence, () => call(compiled, addr));
    },
  }),
  kfence_guarded_alloc(compiled) {
    const { name, object } = compiled;
    const memory = object.kfence;
    return {
      *kfenceGuardedAlloc(kfence, size, cache, right, align) {
        if (size > kfence.pageSize) return null;
        memory.right = right;
        const at = memory.cacheAt(cache, align);
        const got = yield* memory.during(name, kfence, () => call(compiled, at, size, 0, 0, 0, 0));
        memory.right = false;
        if (got !== 0n && !kfence.isKfenceAddress(got)) {
          throw new KernelStuck(`${name} gives ${hex(got)}, which is not in KFENCE's pool`);
        }
        return got === 0n ? null : virtAddr(got);
      },
    };
  },
  __kfence_free(compiled) {
    const { name, object } = compiled;
    return {
      *kfenceFree(kfence, addr, ip) {
        yield* object.kfence.blaming(ip, name, kfence, () => call(compiled, addr));
      },
    };
  },
  kfence_guarded_free(compiled) {
    const { name, object } = compiled;
    return {
      *kfenceGuardedFree(kfence, addr, meta, ip) {
        const freeing = () => call(compiled, addr, object.kfence.addressOf(meta), false);
        yield* object.kfence.blaming(ip, name, kfence, freeing);
      },
    };
  },
  kfence_report_error(compiled, kernel) {
    const { name, object } = compiled;
    return {
      *kfenceReportError(kfence, { error, addr, isWrite, meta }, ip) {
        const at = meta === null ? 0n : object.kfence.addressOf(meta);
        const type = ERRORS.indexOf(error);
        const regs = error === 'invalid_free' ? 0n : registers(compiled, kernel);
        const reporting = () => call(compiled, addr, isWrite, regs, at, type);
        yield* object.kfence.blaming(ip, name, kfence, reporting);
      },
    };
  },
  kfence_print_object(compiled, kernel) {
    const { name, object } = compiled;
    return {
      *kfencePrintObject(meta) {
        const kfence = kernel.kfence!;
        const printing = () => call(compiled, 0, object.kfence.addressOf(meta));
        yield* object.kfence.during(name, kfence, printing);
      },
    };
  },
};

/** struct pt_regs of the exception that is under way; 0 where there is none, or none that the object could look into. */
function registers({ object }: CompiledFunction, kernel: Kernel): bigint {
  const { exception } = kernel.cpus[kernel.context.cpu];
  return exception === null || object.ptRegs === null ? 0n : object.ptRegs.write(exception.regs);
}
