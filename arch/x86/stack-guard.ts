// Overruns of the kernel stack: delivery of an exception onto it, the double fault that follows where that fails, and
// handle_stack_overflow() (arch/x86/kernel/traps.c). The #DF handler has a stack of its own (IST), so that it can still
// report. Left out: delivery through the IST in general, and stacks other than the task's.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex16, hi32, lo32 } from '../../emulator/bits.ts';
import { WRITE } from '../../emulator/engine.ts';
import type { FaultContext, FaultOutcome, FaultPath, Task } from '../arch.ts';
import { compiledNow, compiledPath } from '../compiled-path.ts';
import { oops } from '../oops.ts';
import { die, oopsEnd } from './oops.ts';
import type { X86PtRegs } from './registers.ts';

/** SS, RSP, RFLAGS, CS, RIP and the error code. SDM Vol. 3A, 6.14.2. */
const EXCEPTION_FRAME = 48n;

/** rsp is aligned down to 16 bytes before the frame is pushed in 64-bit mode. SDM Vol. 3A, 6.14.2. */
const frameTop = (sp: bigint): bigint => sp & ~0xfn;

/** Room for a frame wherever rsp is aligned to. */
const ROOMY = Number(EXCEPTION_FRAME) + 15;

/** True if the CPU can push the frame of an exception taken in kernel mode at the interrupted rsp. */
export function canDeliver(context: FaultContext, regs: X86PtRegs): boolean {
  if (regs.userMode) return true;
  const { stack, stackEnd } = context.current;
  const { sp } = regs;
  if (sp <= stackEnd && sp >= stack && hi32(sp) === hi32(stack)) {
    if (lo32(sp) - lo32(stack) >= ROOMY) return true;
  }
  const top = frameTop(sp);
  return writable(context, top - 8n) && writable(context, top - EXCEPTION_FRAME);
}

function writable(context: FaultContext, va: bigint): boolean {
  return context.paging.walk(hi32(va), lo32(va), WRITE, false);
}

/**
 * get_stack_guard_info(): `addr` lies in the page below the task's stack.
 * @kernel get_stack_guard_info arch/x86/include/asm/stacktrace.h read - the task's stack only
 */
export const getStackGuardInfo = (task: Task, addr: bigint): boolean =>
  addr < task.stack && addr >= task.stack - 4096n;

/**
 * handle_stack_overflow()
 * @param inInterrupt true on the double fault's way, which is NMI-like
 * @kernel handle_stack_overflow arch/x86/kernel/traps.c read
 */
export function handleStackOverflow(
  context: FaultContext,
  regs: X86PtRegs,
  addr: VirtAddr,
  inInterrupt: boolean,
): FaultOutcome {
  const { kernel, current } = context;
  if (kernel.events.on) kernel.enter('handle_stack_overflow', { addr: hex16(addr) });
  return oops(context, () => {
    kernel.reportInInterrupt = inInterrupt;
    if (compiledNow(context, 'handle_stack_overflow', regs, addr, 0n) !== null) return;
    const range = `${hex16(current.stack)}..${hex16(current.stackEnd)}`;
    kernel.printk(
      `BUG: TASK stack guard page was hit at ${hex16(addr)} (stack is ${range})`,
      'handle_stack_overflow',
    );
    die(context, 'stack guard page', regs, 0, addr);
    oopsEnd(context, regs, addr, inInterrupt);
  });
}

/**
 * exc_double_fault(), after a fault that could not be delivered (see {@link canDeliver}): CR2 names the first byte of
 * the frame that could not be pushed. Off the stack's guard page the kernel reports what it can and halts.
 * @kernel exc_double_fault arch/x86/kernel/traps.c read
 */
export function excDoubleFault(context: FaultContext, regs: X86PtRegs): FaultPath {
  const { kernel, current } = context;
  // A double fault is an abort, not a fault.
  regs.resumeFlag = false;
  const cr2 = virtAddr(frameTop(regs.sp) - 8n);
  if (kernel.events.on) kernel.enter('exc_double_fault', { cr2: hex16(cr2) });
  const fault = { addr: cr2, code: 0n, access: 'write' } as const;
  const compiled = compiledPath(context, 'exc_double_fault', regs, fault);
  if (compiled !== null) return compiled;
  if (getStackGuardInfo(current, cr2)) return handleStackOverflow(context, regs, cr2, true);
  return oops(
    context,
    () => {
      kernel.printk('PANIC: double fault, error_code: 0x0', 'exc_double_fault');
      die(context, 'double fault', regs, 0, cr2);
      oopsEnd(context, regs, cr2, true);
    },
    'double fault',
  );
}
