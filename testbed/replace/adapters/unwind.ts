// Stack walks in compiled code.
import type { ConsumeEntry, StackFrame } from '../../../arch/unwind.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { plain } from '../callees/index.ts';
import type { UNWIND_FUNCTIONS } from '../functions/unwind.ts';
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
          if (isInterrupted && ip !== kernel.traps[0]) frames.push({ ip, sp, bp });
          return true;
        };
        callNow(compiled, consumeFn, 0n);
        return frames;
      },
    };
  },
};
