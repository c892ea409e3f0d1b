// What the oopses of both architectures have in common: the lines of lib/dump_stack.c, kernel/panic.c and
// kernel/module, and the bracket around a report. Left out: everything after the report (make_task_dead()'s notes),
// the pause between reports, kdump, panic notifiers beyond the last line, "Hardware name" and taints other than D and M.
import type { VirtAddr } from '../emulator/address.ts';
import { virtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { FaultContext, FaultOutcome } from './arch.ts';

/** init_utsname()->release and version: the model's own, since no built kernel is behind it. */
const RELEASE = 'faultline #1 PREEMPT(voluntary)';

/**
 * Prints lines to the kernel log through `body`.
 * @param halted see {@link FaultOutcome}
 * @returns the oops that consists of the lines; whoever takes the outcome tells it as an event
 */
export function oops(context: FaultContext, body: () => void, halted?: string): FaultOutcome {
  const { kernel } = context;
  const start = kernel.log.length;
  kernel.reportStart = start;
  kernel.reportHalted = halted ?? null;
  body();
  kernel.reportStart = null;
  kernel.reportHalted = null;
  const lines = kernel.log.slice(start);
  return halted === undefined
    ? { resolution: 'oops', lines }
    : { resolution: 'oops', lines, halted };
}

/**
 * dump_stack_print_info(): the line that names CPU, task and kernel.
 * @kernel dump_stack_print_info lib/dump_stack.c read
 */
export function dumpStackPrintInfo(context: FaultContext): void {
  const { kernel, current } = context;
  const { machineCheck } = kernel;
  // Positions of the letters: taint_flags in kernel/panic.c.
  const died = kernel.dieCounter > 0;
  const taint =
    died || machineCheck
      ? `Tainted: G   ${machineCheck ? 'M' : ' '}  ${died ? 'D' : ' '}            `
      : 'Not tainted';
  kernel.printk(
    `CPU: ${kernel.cpu} UID: ${current.uid} PID: ${current.pid} Comm: ${current.comm.slice(0, 20)} ${taint} ${RELEASE} `,
    'dump_stack_print_info',
  );
  if (died || machineCheck) {
    const names = [machineCheck && '[M]=MACHINE_CHECK', died && '[D]=DIE'].filter(Boolean);
    kernel.printk(`Tainted: ${names.join(', ')}`, 'dump_stack_print_info');
  }
}

/**
 * print_modules(), of a kernel without modules.
 * @kernel print_modules kernel/module/main.c read
 */
export const printModules = (context: FaultContext): void =>
  context.kernel.printk('Modules linked in:', 'print_modules');

/**
 * oops_exit(): print_oops_end_marker().
 * @kernel oops_exit, print_oops_end_marker kernel/panic.c read
 */
export const oopsExit = (context: FaultContext): void =>
  context.kernel.printk('---[ end trace 0000000000000000 ]---', 'print_oops_end_marker');

/**
 * panic(): its first and last line, and between them what `dumpStack` prints (nothing after an oops).
 * @kernel panic kernel/panic.c read
 */
export function panic(context: FaultContext, message: string, dumpStack?: () => void): void {
  context.kernel.printk(`Kernel panic - not syncing: ${message}`, 'panic');
  dumpStack?.();
  context.kernel.printk(`---[ end Kernel panic - not syncing: ${message} ]---`, 'panic');
}

/**
 * %pB: the symbol of a return address, looked up one byte earlier so that a call at a function's end names the caller
 * (sprint_backtrace()). Where nothing lies there it is a number, whatever begins at the address itself.
 * @kernel sprint_backtrace kernel/kallsyms.c read
 */
export function formatBacktrace(context: FaultContext, returnAddress: VirtAddr): string {
  const text = context.formatSymbol(virtAddr(returnAddress - 1n));
  const parts = /^(.*\+0x)([0-9a-f]+)(\/0x[0-9a-f]+.*)$/.exec(text);
  if (parts === null) return hex(returnAddress);
  return parts[1] + (BigInt(`0x${parts[2]}`) + 1n).toString(16) + parts[3];
}
