// Functions in compiled code whose arguments and result are integers, text, registers in a struct pt_regs, and entries of
// exception tables.
import type { PtRegs } from '../../../arch/arch.ts';
import type { CompiledCall } from '../../../arch/compiled-path.ts';
import { type VirtAddr, virtAddr } from '../../../emulator/address.ts';
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

const callFunction = (compiled: CompiledFunction, kernel: Kernel): CompiledCall =>
  function* (...args) {
    const { ptRegs, heap } = compiled.object;
    const laid: [PtRegs, VirtAddr][] = [];
    const texts: bigint[] = [];
    const values = args.map((value) => {
      if (typeof value === 'bigint') return value;
      if (typeof value === 'string') {
        const at = heap.text(value);
        texts.push(at);
        return at;
      }
      if ('insn' in value) return compiled.object.extable.address(value);
      if ('pa' in value) return compiled.object.structures.virt(value.pa);
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

/** Of the exception's registers the place on the stack; of others one of the CPU's own. */
function placeOf({ object }: CompiledFunction, kernel: Kernel, regs: PtRegs): VirtAddr {
  const { cpu } = kernel.context;
  if (kernel.cpus[cpu].exception?.regs === regs) return object.ptRegs!.place(regs);
  return virtAddr(object.structures.virt(object.hand[cpu]));
}
