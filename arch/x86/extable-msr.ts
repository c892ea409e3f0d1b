// What becomes of an MSR access that faulted: ex_handler_msr() of arch/x86/mm/extable.c, and ex_handler_msr_mce() of
// arch/x86/kernel/cpu/mce/core.c, for machine-check code that must not fault.
import { hex, lo32 } from '../../emulator/bits.ts';
import type { ExtableEntry, FaultContext, FaultOutcome } from '../arch.ts';
import { compiledNow } from '../compiled-path.ts';
import { oops, panic } from '../oops.ts';
import { compiledHandler, exHandlerDefault, type Handled } from './extable-handlers.ts';
import { RAX, RCX, RDX, type X86PtRegs } from './registers.ts';
import { showTraceLogLvl } from './show-regs.ts';

const EIO = 5n;

/**
 * ex_handler_msr(). @param safeReg encoding of the register that gets -EIO; null for the unchecked forms
 * @kernel ex_handler_msr arch/x86/mm/extable.c read
 */
export function exHandlerMsr(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  wrmsr: boolean,
  safeReg: number | null,
): Handled {
  const flags = [BigInt(wrmsr), BigInt(safeReg !== null), BigInt(safeReg ?? 0)];
  const compiled = compiledHandler(context, 'ex_handler_msr', entry, regs, ...flags);
  if (compiled !== undefined) return compiled;
  if (safeReg === null) warnUncheckedMsr(context, regs, wrmsr);
  if (!wrmsr) {
    regs.words[RAX] = 0n;
    regs.words[RDX] = 0n;
  }
  if (safeReg !== null) regs.setByNumber(safeReg, -EIO);
  return exHandlerDefault(context, entry, regs);
}

function warnUncheckedMsr(context: FaultContext, regs: X86PtRegs, wrmsr: boolean): void {
  const start = `unchecked MSR access error: ${wrmsr ? 'WRMSR' : 'RDMSR'}`;
  if (context.kernel.log.some((line) => line.startsWith(start))) return;
  const text = `unchecked MSR access error: ${accessText(context, regs, wrmsr)}`;
  context.kernel.printk(text, 'ex_handler_msr');
  showTraceLogLvl(context, regs);
}

/** "RDMSR from 0x1b at rIP: 0xffffffff81000000 (symbol)", and what a WRMSR would have written. */
function accessText(context: FaultContext, regs: X86PtRegs, wrmsr: boolean): string {
  const h = (index: number) => lo32(regs.words[index]).toString(16);
  const value = `(tried to write 0x${h(RDX).padStart(8, '0')}${h(RAX).padStart(8, '0')}) `;
  const access = wrmsr ? `WRMSR to 0x${h(RCX)} ${value}` : `RDMSR from 0x${h(RCX)} `;
  return `${access}at rIP: ${hex(regs.ip)} (${context.formatSymbol(regs.ip)})`;
}

/**
 * ex_handler_msr_mce(): the machine breaks its own rules.
 * @kernel ex_handler_msr_mce arch/x86/kernel/cpu/mce/core.c read
 */
export function exHandlerMsrMce(
  context: FaultContext,
  regs: X86PtRegs,
  wrmsr: boolean,
): FaultOutcome {
  return oops(context, () => {
    if (compiledNow(context, 'ex_handler_msr_mce', regs, BigInt(wrmsr)) !== null) return;
    const text = `mce: MSR access error: ${accessText(context, regs, wrmsr)}`;
    context.kernel.printk(text, 'ex_handler_msr_mce');
    showTraceLogLvl(context, regs);
    panic(context, 'MCA architectural violation!');
  });
}
