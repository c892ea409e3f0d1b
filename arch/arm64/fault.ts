// The abort path of an AArch64 kernel for faults taken at EL1: arch/arm64/mm/fault.c, function by function and in its
// order, from the entry's stack check on. Each function returns the path of the one it calls; __do_kernel_fault() alone
// goes on after others. Left out: kprobes, EFI, protected KVM, software PAN, compat alignment fixups, APEI, the KASAN
// report and the switching-off of tag checks, and everything that happens to user-mode faults.
import { hex, hi32, lo32, u64 } from '../../emulator/bits.ts';
import { WRITE } from '../../emulator/engine.ts';
import { type Activity, onward } from '../../mm/context.ts';
import type { FaultContext, FaultOutcome, FaultPath, HardwareFault } from '../arch.ts';
import type { Handled, PathFunction } from '../compiled-path.ts';
import { oops } from '../oops.ts';
import { type Abort, abortOf, dead, entered } from './abort.ts';
import { isTtbr0Addr } from './address-ranges.ts';
import { esrFsc, isEl1InstructionAbort } from './esr.ts';
import { insnMayAccessUser } from './extable.ts';
import { type FaultHandlerName, faultInfo } from './fault-info.ts';
import { doKernelFault, isEl1PermissionFault } from './kernel-fault.ts';
import { die, panicBadStack } from './oops.ts';
import { type Arm64PtRegs, PT_REGS_SIZE } from './registers.ts';

/** A handler of fault_info[]. */
type Handler = (context: FaultContext, regs: Arm64PtRegs, abort: Abort) => Handled;

/** The functions of fault_info[]. */
const HANDLERS: Readonly<Record<FaultHandlerName, Handler>> = {
  do_bad: doBad,
  do_translation_fault: doTranslationFault,
  do_page_fault: doPageFault,
  do_sea: doSea,
  do_tag_check_fault: doTagCheckFault,
  do_alignment_fault: doAlignmentFault,
};

/**
 * The exception entry of an abort from EL1 (el1h_64_sync, el1_abort()): the registers go onto the stack, and
 * do_mem_abort() runs; without room for them the kernel panics.
 * @param fault FAR_EL1 and ESR_EL1
 * @kernel el1_abort arch/arm64/kernel/entry-common.c read
 */
export function el1Abort(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
): FaultPath {
  if (!canSaveRegisters(context, regs)) {
    return panicBadStack(context, regs, fault.code, fault.addr);
  }
  const compiled = context.compiled?.paths.el1_abort?.(regs, fault);
  return (compiled as FaultPath | undefined) ?? doMemAbort(context, regs, fault);
}

const FRAME = BigInt(PT_REGS_SIZE);

/**
 * True if the entry code can store struct pt_regs below the interrupted sp. On unmapped memory its stores fault again
 * and again, each time lower, until sp's bit THREAD_SHIFT gives it away.
 */
function canSaveRegisters(context: FaultContext, regs: Arm64PtRegs): boolean {
  if (regs.userMode) return true;
  const { stack, stackEnd } = context.current;
  const { sp } = regs;
  if (sp <= stackEnd && sp >= stack && hi32(sp) === hi32(stack)) {
    if (lo32(sp) - lo32(stack) >= PT_REGS_SIZE) return true;
  }
  const bottom = u64(sp - FRAME);
  const writable = (va: bigint) => context.paging.walk(hi32(va), lo32(va), WRITE, false);
  return writable(bottom) && writable(sp - 8n);
}

/**
 * do_mem_abort()
 * @throws RangeError for a user-mode abort, which ends in a signal: not modelled here
 * @kernel do_mem_abort arch/arm64/mm/fault.c read
 */
export function doMemAbort(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
): FaultPath {
  const abort = abortOf(fault);
  const info = faultInfo(esrFsc(abort.esr));
  const at = context.kernel.events.on ? { pc: context.formatSymbol(regs.ip) } : undefined;
  const compiled = entered(context, 'do_mem_abort', regs, abort, at);
  if (compiled !== null) return compiled as FaultPath;
  if (context.kernel.events.on) {
    context.kernel.decide('do_mem_abort', `${info.name}: ${info.fn}()`);
  }
  if (regs.userMode) {
    throw new RangeError(`a user-mode abort at ${hex(fault.addr)} is not the kernel's own`);
  }
  const handled = HANDLERS[info.fn](context, regs, abort);
  if (handled === null) return dead(context, info.name, regs, abort);
  if (context.compiled === null) return handled as FaultPath;
  return orDead(context, handled, info.name, regs, abort);
}

/** Compiled handlers say at their end whether they handled it. */
function* orDead(
  context: FaultContext,
  handled: Handled,
  message: string,
  regs: Arm64PtRegs,
  abort: Abort,
): Activity<FaultOutcome> {
  return (yield* onward(handled)) ?? (yield* onward(dead(context, message, regs, abort)));
}

/** The fault is nobody's: do_bad(). */
function doBad(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  return context.compiled?.paths.do_bad?.(regs, abort.fault) ?? null;
}

/** @kernel do_translation_fault arch/arm64/mm/fault.c read */
function doTranslationFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const compiled = entered(context, 'do_translation_fault', regs, abort);
  if (compiled !== null) return compiled;
  if (isTtbr0Addr(context, abort.addr)) return doPageFault(context, regs, abort);
  return doBadArea(context, regs, abort);
}

/**
 * do_page_fault(), the parts that kernel-mode code reaches; the task's mm maps nothing.
 * @kernel do_page_fault arch/arm64/mm/fault.c read
 */
function doPageFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const { kernel, current } = context;
  const { addr, esr } = abort;
  const compiled = entered(context, 'do_page_fault', regs, abort);
  if (compiled !== null) return compiled;
  if (current.faulthandlerDisabled || !current.hasMm) {
    if (kernel.events.on) {
      kernel.decide('do_page_fault', 'page faults are disabled, or the task has no mm');
    }
    return doKernelFault(context, regs, abort);
  }
  if (isTtbr0Addr(context, addr) && isEl1PermissionFault(context, regs, abort)) {
    if (isEl1InstructionAbort(esr)) return dead(context, 'execution of user memory', regs, abort);
    if (!insnMayAccessUser(context, regs.ip, abort.fault.code)) {
      return dead(context, 'access to user memory outside uaccess routines', regs, abort);
    }
  }
  if (kernel.events.on) kernel.decide('do_page_fault', 'no VMA holds the address');
  return doKernelFault(context, regs, abort);
}

/** @kernel do_bad_area arch/arm64/mm/fault.c read */
function doBadArea(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const compiled = entered(context, 'do_bad_area', regs, abort);
  if (compiled !== null) return compiled;
  return doKernelFault(context, regs, abort);
}

/** @kernel do_alignment_fault arch/arm64/mm/fault.c read */
function doAlignmentFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const compiled = entered(context, 'do_alignment_fault', regs, abort);
  if (compiled !== null) return compiled;
  return doBadArea(context, regs, abort);
}

/**
 * do_tag_check_fault(): without FEAT_MTE_TAGGED_FAR bits 63:60 of FAR_EL1 are unknown; bit 55 says what they were.
 * @kernel do_tag_check_fault arch/arm64/mm/fault.c read
 */
function doTagCheckFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const compiled = entered(context, 'do_tag_check_fault', regs, abort);
  if (compiled !== null) return compiled;
  return doBadArea(context, regs, abort);
}

/**
 * do_sea(): an external abort, which the kernel cannot outlive.
 * @kernel do_sea arch/arm64/mm/fault.c read
 */
function doSea(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const compiled = entered(context, 'do_sea', regs, abort);
  if (compiled !== null) return compiled;
  const { name } = faultInfo(esrFsc(abort.esr));
  context.kernel.machineCheck = true;
  return oops(context, () => die(context, name, regs, abort.fault.code));
}

const own =
  (fn: (context: FaultContext, regs: Arm64PtRegs, abort: Abort) => Handled): PathFunction =>
  (context, regs, fault) =>
    fn(context, regs as Arm64PtRegs, abortOf(fault));

/** The functions of the path, for compiled code that calls them. */
export const ARM64_PATH: Readonly<Record<string, PathFunction>> = {
  do_mem_abort: (context, regs, fault) => doMemAbort(context, regs as Arm64PtRegs, fault),
  ...Object.fromEntries(Object.entries(HANDLERS).map(([name, fn]) => [name, own(fn)])),
  do_bad_area: own(doBadArea),
  __do_kernel_fault: own(doKernelFault),
};
