// The page-fault path of an x86-64 kernel for faults taken in kernel mode: arch/x86/mm/fault.c, function by function
// and in its order. Each function returns the path of the one it calls; page_fault_oops() alone goes on after others.
// Left out: KVM's asynchronous page faults, kmmio, kprobes, EFI, CPU errata (#91, #93, F00F), vsyscall emulation, and
// everything that happens to user-mode faults: mm/ of a process is not modelled here.
import type { VirtAddr } from '../../emulator/address.ts';
import { hex, lo32 } from '../../emulator/bits.ts';
import { type Activity, onward } from '../../mm/context.ts';
import { warnOnce } from '../../mm/warn.ts';
import type { FaultContext, FaultOutcome, FaultPath, HardwareFault } from '../arch.ts';
import {
  type CompiledCall,
  compiledNow,
  compiledPath,
  type PathFunction,
} from '../compiled-path.ts';
import { oops } from '../oops.ts';
import { type TableEntry, tableEntries } from '../page-table.ts';
import { askRecoverers, askRecoverersInSteps, FIXED_UP, isDead, SPURIOUS } from '../path.ts';
import { fixupException } from './extable.ts';
import { PF_I, PF_P, PF_PK, PF_RSVD, PF_U, PF_W, VECTOR_PF } from './fault-code.ts';
import { die, dumpPagetable, hasTable, oopsEnd, showFaultOops } from './oops.ts';
import { CR4_SMAP } from './paging-state.ts';
import { EFLAGS_AC, EFLAGS_IF, type X86PtRegs } from './registers.ts';
import { controlRegisters } from './show-regs.ts';
import {
  canDeliver,
  excDoubleFault,
  getStackGuardInfo,
  handleStackOverflow,
} from './stack-guard.ts';

/** The vsyscall page: VSYSCALL_ADDR, 4 KiB. */
const VSYSCALL_ADDR = 0xffff_ffff_ff60_0000n;

/**
 * Delivers a page fault: the CPU pushes its frame and exc_page_fault() runs; where it cannot push, a double fault.
 * @param fault CR2 and the error code
 */
export function deliverPageFault(
  context: FaultContext,
  regs: X86PtRegs,
  fault: HardwareFault,
): FaultPath {
  if (!canDeliver(context, regs)) return excDoubleFault(context, regs);
  return excPageFault(context, regs, fault);
}

/** @kernel exc_page_fault arch/x86/mm/fault.c read - registers and CR2 come with the call */
export function excPageFault(
  context: FaultContext,
  regs: X86PtRegs,
  fault: HardwareFault,
): FaultPath {
  regs.resumeFlag = true;
  const more = context.kernel.events.on ? { ip: context.formatSymbol(regs.ip) } : undefined;
  const compiled = entered(context, 'exc_page_fault', regs, fault, more);
  if (compiled !== null) return compiled;
  return handlePageFault(context, regs, fault);
}

/** @kernel handle_page_fault arch/x86/mm/fault.c read */
function handlePageFault(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultPath {
  const { kernel } = context;
  const compiled = entered(context, 'handle_page_fault', regs, fault);
  if (compiled !== null) return compiled;
  const kernelSpace = faultInKernelSpace(context, fault.addr);
  if (kernel.events.on) {
    kernel.decide('fault_in_kernel_space', kernelSpace ? 'a kernel address' : 'a user address');
  }
  return kernelSpace
    ? doKernAddrFault(context, regs, fault)
    : doUserAddrFault(context, regs, fault);
}

/**
 * fault_in_kernel_space(): at or above TASK_SIZE_MAX, the vsyscall page excepted.
 * @kernel fault_in_kernel_space arch/x86/mm/fault.c read
 */
export function faultInKernelSpace(context: FaultContext, addr: VirtAddr): boolean {
  if (context.compiled !== null) {
    const compiled = compiledNow(context, 'fault_in_kernel_space', addr);
    if (compiled !== null) return lo32(compiled) !== 0;
  }
  if (addr >= VSYSCALL_ADDR && addr < VSYSCALL_ADDR + 4096n) return false;
  return addr >= (context.kernel.config.la57 ? TASK_SIZE_MAX_LA57 : TASK_SIZE_MAX);
}

/** One page short of the lower half (asm/page_64_types.h). */
const TASK_SIZE_MAX = 0x0000_7fff_ffff_f000n;
const TASK_SIZE_MAX_LA57 = 0x00ff_ffff_ffff_f000n;

/** @kernel do_kern_addr_fault arch/x86/mm/fault.c read */
function doKernAddrFault(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultPath {
  const { kernel } = context;
  const compiled = entered(context, 'do_kern_addr_fault', regs, fault);
  if (compiled !== null) return compiled;
  if (lo32(fault.code) & PF_PK) warnOnce(kernel, 'do_kern_addr_fault', 'X86_PF_PK');
  const spurious = spuriousKernelFault(context, fault);
  if (kernel.events.on) {
    kernel.decide('spurious_kernel_fault', spurious ? 'the entry permits it now' : 'not spurious');
  }
  if (spurious) return SPURIOUS;
  return badAreaNosemaphore(context, regs, fault);
}

/**
 * spurious_kernel_fault(): the TLB held fewer rights than the tables of init_mm grant by now. Only a write to, or a
 * fetch from, a page that was present can be one; accessed, dirty and user bits do not count.
 * @kernel spurious_kernel_fault arch/x86/mm/fault.c read
 */
export function spuriousKernelFault(
  context: FaultContext,
  fault: Pick<HardwareFault, 'addr' | 'code'>,
): boolean {
  if (context.compiled !== null) {
    const compiled = compiledNow(context, 'spurious_kernel_fault', fault.code, fault.addr);
    if (compiled !== null) return lo32(compiled) !== 0;
  }
  const code = lo32(fault.code);
  if (code !== (PF_W | PF_P) && code !== (PF_I | PF_P)) return false;
  const entries = tableEntries(context, context.swapperPgDir, fault.addr, hasTable);
  const leaf = entries[entries.length - 1];
  if (leaf.value === null || !context.pte.ptePresent(leaf.value)) return false;
  if (!spuriousKernelFaultCheck(context, code, leaf)) return false;
  if (leaf.height !== 0) return true;
  if (spuriousKernelFaultCheck(context, code, entries[entries.length - 2])) return true;
  warnOnce(context.kernel, 'spurious_kernel_fault', 'PMD has incorrect permission bits');
  return false;
}

/** @kernel spurious_kernel_fault_check arch/x86/mm/fault.c read */
export function spuriousKernelFaultCheck(
  context: FaultContext,
  code: number,
  { at, value }: TableEntry,
): boolean {
  const compiled = compiledNow(context, 'spurious_kernel_fault_check', BigInt(code), { pa: at });
  if (compiled !== null) return lo32(compiled) !== 0;
  const entry = value ?? 0n;
  if (code & PF_W && !context.pte.pteWrite(entry)) return false;
  return !(code & PF_I) || context.pte.pteExec(entry);
}

/**
 * do_user_addr_fault(), the parts that kernel-mode code reaches; the task's mm maps nothing.
 * @kernel do_user_addr_fault arch/x86/mm/fault.c read
 */
function doUserAddrFault(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultPath {
  const { kernel } = context;
  const code = lo32(fault.code);
  const compiled = entered(context, 'do_user_addr_fault', regs, fault);
  if (compiled !== null) return compiled;
  const decide = (text: string) => {
    if (kernel.events.on) kernel.decide('do_user_addr_fault', text);
  };
  if ((code & (PF_U | PF_I)) === PF_I) {
    decide('kernel code fetches from user memory: no exception table is asked');
    return pageFaultOops(context, regs, fault);
  }
  if (code & PF_RSVD) return pgtableBad(context, regs, fault);
  const smap = (controlRegisters(context).cr4 & CR4_SMAP) !== 0n;
  if (smap && !(code & PF_U) && !(regs.flags & EFLAGS_AC)) {
    decide('SMAP is on and EFLAGS.AC is clear: no exception table is asked');
    return pageFaultOops(context, regs, fault);
  }
  if (context.current.faulthandlerDisabled || !context.current.hasMm) {
    decide('page faults are disabled, or the task has no mm');
    return badAreaNosemaphore(context, regs, fault);
  }
  if (!(regs.flags & EFLAGS_IF)) {
    warnOnce(kernel, 'do_user_addr_fault', '!(regs->flags & X86_EFLAGS_IF)');
    return badAreaNosemaphore(context, regs, fault);
  }
  decide('no VMA holds the address');
  return badAreaNosemaphore(context, regs, fault);
}

/**
 * pgtable_bad(): a reserved bit is set in an entry for a user address.
 * @kernel pgtable_bad arch/x86/mm/fault.c read
 */
function pgtableBad(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultPath {
  const { kernel, current } = context;
  const compiled = entered(context, 'pgtable_bad', regs, fault);
  if (compiled !== null) return compiled;
  return oops(context, () => {
    const addr = fault.addr.toString(16);
    kernel.printk(`${current.comm}: Corrupted page table at address ${addr}`, 'pgtable_bad');
    dumpPagetable(context, fault.addr);
    die(context, 'Bad pagetable', regs, lo32(fault.code), fault.addr);
    oopsEnd(context, regs, fault.addr);
  });
}

/** @kernel bad_area_nosemaphore arch/x86/mm/fault.c read */
function badAreaNosemaphore(
  context: FaultContext,
  regs: X86PtRegs,
  fault: HardwareFault,
): FaultPath {
  const compiled = entered(context, 'bad_area_nosemaphore', regs, fault);
  return compiled ?? badArea(context, regs, fault);
}

/**
 * __bad_area_nosemaphore() with SEGV_MAPERR.
 * @throws RangeError for a user-mode access, which ends in a signal: not modelled here
 * @kernel __bad_area_nosemaphore arch/x86/mm/fault.c read
 */
function badArea(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultPath {
  const compiled = compiledPath(context, '__bad_area_nosemaphore', regs, fault);
  if (compiled !== null) return compiled;
  if (!regs.userMode) return kernelmodeFixupOrOops(context, regs, fault);
  if (!(lo32(fault.code) & PF_U)) return pageFaultOops(context, regs, fault);
  throw new RangeError(`a user-mode fault at ${hex(fault.addr)} is not the kernel's own`);
}

/** @kernel kernelmode_fixup_or_oops arch/x86/mm/fault.c read */
function kernelmodeFixupOrOops(
  context: FaultContext,
  regs: X86PtRegs,
  fault: HardwareFault,
): FaultPath {
  const { kernel } = context;
  const compiled = entered(context, 'kernelmode_fixup_or_oops', regs, fault);
  if (compiled !== null) return compiled;
  const fixing = context.compiled?.calls.fixup_exception;
  if (fixing) return kernelmodeWithCompiled(context, regs, fault, fixing);
  const fixed = fixupException(context, regs, VECTOR_PF, fault.addr);
  // A handler in which the kernel died has decided nothing.
  if (kernel.events.on && !(fixed !== null && isDead(fixed))) {
    kernel.decide('fixup_exception', fixed === null ? 'no handler takes it' : 'handled');
  }
  return fixed ?? pageFaultOops(context, regs, fault);
}

/** The rest of it with fixup_exception() in compiled code, which may take steps. */
function* kernelmodeWithCompiled(
  context: FaultContext,
  regs: X86PtRegs,
  fault: HardwareFault,
  fixing: CompiledCall,
): Activity<FaultOutcome> {
  if (context.kernel.events.on) context.kernel.enter('fixup_exception', { ip: hex(regs.ip) });
  const fixed = yield* fixing(regs, BigInt(VECTOR_PF), fault.code, fault.addr);
  if (lo32(fixed) !== 0) return FIXED_UP;
  return yield* onward(pageFaultOops(context, regs, fault));
}

/**
 * page_fault_oops(): stack guard pages, then KFENCE and the arena for not-present faults, then the oops.
 * @kernel page_fault_oops arch/x86/mm/fault.c read
 */
function pageFaultOops(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultPath {
  const { kernel } = context;
  const compiled = entered(context, FN, regs, fault);
  if (compiled !== null) return compiled;
  if (kernel.stepping) return pageFaultOopsInSteps(context, regs, fault);
  const overflow = stackOverflow(context, regs, fault);
  if (overflow !== null) return overflow;
  const repaired = repairable(context, regs, fault)
    ? askRecoverers(context, FN, fault.addr, (lo32(fault.code) & PF_W) !== 0, regs)
    : null;
  return repaired ?? nobodyRepairs(context, regs, fault);
}

const FN = 'page_fault_oops';

function* pageFaultOopsInSteps(
  context: FaultContext,
  regs: X86PtRegs,
  fault: HardwareFault,
): Activity<FaultOutcome> {
  yield { kind: 'call', what: FN };
  const overflow = stackOverflow(context, regs, fault);
  if (overflow !== null) return overflow;
  if (repairable(context, regs, fault)) {
    const isWrite = (lo32(fault.code) & PF_W) !== 0;
    const repaired = yield* askRecoverersInSteps(context, FN, fault.addr, isWrite, regs);
    if (repaired !== null) return repaired;
  }
  return nobodyRepairs(context, regs, fault);
}

function stackOverflow(
  context: FaultContext,
  regs: X86PtRegs,
  { addr }: HardwareFault,
): FaultOutcome | null {
  if (regs.userMode || !context.isVmallocAddr(addr)) return null;
  if (!getStackGuardInfo(context.current, addr)) return null;
  return handleStackOverflow(context, regs, addr, false);
}

/** A page that is present but forbids the access is nobody's to repair. */
function repairable({ kernel }: FaultContext, regs: X86PtRegs, { code }: HardwareFault): boolean {
  if (regs.userMode) return false;
  if (!(lo32(code) & PF_P)) return true;
  if (kernel.events.on) kernel.decide(FN, 'X86_PF_PROT is set: nobody is asked');
  return false;
}

function nobodyRepairs(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): FaultOutcome {
  return oops(context, () => {
    showFaultOops(context, regs, fault);
    die(context, 'Oops', regs, lo32(fault.code), fault.addr);
    context.kernel.printk(`CR2: ${fault.addr.toString(16).padStart(16, '0')}`, FN);
    oopsEnd(context, regs, fault.addr);
  });
}

/**
 * A function of the path is entered: it is told.
 * @returns its path where compiled code does it; null: the model does it
 */
function entered(
  context: FaultContext,
  fn: string,
  regs: X86PtRegs,
  fault: HardwareFault,
  more?: Readonly<Record<string, string>>,
): FaultPath | null {
  if (context.kernel.events.on) {
    context.kernel.enter(fn, { error_code: hex(fault.code), address: hex(fault.addr), ...more });
  }
  return context.compiled === null ? null : compiledPath(context, fn, regs, fault);
}

type X86PathFunction = (context: FaultContext, regs: X86PtRegs, fault: HardwareFault) => FaultPath;

const own =
  (fn: X86PathFunction): PathFunction =>
  (context, regs, fault) =>
    fn(context, regs as X86PtRegs, fault);

/** The functions of the path, for compiled code that calls them. */
export const X86_PATH: Readonly<Record<string, PathFunction>> = {
  exc_page_fault: own(excPageFault),
  handle_page_fault: own(handlePageFault),
  do_kern_addr_fault: own(doKernAddrFault),
  do_user_addr_fault: own(doUserAddrFault),
  pgtable_bad: own(pgtableBad),
  bad_area_nosemaphore: own(badAreaNosemaphore),
  __bad_area_nosemaphore: own(badArea),
  kernelmode_fixup_or_oops: own(kernelmodeFixupOrOops),
  page_fault_oops: own(pageFaultOops),
};
