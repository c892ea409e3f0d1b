// Functions in compiled code whose arguments and result are integers, text, registers in a struct pt_regs, and entries of
// exception tables.
import type { PtRegs } from '../../../arch/arch.ts';
import type { CompiledCall } from '../../../arch/compiled-path.ts';
import { type VirtAddr, virtAddr } from '../../../emulator/address.ts';
import type { Activity } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapter, type Adapters, call } from './adapter.ts';

/** An adapter for every function of a table. */
export const callAdapters = <Table extends object>(table: Table): Adapters<Table> =>
  Object.fromEntries(
    Object.keys(table).map((name) => [name, callAdapter]),
  ) as unknown as Adapters<Table>;

const callAdapter: Adapter = (compiled, kernel) => ({
  calls: { [compiled.name]: callFunction(compiled, kernel) },
});

export const callFunction = (compiled: CompiledFunction, kernel: Kernel): CompiledCall =>
  function* (...args) {
    const { extable, heap, ptRegs, structures } = compiled.object;
    const laid: [PtRegs, VirtAddr][] = [];
    const texts: bigint[] = [];
    const values = args.map((value) => {
      if (typeof value === 'bigint') return value;
      if (typeof value === 'string') {
        const at = heap.text(value);
        texts.push(at);
        return at;
      }
      if ('insn' in value) return extable.address(value);
      if ('pa' in value) return structures.virt(value.pa);
      const at = ptRegs!.write(value, placeOf(compiled, kernel, value));
      laid.push([value, at]);
      return at;
    });
    const result = yield* call(compiled, ...values);
    for (const at of texts) heap.free(at);
    for (const [regs, at] of laid) ptRegs!.read(regs, at);
    kernel.context.endLine();
    return result;
  };

/** Of the exception's registers the place on the stack, if it has room; of others one of the CPU's own. */
function placeOf(compiled: CompiledFunction, kernel: Kernel, regs: PtRegs): VirtAddr {
  const at = compiled.object.ptRegs!.place(regs);
  const isOnStack = kernel.memory.physOf(at) !== null && kernel.memory.physOf(regs.sp) !== null;
  const { exception } = kernel.cpus[kernel.context.cpu];
  return exception?.regs === regs && isOnStack ? at : ownMemory(compiled, kernel, 0);
}

/** Memory of the present CPU that the object is handed things in; its end is a stack for a kernel whose own is full. */
export function ownMemory(
  { object }: CompiledFunction,
  { context, pageSize }: Kernel,
  offset: number,
): VirtAddr {
  const start = object.structures.virt(object.hand[context.cpu]);
  for (let page = 0; page < HAND_PAGES; page++) {
    object.structures.pages.provide(start + BigInt(page * pageSize));
  }
  return virtAddr(start + BigInt(offset));
}

/** Pages of it. */
export const HAND_PAGES = 3;

/** Runs a call where the stack may be full: as the handler of a double fault does, on another one. */
export function* withStack<T>(
  compiled: CompiledFunction,
  kernel: Kernel,
  action: () => Activity<T>,
): Activity<T> {
  const vcpu = kernel.cpus[kernel.context.cpu];
  const { below, onDoubleFaultStack } = vcpu;
  if (below !== null && kernel.memory.physOf(virtAddr(below - 16n)) === null) {
    vcpu.below = ownMemory(compiled, kernel, HAND_PAGES * kernel.pageSize);
    vcpu.onDoubleFaultStack = true;
  }
  try {
    return yield* action();
  } finally {
    vcpu.below = below;
    vcpu.onDoubleFaultStack = onDoubleFaultStack;
  }
}
