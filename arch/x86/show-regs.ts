// The register dump of an oops (arch/x86/kernel/process_64.c, dumpstack.c): __show_regs() with the code bytes, and the
// call trace that scans the stack. Left out: segment bases (per-CPU data is not modelled, so they print as 0), debug
// registers and PKRU, which print only where they are in use.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex, hex16, lo32 } from '../../emulator/bits.ts';
import type { FaultContext } from '../arch.ts';
import { compiledNow } from '../compiled-path.ts';
import { dumpStackPrintInfo, formatBacktrace } from '../oops.ts';
import { onStack } from '../unwind.ts';
import type { X86Paging } from './paging.ts';
import type { X86PagingState } from './paging-state.ts';
import type { X86PtRegs } from './registers.ts';
import { UnwindState } from './unwind.ts';

/** PROLOGUE_SIZE and EPILOGUE_SIZE of show_opcodes(): bytes before and after the one at rip. */
const PROLOGUE_SIZE = 42;
const EPILOGUE_SIZE = 21;

/** enum show_regs_mode */
const SHOW_REGS_ALL = 2n;

/** Control registers of the faulting CPU. Its paging unit is an X86Paging: `createPaging` makes no other. */
export const controlRegisters = (context: FaultContext): X86PagingState =>
  (context.paging as X86Paging).state;

/**
 * show_regs(): the line of dump_stack_print_info(), all registers and the call trace.
 * @param cr2 what CR2 holds
 * @kernel show_regs arch/x86/kernel/dumpstack.c read
 */
export function showRegs(context: FaultContext, regs: X86PtRegs, cr2: VirtAddr): void {
  if (compiledNow(context, 'show_regs', regs) !== null) return;
  dumpStackPrintInfo(context);
  showAllRegs(context, regs, cr2);
  if (!regs.userMode) showTraceLogLvl(context, regs);
}

/**
 * __show_regs(regs, SHOW_REGS_ALL)
 * @kernel __show_regs arch/x86/kernel/process_64.c read
 */
export function showAllRegs(context: FaultContext, regs: X86PtRegs, cr2: VirtAddr): void {
  if (compiledNow(context, '__show_regs', regs, SHOW_REGS_ALL, '') !== null) return;
  const print = (text: string) => context.kernel.printk(text, '__show_regs');
  const r = (...names: string[]) =>
    names.map((name) => `${LABELS[name]}: ${hex16(regs.get(name))}`).join(' ');
  print(`RIP: ${hex4(regs.cs)}:${context.formatSymbol(regs.ip)}`);
  showOpcodes(context, regs);
  const flags = lo32(regs.flags).toString(16).padStart(8, '0');
  print(`RSP: ${hex4(regs.ss)}:${hex16(regs.sp)} EFLAGS: ${flags}`);
  print(r('rax', 'rbx', 'rcx'));
  print(r('rdx', 'rsi', 'rdi'));
  print(r('rbp', 'r8', 'r9'));
  print(r('r10', 'r11', 'r12'));
  print(r('r13', 'r14', 'r15'));
  if (regs.userMode) {
    print('FS:  0000000000000000 GS:  0000000000000000');
    return;
  }
  const { cr0, cr3, cr4 } = controlRegisters(context);
  print('FS:  0000000000000000(0000) GS:0000000000000000(0000) knlGS:0000000000000000');
  print(`CS:  ${hex4(regs.cs)} DS: 0000 ES: 0000 CR0: ${hex16(cr0)}`);
  print(`CR2: ${hex16(cr2)} CR3: ${hex16(cr3)} CR4: ${hex16(cr4)}`);
}

const hex4 = (value: number): string => value.toString(16).padStart(4, '0');

/** RAX ... RDI, RBP; R08 and R09 have two digits. */
const LABELS: Readonly<Record<string, string>> = Object.fromEntries([
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp'].map((name) => [name, name.toUpperCase()]),
  ...Array.from({ length: 8 }, (_, i) => [`r${i + 8}`, `R${String(i + 8).padStart(2, '0')}`]),
]);

/** @kernel show_opcodes arch/x86/kernel/dumpstack.c read */
export function showOpcodes(context: FaultContext, regs: X86PtRegs): void {
  if (compiledNow(context, 'show_opcodes', regs, '') !== null) return;
  const prologue = virtAddr(regs.ip - BigInt(PROLOGUE_SIZE));
  const bytes = context.readMemory(prologue, PROLOGUE_SIZE + 1 + EPILOGUE_SIZE);
  const print = (text: string) => context.kernel.printk(`Code: ${text}`, 'show_opcodes');
  if (bytes === null) {
    print(`Unable to access opcode bytes at ${hex(prologue)}.`);
    return;
  }
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'));
  text[PROLOGUE_SIZE] = `<${text[PROLOGUE_SIZE]}>`;
  print(text.join(' '));
}

/**
 * show_trace_log_lvl(): every kernel-text address on the stack, with "? " before those that the unwinder did not come
 * by. Only the task's stack is shown.
 * @kernel show_trace_log_lvl arch/x86/kernel/dumpstack.c read - the task's stack only
 */
export function showTraceLogLvl(context: FaultContext, regs: X86PtRegs): void {
  const { kernel, current } = context;
  kernel.printk('Call Trace:', 'show_trace_log_lvl');
  const state = new UnwindState(context, regs);
  // __unwind_start() skips the frame of the registers, which RIP has told already.
  if (!state.done) state.next();
  let slot = (regs.sp + 7n) & ~7n;
  if (!onStack(current, slot)) {
    // In the guard page below the stack, the trace starts at its end.
    slot = (slot + 4095n) & ~4095n;
    if (!onStack(current, slot)) return;
  }
  kernel.printk(' <TASK>', 'show_trace_log_lvl');
  for (; onStack(current, slot); slot += 8n) {
    const addr = context.readWord(slot);
    if (addr === null || !context.kernelTextAddress(addr)) continue;
    const reliable = slot === state.returnAddressPtr();
    const symbol = formatBacktrace(context, virtAddr(addr));
    kernel.printk(` ${reliable ? '' : '? '}${symbol}`, 'show_trace_log_lvl');
    if (reliable) state.next();
  }
  kernel.printk(' </TASK>', 'show_trace_log_lvl');
}
