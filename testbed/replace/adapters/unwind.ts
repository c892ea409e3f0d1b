// Stack walks in compiled code.
import type { ConsumeEntry, StackFrame } from '../../../arch/unwind.ts';
import type { CompiledSymbols } from '../../../bpf/compiled-symbols.ts';
import { virtAddr } from '../../../emulator/address.ts';
import type { Kernel } from '../../kernel.ts';
import { plain } from '../callees/index.ts';
import type { UNWIND_FUNCTIONS } from '../functions/unwind.ts';
import { bool, s32 } from '../guest-calls.ts';
import type { CompiledFunction } from '../replacements.ts';
import { unwindWalk } from '../unwind-walk.ts';
import { type Adapters, callNow } from './adapter.ts';

export const UNWIND_ADAPTERS: Adapters<typeof UNWIND_FUNCTIONS> = {
  arch_bpf_stack_walk(compiled, kernel) {
    /** By CPU: who is told of the frames. */
    const consumers: ConsumeEntry[] = [];
    const consume = plain((argument) => {
      const [ip, sp, bp] = [1, 2, 3].map((i) => virtAddr(argument(i)));
      return consumers[kernel.context.cpu](ip, sp, bp) ? 1n : 0n;
    });
    const consumeFn = compiled.object.standIn('consume_fn', consume);
    return {
      archBpfStackWalk() {
        const { cpu } = kernel.context;
        const { regs } = kernel.cpus[cpu];
        const frames: StackFrame[] = [];
        // A kernel's walk begins in its own functions, and the model's in the code that it was called for.
        let isInterrupted = false;
        consumers[cpu] = (ip, sp, bp) => {
          isInterrupted ||= ip === regs.ip && bp === regs.fp;
          // Replaced functions are called from here, which leaves no frames.
          if (isInterrupted && !kernel.returnTraps.includes(ip)) frames.push({ ip, sp, bp });
          return true;
        };
        callNow(compiled, consumeFn, 0n);
        return frames;
      },
    };
  },
  __unwind_start: (compiled, kernel) => ({
    ...byParts(compiled, kernel),
    unwindStart(state, task, regs, firstFrame) {
      callNow(compiled, state, task, regs, firstFrame);
    },
  }),
  unwind_next_frame: (compiled, kernel) => ({
    ...byParts(compiled, kernel),
    unwindNextFrame: (state) => bool(callNow(compiled, state)),
  }),
  unwind_get_return_address: (compiled, kernel) => ({
    ...byParts(compiled, kernel),
    unwindGetReturnAddress: (state) => callNow(compiled, state),
  }),
  unwind_get_return_address_ptr: (compiled) => ({
    unwindGetReturnAddressPtr: (state) => callNow(compiled, state),
  }),
  orc_find: (compiled, kernel) => ({
    ...byParts(compiled, kernel),
    orcFind(ip) {
      const at = callNow(compiled, ip);
      return at === 0n ? null : compiled.object.orc.read(at);
    },
  }),
  get_stack_info: (compiled, kernel) => ({
    ...byParts(compiled, kernel),
    getStackInfo: (stack, task, info, visitMask) =>
      s32(callNow(compiled, stack, task, info, visitMask)),
  }),
};

/** The model's own walk, in which compiled code does its part. */
const byParts = (compiled: CompiledFunction, kernel: Kernel): CompiledSymbols => ({
  unwindWalk: () => unwindWalk(kernel, compiled.object),
});
