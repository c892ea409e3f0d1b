// What an AArch64 kernel makes of faults of its own: __do_kernel_fault() of arch/arm64/mm/fault.c and what it asks before
// it gives up.
import { hex16, hi32, lo32 } from '../../emulator/bits.ts';
import { type Activity, onward } from '../../mm/context.ts';
import type { FaultContext, FaultOutcome, FaultPath } from '../arch.ts';
import { compiledBool, type Handled } from '../compiled-path.ts';
import { askRecoverers, askRecoverersInSteps, SPURIOUS } from '../path.ts';
import { type Abort, dead, entered, noteWalk } from './abort.ts';
import {
  esrFsc,
  esrWnr,
  isEl1DataAbort,
  isEl1InstructionAbort,
  isEl1PermissionFault as isPermissionFaultOfEl1,
  isEl1TagCheckFault as isTagCheckFaultOfEl1,
  isTranslationFault,
} from './esr.ts';
import { fixupException } from './extable.ts';
import type { Arm64PtRegs } from './registers.ts';

const FN = '__do_kernel_fault';
const FN_SPURIOUS = 'is_spurious_el1_translation_fault';

/**
 * is_spurious_el1_translation_fault(): the address translates by now, or faults for another reason. AT S1E1R asks as
 * a privileged read would, and changes no table.
 * @kernel is_spurious_el1_translation_fault arch/arm64/mm/fault.c read
 */
export function isSpuriousEl1TranslationFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  { addr, esr, fault }: Abort,
): boolean {
  const compiled = compiledBool(context, FN_SPURIOUS, addr, fault.code, regs);
  if (compiled !== null) {
    noteWalk(context, addr);
    return compiled;
  }
  if (!isEl1DataAbort(esr) || !isTranslationFault(esrFsc(esr))) return false;
  noteWalk(context, addr);
  const refused = context.addressTranslate(addr);
  // The ISB between AT and the read of PAR_EL1.
  context.kernel.tables?.synchronized();
  return refused === null || !isTranslationFault(esrFsc(refused));
}

/** A permission fault of EL1, with the CPU's own PAN: is_el1_permission_fault(). */
export function isEl1PermissionFault(
  context: FaultContext,
  regs: Arm64PtRegs,
  { addr, esr, fault }: Abort,
): boolean {
  return (
    compiledBool(context, 'is_el1_permission_fault', addr, fault.code, regs) ??
    isPermissionFaultOfEl1(esr)
  );
}

export function isEl1TagCheckFault(context: FaultContext, { esr, fault }: Abort): boolean {
  return (
    compiledBool(context, 'is_el1_mte_sync_tag_check_fault', fault.code) ??
    isTagCheckFaultOfEl1(esr)
  );
}

/**
 * __do_kernel_fault(): exception table, spurious faults, tag checks; permission faults and null pointers are fatal;
 * KFENCE and the arena are asked for translation faults; then the oops.
 * @kernel __do_kernel_fault arch/arm64/mm/fault.c read - without mainline's branch for protected KVM
 */
export function doKernelFault(context: FaultContext, regs: Arm64PtRegs, abort: Abort): FaultPath {
  const { kernel } = context;
  const compiled = entered(context, FN, regs, abort);
  if (compiled !== null) return compiled as FaultPath;
  if (kernel.stepping || context.compiled !== null) {
    return doKernelFaultInSteps(context, regs, abort);
  }
  // Without compiled code every path says at once whether there is one.
  return (
    (fixedUp(context, regs, abort) as FaultPath | null) ??
    (unfixed(context, regs, abort) as FaultPath | null) ??
    askRecoverers(context, FN, abort.addr, esrWnr(abort.esr), regs) ??
    dead(context, 'paging request', regs, abort)
  );
}

function* doKernelFaultInSteps(
  context: FaultContext,
  regs: Arm64PtRegs,
  abort: Abort,
): Activity<FaultOutcome> {
  const { addr, esr } = abort;
  if (context.kernel.stepping) yield { kind: 'call', what: FN, translates: addr };
  const fixed = yield* onward(fixedUp(context, regs, abort));
  const before = fixed ?? (yield* onward(unfixed(context, regs, abort)));
  if (before !== null) return before;
  const repaired = yield* askRecoverersInSteps(context, FN, addr, esrWnr(esr), regs);
  return repaired ?? (yield* onward(dead(context, 'paging request', regs, abort)));
}

/** What the exception table makes of it: null where no handler takes it. */
const fixedUp = (context: FaultContext, regs: Arm64PtRegs, { esr, fault }: Abort): Handled =>
  isEl1InstructionAbort(esr) ? null : fixupException(context, regs, fault.code);

/** The path behind that as far as KFENCE and the arena, who are asked where it comes to nothing: null. */
function unfixed(context: FaultContext, regs: Arm64PtRegs, abort: Abort): Handled {
  const { kernel } = context;
  const { addr, esr } = abort;
  if (isSpuriousEl1TranslationFault(context, regs, abort)) {
    if (kernel.events.on) kernel.decide(FN_SPURIOUS, 'the address translates by now');
    kernel.printk(
      `Ignoring spurious kernel translation fault at virtual address ${hex16(addr)}`,
      FN,
    );
    return SPURIOUS;
  }
  // do_tag_recovery() switches tag checks off, so that the access passes.
  if (isEl1TagCheckFault(context, abort)) return SPURIOUS;
  if (isEl1PermissionFault(context, regs, abort)) {
    return dead(context, permissionMessage(esr), regs, abort);
  }
  if (hi32(addr) === 0 && lo32(addr) < 2 ** context.pte.pageShift) {
    return dead(context, 'NULL pointer dereference', regs, abort);
  }
  if (isTranslationFault(esrFsc(esr))) return null;
  if (kernel.events.on) kernel.decide(FN, 'not a translation fault: nobody is asked');
  return dead(context, 'paging request', regs, abort);
}

/** What __do_kernel_fault() calls a permission fault. @param esr ESR_EL1[31:0] */
function permissionMessage(esr: number): string {
  if (esrWnr(esr)) return 'write to read-only memory';
  if (isEl1InstructionAbort(esr)) return 'execute from non-executable memory';
  return 'read from unreadable memory';
}
