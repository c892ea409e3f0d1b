// The abort path of an AArch64 kernel for faults taken at EL1: arch/arm64/mm/fault.c, function by function and in its
// order, from the entry's stack check on. Each function returns the path of the one it calls; __do_kernel_fault() alone
// goes on after others. Left out: kprobes, EFI, protected KVM, software PAN, compat alignment fixups, APEI, the KASAN
// report and the switching-off of tag checks, and everything that happens to user-mode faults.
import type { VirtAddr } from '../../emulator/address.ts';
import { hex, hex16, hi32, lo32, u64 } from '../../emulator/bits.ts';
import { READ, WRITE } from '../../emulator/engine.ts';
import { type Activity, LOOKED, onward } from '../../mm/context.ts';
import type { FaultContext, FaultOutcome, FaultPath, HardwareFault } from '../arch.ts';
import { oops } from '../oops.ts';
import { askRecoverers, askRecoverersInSteps, SPURIOUS } from '../path.ts';
import { isTtbr0Addr, untaggedAddr } from './address-ranges.ts';
import {
  esrFsc,
  esrWnr,
  isEl1DataAbort,
  isEl1InstructionAbort,
  isEl1PermissionFault,
  isEl1TagCheckFault,
  isTranslationFault,
} from './esr.ts';
import { fixupException, insnMayAccessUser } from './extable.ts';
import { type FaultHandlerName, faultInfo } from './fault-info.ts';
import { die, dieKernelFault, panicBadStack } from './oops.ts';
import { type Arm64PtRegs, PT_REGS_SIZE } from './registers.ts';

/** One abort, with what every function asks of it worked out. */
interface Abort {
  /** FAR_EL1, untagged. */
  readonly addr: VirtAddr;
  /** ESR_EL1[31:0]. */
  readonly esr: number;
  readonly fault: HardwareFault;
}

/** A handler of fault_info[]: the path, or null where the kernel's returns non-zero ("not handled"). */
type Handler = (context: FaultContext, regs: Arm64PtRegs, abort: Abort) => FaultPath | null;

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
  return doMemAbort(context, regs, fault);
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
  const abort = { addr: untaggedAddr(fault.addr), esr: lo32(fault.code), fault };
  const info = faultInfo(esrFsc(abort.esr));
  if (context.kernel.events.on) {
    announce(context, 'do_mem_abort', abort, { pc: context.formatSymbol(regs.ip) });
    context.kernel.decide('do_mem_abort', `${info.name}: ${info.fn}()`);
  }
  if (regs.userMode) {
    throw new RangeError(`a user-mode abort at ${hex(fault.addr)} is not the kernel's own`);
  }
  return HANDLERS[info.fn](context, regs, abort) ?? dead(context, info.name, regs, abort);
}

/** The path of an abort that nobody can handle. */
const dead = (
  context: FaultContext,
  message: string,
  regs: Arm64PtRegs,
  { addr, fault }: Abort,
): FaultPath => dieKernelFault(context, message, addr, fault.code, regs);

/** @kernel do_translation_fault arch/arm64/mm/fault.c read */
function doTranslationFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_translation_fault', abort);
  if (isTtbr0Addr(context, abort.addr)) return doPageFault(context, regs, abort);
  return doBadArea(context, regs, abort);
}

/**
 * do_page_fault(), the parts that kernel-mode code reaches; the task's mm maps nothing.
 * @kernel do_page_fault arch/arm64/mm/fault.c read
 */
function doPageFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  const { kernel, current } = context;
  const { addr, esr } = abort;
  if (kernel.events.on) announce(context, 'do_page_fault', abort);
  if (current.faulthandlerDisabled || !current.hasMm) {
    if (kernel.events.on) {
      kernel.decide('do_page_fault', 'page faults are disabled, or the task has no mm');
    }
    return doKernelFault(context, regs, abort);
  }
  if (isTtbr0Addr(context, addr) && isEl1PermissionFault(esr)) {
    if (isEl1InstructionAbort(esr)) return dead(context, 'execution of user memory', regs, abort);
    if (!insnMayAccessUser(context, regs.ip, esr)) {
      return dead(context, 'access to user memory outside uaccess routines', regs, abort);
    }
  }
  if (kernel.events.on) kernel.decide('do_page_fault', 'no VMA holds the address');
  return doKernelFault(context, regs, abort);
}

/** @kernel do_bad_area arch/arm64/mm/fault.c read */
function doBadArea(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_bad_area', abort);
  return doKernelFault(context, regs, abort);
}

/** @kernel do_alignment_fault arch/arm64/mm/fault.c read */
function doAlignmentFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_alignment_fault', abort);
  return doBadArea(context, regs, abort);
}

/**
 * do_tag_check_fault(): without FEAT_MTE_TAGGED_FAR bits 63:60 of FAR_EL1 are unknown; bit 55 says what they were.
 * @kernel do_tag_check_fault arch/arm64/mm/fault.c read
 */
function doTagCheckFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_tag_check_fault', abort);
  return doBadArea(context, regs, abort);
}

/**
 * do_sea(): an external abort, which the kernel cannot outlive.
 * @kernel do_sea arch/arm64/mm/fault.c read
 */
function doSea(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  if (context.kernel.events.on) announce(context, 'do_sea', abort);
  const { name } = faultInfo(esrFsc(abort.esr));
  return oops(context, () => die(context, name, regs, abort.fault.code, true));
}

/**
 * is_spurious_el1_translation_fault(): the address translates by now, or faults for another reason. AT S1E1R asks as
 * a privileged read would, and changes no table.
 * @param esr ESR_EL1[31:0]
 * @kernel is_spurious_el1_translation_fault arch/arm64/mm/fault.c read
 */
function isSpuriousEl1TranslationFault(
  context: FaultContext,
  addr: VirtAddr,
  esr: number,
): boolean {
  if (!isEl1DataAbort(esr) || !isTranslationFault(esrFsc(esr))) return false;
  noteWalk(context, addr);
  const refused = context.addressTranslate(addr);
  // The ISB between AT and the read of PAR_EL1.
  context.kernel.tables?.synchronized();
  return refused === null || !isTranslationFault(esrFsc(refused));
}

/** Tells whoever asks which entries a walk reads. */
function noteWalk({ kernel, paging }: FaultContext, addr: VirtAddr): void {
  if (kernel.access === null) return;
  for (const { entryAddr } of paging.inspect(addr, READ).levels)
    kernel.access.word(entryAddr, LOOKED);
}

/**
 * __do_kernel_fault(): exception table, spurious faults, tag checks; permission faults and null pointers are fatal;
 * KFENCE and the arena are asked for translation faults; then the oops.
 * @kernel __do_kernel_fault arch/arm64/mm/fault.c read - without mainline's branch for protected KVM
 */
function doKernelFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  const { kernel } = context;
  if (kernel.events.on) announce(context, FN, abort);
  if (kernel.stepping) return doKernelFaultInSteps(context, regs, abort);
  return (
    withoutRecoverers(context, regs, abort) ??
    askRecoverers(context, FN, abort.addr, esrWnr(abort.esr), regs) ??
    dieKernelFault(context, 'paging request', abort.addr, abort.fault.code, regs)
  );
}

const FN = '__do_kernel_fault';

function* doKernelFaultInSteps(
  context: FaultContext,
  regs: Arm64PtRegs,
  abort: Abort,
): Activity<FaultOutcome> {
  yield { kind: 'call', what: FN, translates: abort.addr };
  const before = withoutRecoverers(context, regs, abort);
  if (before !== null) return yield* onward(before);
  const { addr, esr, fault } = abort;
  const repaired = yield* askRecoverersInSteps(context, FN, addr, esrWnr(esr), regs);
  return repaired ?? dieKernelFault(context, 'paging request', addr, fault.code, regs);
}

/** The path as far as KFENCE and the arena, who are asked where it comes to nothing: null. */
function withoutRecoverers(
  context: FaultContext,
  regs: Arm64PtRegs,
  abort: Abort,
): FaultPath | null {
  const { kernel } = context;
  const { addr, esr, fault } = abort;
  if (!isEl1InstructionAbort(esr)) {
    const fixed = fixupException(context, regs, esr);
    if (kernel.events.on) {
      kernel.decide('fixup_exception', fixed === null ? 'no handler takes it' : 'handled');
    }
    if (fixed !== null) return fixed;
  }
  if (isSpuriousEl1TranslationFault(context, addr, esr)) {
    if (kernel.events.on) {
      kernel.decide('is_spurious_el1_translation_fault', 'the address translates by now');
    }
    kernel.printk(
      `Ignoring spurious kernel translation fault at virtual address ${hex16(addr)}`,
      FN,
    );
    return SPURIOUS;
  }
  // do_tag_recovery() switches tag checks off, so that the access passes.
  if (isEl1TagCheckFault(esr)) return SPURIOUS;
  if (isEl1PermissionFault(esr)) {
    return dieKernelFault(context, permissionMessage(esr), addr, fault.code, regs);
  }
  if (hi32(addr) === 0 && lo32(addr) < 2 ** context.pte.pageShift) {
    return dieKernelFault(context, 'NULL pointer dereference', addr, fault.code, regs);
  }
  if (isTranslationFault(esrFsc(esr))) return null;
  if (kernel.events.on) kernel.decide(FN, 'not a translation fault: nobody is asked');
  return dieKernelFault(context, 'paging request', addr, fault.code, regs);
}

/** What __do_kernel_fault() calls a permission fault. @param esr ESR_EL1[31:0] */
function permissionMessage(esr: number): string {
  if (esrWnr(esr)) return 'write to read-only memory';
  if (isEl1InstructionAbort(esr)) return 'execute from non-executable memory';
  return 'read from unreadable memory';
}

/** A function of the path is entered. Call only when `events.on`. */
function announce(
  context: FaultContext,
  fn: string,
  { fault }: Abort,
  more: Readonly<Record<string, string>> = {},
): void {
  context.kernel.enter(fn, { far: hex(fault.addr), esr: hex(fault.code), ...more });
}
