// Callbacks of the model's for a walk of page tables in compiled code: one address stands for all of them, and what the
// walk hands on as data tells which is meant.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { PteFn } from '../../mm/apply-range.ts';
import { type Activity, KernelStuck, onward } from '../../mm/context.ts';
import type { Ptep } from '../../mm/pte.ts';
import type { Kernel } from '../kernel.ts';
import type { Callee } from './guest-calls.ts';
import type { LoadedObject } from './replacements.ts';

export class PteCallbacks {
  private readonly kernel: Kernel;
  private readonly at: VirtAddr;
  /** Callbacks of the walks that are under way, by their data. */
  private readonly walks = new Map<bigint, PteFn>();

  /** @param name of the function that walks */
  constructor(kernel: Kernel, name: string, object: LoadedObject) {
    this.kernel = kernel;
    this.at = object.standIn('pte_fn_t', this.callee(name, object));
  }

  /** Runs a walk with a callback. @param walk calls the compiled code with the callback's address and data */
  *during<T>(fn: PteFn, walk: (at: VirtAddr, data: bigint) => Activity<T>): Activity<T> {
    const { context, cpus } = this.kernel;
    // Where its stack begins tells a walk from those that it interrupts, and from other CPUs'.
    const data = cpus[context.cpu].below ?? BigInt(context.cpu + 1);
    this.walks.set(data, fn);
    try {
      return yield* walk(this.at, data);
    } finally {
      this.walks.delete(data);
    }
  }

  private callee(name: string, object: LoadedObject): Callee {
    const { kernel, walks } = this;
    return function* (argument) {
      const fn = walks.get(argument(2));
      if (fn === undefined) {
        const why = `hands ${hex(argument(2))} to the callback, which is not the data that it was handed`;
        throw new KernelStuck(`${name} ${why}`);
      }
      const ptep = object.structures.physical(argument(0));
      if (ptep === null || ptep % 8 !== 0 || !kernel.mm.isTable(ptep)) {
        throw new KernelStuck(
          `${name} hands ${hex(argument(0))} to the callback, which points to no table entry`,
        );
      }
      const addr = virtAddr(argument(1));
      const result = yield* onward(fn({ ptep: ptep as Ptep, addr }));
      return BigInt(result);
    };
  }
}
