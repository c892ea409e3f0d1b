// Handlers of exception-table entries of x86-64, for compiled code that calls them.
import type { ExtableEntry, FaultContext } from '../../../arch/arch.ts';
import { isDead } from '../../../arch/path.ts';
import * as handlers from '../../../arch/x86/extable-handlers.ts';
import { exHandlerMsr, exHandlerMsrMce } from '../../../arch/x86/extable-msr.ts';
import type { X86PtRegs } from '../../../arch/x86/registers.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { KernelStuck, onward } from '../../../mm/context.ts';
import { note } from '../exception.ts';
import { bool, type Callee, s32 } from '../guest-calls.ts';
import type { Argument, CalleeParts } from './index.ts';
import { registersAt } from './path.ts';

/** @param argument the third is the first behind entry and registers */
type Handler = (
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  argument: Argument,
) => handlers.Handled;

const HANDLERS: Readonly<Record<string, Handler>> = {
  ex_handler_default: handlers.exHandlerDefault,
  ex_handler_fault: (context, entry, regs, argument) =>
    handlers.exHandlerFault(context, entry, regs, s32(argument(2))),
  ex_handler_sgx: (context, entry, regs, argument) =>
    handlers.exHandlerSgx(context, entry, regs, s32(argument(2))),
  ex_handler_fprestore: handlers.exHandlerFprestore,
  ex_handler_uaccess: (context, entry, regs, argument) =>
    handlers.exHandlerUaccess(context, entry, regs, s32(argument(2)), virtAddr(argument(3))),
  ex_handler_imm_reg: (context, entry, regs, argument) =>
    handlers.exHandlerImmReg(context, entry, regs, s32(argument(2)), BigInt(s32(argument(3)))),
  ex_handler_zeropad: (context, entry, regs, argument) =>
    handlers.exHandlerZeropad(context, entry, regs, virtAddr(argument(2))),
  ex_handler_msr: (context, entry, regs, argument) =>
    exHandlerMsr(
      context,
      entry,
      regs,
      bool(argument(2)),
      bool(argument(3)) ? s32(argument(4)) : null,
    ),
  ex_handler_bpf: handlers.exHandlerBpf,
};

export function extableX86Callees(parts: CalleeParts): [string, Callee][] {
  const { kernel, extable } = parts;
  const vcpu = () => kernel.cpus[kernel.context.cpu];
  return [
    [
      // int fixup_exception(struct pt_regs *, int trapnr, unsigned long error_code, unsigned long fault_addr)
      'fixup_exception',
      function* (argument) {
        const on = vcpu();
        const { regs, giveBack } = registersAt(parts, argument(0));
        const [vector, addr] = [Number(argument(1)), virtAddr(argument(3))];
        const path = kernel.arch.fixupException(on.faultContext, regs, vector, addr);
        if (kernel.events.on && !(path !== null && isDead(path))) {
          const told = path === null ? 'no handler takes it' : 'handled';
          kernel.context.decide('fixup_exception', told);
        }
        if (path !== null) note(on, 'fixup_exception', yield* onward(path));
        giveBack();
        return path === null ? 0n : 1n;
      },
    ],
    ...Object.entries(HANDLERS).map(([name, handler]): [string, Callee] => [
      name,
      function* (argument) {
        const on = vcpu();
        const entry = extable.entry(argument(0), name);
        if (entry === null) throw new KernelStuck(`calls ${name} without an entry`);
        const { regs, giveBack } = registersAt(parts, argument(1));
        const path = handler(on.faultContext, entry, regs as X86PtRegs, argument);
        if (path !== null) note(on, name, yield* onward(path));
        giveBack();
        return path === null ? 0n : 1n;
      },
    ]),
    [
      'ex_handler_msr_mce',
      // biome-ignore lint/correctness/useYield: an Activity that has no step
      function* (argument) {
        const on = vcpu();
        const regs = registersAt(parts, argument(0)).regs as X86PtRegs;
        note(on, 'ex_handler_msr_mce', exHandlerMsrMce(on.faultContext, regs, bool(argument(1))));
        return null;
      },
    ],
  ];
}
