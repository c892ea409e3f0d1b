// The fault path, for compiled code that calls its functions: those of the architecture, and whom they ask.
import type { PtRegs } from '../../../arch/arch.ts';
import { REPAIRED } from '../../../arch/path.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck, onward } from '../../../mm/context.ts';
import { note } from '../exception.ts';
import { REPLACEABLE } from '../functions/index.ts';
import { bool, type Callee } from '../guest-calls.ts';
import { faultFrom } from '../path-arguments.ts';
import { type CalleeParts, plain } from './index.ts';

/** The model's registers for an address that compiled code hands on, and what gives them back to the code. */
export function registersAt(
  { kernel, ptRegs }: CalleeParts,
  address: bigint,
): { readonly regs: PtRegs; giveBack(): void } {
  const at = virtAddr(address);
  const { exception } = kernel.cpus[kernel.context.cpu];
  if (ptRegs === null) throw new KernelStuck('hands on registers without a struct pt_regs');
  const own = exception !== null && ptRegs.place(exception.regs) === at;
  const regs = own ? exception.regs : kernel.arch.createRegs();
  if (!ptRegs.read(regs, at)) throw new KernelStuck(`no struct pt_regs lies at ${hex(at)}`);
  return { regs, giveBack: () => void ptRegs.write(regs, at) };
}

export function pathCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel } = parts;
  const vcpu = () => kernel.cpus[kernel.context.cpu];
  const path = Object.entries(kernel.arch.path).map(([name, fn]): [string, Callee] => [
    name,
    function* (argument) {
      const on = vcpu();
      const outer = on.exception?.fault;
      if (outer === undefined) throw new KernelStuck(`calls ${name} without a fault`);
      const { prototype } = REPLACEABLE[name as keyof typeof REPLACEABLE];
      const { regs: at, fault } = faultFrom(prototype, argument, outer);
      const { regs, giveBack } = registersAt(parts, at);
      const path = fn(on.faultContext, regs, fault);
      const outcome = path === null ? null : yield* onward(path);
      if (outcome !== null) note(on, name, outcome);
      giveBack();
      return outcome === null ? 1n : 0n;
    },
  ]);
  return [
    ...path,
    ...(['kfence', 'scratch'] as const).map((resolution): [string, Callee] => [
      resolution === 'kfence' ? 'kfence_handle_page_fault' : 'bpf_arena_handle_page_fault',
      function* (argument) {
        const on = vcpu();
        const recoverer = kernel.recoverers.find((one) => one.resolution === resolution);
        if (recoverer === undefined) return 0n;
        const regs = on.exception?.regs ?? on.regs;
        const [addr, isWrite] = [virtAddr(argument(0)), bool(argument(1))];
        if (!(yield* onward(recoverer.handlePageFault(addr, isWrite, regs)))) return 0n;
        note(on, recoverer.fn, REPAIRED[resolution]);
        return 1n;
      },
    ]),
    [
      'is_vmalloc_addr',
      plain((argument) => BigInt(kernel.vmalloc.isVmallocAddr(virtAddr(argument(0))))),
    ],
  ];
}
