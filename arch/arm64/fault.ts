// The abort path of an AArch64 kernel for faults taken at EL1: arch/arm64/mm/fault.c, function by function and in its
// order, from the entry's stack check on. Each function returns the path of the one it calls; __do_kernel_fault() alone
// goes on after others. Left out: kprobes, EFI, protected KVM, software PAN, compat alignment fixups, APEI, the KASAN
// report and the switching-off of tag checks, and everything that happens to user-mode faults.
import type { VirtAddr } from '../../emulator/address.ts';
import { hex, hex16, hi32, lo32 } from '../../emulator/bits.ts';
import { READ, WRITE } from '../../emulator/engine.ts';
import { finish } from '../../mm/context.ts';
import type { FaultContext, FaultPath, HardwareFault } from '../arch.ts';
import { oops } from '../oops.ts';
import { repairedBy, SPURIOUS, settled } from '../path.ts';
import { isTtbr0Addr, untaggedAddr } from './address-ranges.ts';
import {
  esrFsc,
  esrWnr,
  isEl1DataAbort,
  isEl1InstructionAbort,
  isEl1TagCheckFault,
  isPermissionFault,
  isTranslationFault,
} from './esr.ts';
import { fixupException, insnMayAccessUser } from './extable.ts';
import { type FaultHandlerName, faultInfo } from './fault-info.ts';
import { die, dieKernelFault, panicBadStack } from './oops.ts';
import { type Arm64PtRegs, PT_REGS_SIZE } from './registers.ts';

/** A handler of fault_info[]: the path, or null where the kernel's returns non-zero ("not handled"). */
type Handler = (
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
) => FaultPath | null;

/** The functions of fault_info[]. */
const HANDLERS: Readonly<Record<FaultHandlerName, Handler>> = {
  do_bad: () => null,
  do_translation_fault: doTranslationFault,
  do_page_fault: doPageFault,
  do_sea: doSea,
  do_tag_check_fault: doTagCheckFault,
  do_alignment_fault: doAlignmentFault,
};

/**
 * The exception entry of an abort from EL1 (el1h_64_sync, el1_abort()): the registers go onto the stack, and
 * do_mem_abort() runs; without room for them the kernel panics.
 */
export function el1Abort(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
): FaultPath {
  if (!canSaveRegisters(context, regs)) {
    return settled(panicBadStack(context, regs, fault.code, fault.addr));
  }
  return doMemAbort(context, regs, fault);
}

/**
 * True if the entry code can store struct pt_regs below the interrupted sp. On unmapped memory its stores fault again
 * and again, each time lower, until sp's bit THREAD_SHIFT gives it away.
 */
export function canSaveRegisters(context: FaultContext, regs: Arm64PtRegs): boolean {
  if (regs.userMode) return true;
  const { stack, stackEnd } = context.current;
  const bottom = regs.sp - BigInt(PT_REGS_SIZE);
  if (bottom >= stack && regs.sp <= stackEnd) return true;
  const writable = (va: bigint) => context.paging.walk(hi32(va), lo32(va), WRITE, false);
  return writable(bottom) && writable(regs.sp - 8n);
}

/** do_mem_abort() */
export function doMemAbort(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
): FaultPath {
  const info = faultInfo(esrFsc(fault.code));
  const addr = untaggedAddr(fault.addr);
  if (context.kernel.events.on) {
    announce(context, 'do_mem_abort', fault, { pc: context.formatSymbol(regs.ip) });
    context.kernel.decide('do_mem_abort', `${info.name}: ${info.fn}()`);
  }
  return (
    HANDLERS[info.fn](context, regs, fault, addr) ??
    settled(dieKernelFault(context, info.name, addr, fault.code, kernelRegs(regs, addr)))
  );
}

/** do_translation_fault() */
function doTranslationFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_translation_fault', fault);
  if (isTtbr0Addr(context, addr)) return doPageFault(context, regs, fault, addr);
  return doBadArea(context, regs, fault, addr);
}

/** do_page_fault(), the parts that kernel-mode code reaches; the task's mm maps nothing. */
function doPageFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
): FaultPath {
  const { kernel, current } = context;
  const esr = fault.code;
  if (kernel.events.on) announce(context, 'do_page_fault', fault);
  if (current.faulthandlerDisabled || !current.hasMm) {
    if (kernel.events.on) {
      kernel.decide('do_page_fault', 'page faults are disabled, or the task has no mm');
    }
    return doKernelFault(context, regs, fault, addr);
  }
  if (isTtbr0Addr(context, addr) && isEl1PermissionFault(esr)) {
    if (isEl1InstructionAbort(esr)) {
      return settled(dieKernelFault(context, 'execution of user memory', addr, esr, regs));
    }
    if (!insnMayAccessUser(context, regs.ip, esr)) {
      const message = 'access to user memory outside uaccess routines';
      return settled(dieKernelFault(context, message, addr, esr, regs));
    }
  }
  if (kernel.events.on) kernel.decide('do_page_fault', 'no VMA holds the address');
  return doKernelFault(context, regs, fault, addr);
}

/** do_bad_area() */
function doBadArea(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_bad_area', fault);
  return doKernelFault(context, regs, fault, addr);
}

/** do_alignment_fault() */
function doAlignmentFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_alignment_fault', fault);
  return doBadArea(context, regs, fault, addr);
}

/** do_tag_check_fault(): without FEAT_MTE_TAGGED_FAR bits 63:60 of FAR_EL1 are unknown; bit 55 says what they were. */
function doTagCheckFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_tag_check_fault', fault);
  return doBadArea(context, regs, fault, addr);
}

/** do_sea(): an external abort, which the kernel cannot outlive. */
function doSea(context: FaultContext, regs: Arm64PtRegs, fault: HardwareFault): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_sea', fault);
  const { name } = faultInfo(esrFsc(fault.code));
  return settled(oops(context, () => die(context, name, regs, fault.code, true)));
}

/** is_el1_permission_fault(), with the CPU's own PAN. */
const isEl1PermissionFault = (esr: bigint): boolean =>
  (isEl1DataAbort(esr) || isEl1InstructionAbort(esr)) && isPermissionFault(esrFsc(esr));

/**
 * is_spurious_el1_translation_fault(): the address translates by now, or faults for another reason. AT S1E1R asks as
 * a privileged read would, and changes no table.
 */
export function isSpuriousEl1TranslationFault(
  context: FaultContext,
  addr: VirtAddr,
  esr: bigint,
): boolean {
  if (!isEl1DataAbort(esr) || !isTranslationFault(esrFsc(esr))) return false;
  if (context.paging.walk(hi32(addr), lo32(addr), READ, false)) return true;
  return !isTranslationFault(context.paging.faultCode & 0x3f);
}

/**
 * __do_kernel_fault(): exception table, spurious faults, tag checks; permission faults and null pointers are fatal;
 * KFENCE and the arena are asked for translation faults; then the oops.
 */
function* doKernelFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  fault: HardwareFault,
  addr: VirtAddr,
): FaultPath {
  const { kernel } = context;
  const esr = fault.code;
  kernelRegs(regs, addr);
  if (kernel.events.on) announce(context, '__do_kernel_fault', fault);
  if (kernel.stepping) yield { kind: 'call', what: '__do_kernel_fault' };
  if (!isEl1InstructionAbort(esr)) {
    const fixed = fixupException(context, regs, esr);
    if (kernel.events.on) {
      kernel.decide('fixup_exception', fixed === null ? 'no handler takes it' : 'handled');
    }
    if (fixed !== null) return kernel.stepping ? yield* fixed : finish(fixed);
  }
  if (isSpuriousEl1TranslationFault(context, addr, esr)) {
    if (kernel.events.on) {
      kernel.decide('is_spurious_el1_translation_fault', 'the address translates by now');
    }
    kernel.printk(`Ignoring spurious kernel translation fault at virtual address ${hex16(addr)}`);
    return SPURIOUS;
  }
  // do_tag_recovery() switches tag checks off, so that the access passes.
  if (isEl1TagCheckFault(esr)) return SPURIOUS;
  if (isEl1PermissionFault(esr)) {
    return dieKernelFault(context, permissionMessage(esr), addr, esr, regs);
  }
  if (addr < BigInt(2 ** context.pte.pageShift)) {
    return dieKernelFault(context, 'NULL pointer dereference', addr, esr, regs);
  }
  if (isTranslationFault(esrFsc(esr))) {
    const isWrite = esrWnr(esr);
    for (const recoverer of context.recoverers) {
      const asked = recoverer.handlePageFault(addr, isWrite, regs);
      const handled = kernel.stepping ? yield* asked : finish(asked);
      if (kernel.events.on) kernel.decide('__do_kernel_fault', `${recoverer.fn}(): ${handled}`);
      if (handled) return repairedBy(recoverer);
    }
  } else if (kernel.events.on) {
    kernel.decide('__do_kernel_fault', 'not a translation fault: nobody is asked');
  }
  return dieKernelFault(context, 'paging request', addr, esr, regs);
}

function permissionMessage(esr: bigint): string {
  if (esrWnr(esr)) return 'write to read-only memory';
  if (isEl1InstructionAbort(esr)) return 'execute from non-executable memory';
  return 'read from unreadable memory';
}

/** @throws RangeError for a user-mode access, which ends in a signal: not modelled here */
function kernelRegs(regs: Arm64PtRegs, addr: VirtAddr): Arm64PtRegs {
  if (regs.userMode) {
    throw new RangeError(`a user-mode fault at ${hex(addr)} is not the kernel's own`);
  }
  return regs;
}

/** A function of the path is entered. Call only when `events.on`. */
function announce(
  context: FaultContext,
  fn: string,
  fault: HardwareFault,
  more: Readonly<Record<string, string>> = {},
): void {
  context.kernel.enter(fn, { far: hex(fault.addr), esr: hex(fault.code), ...more });
}
