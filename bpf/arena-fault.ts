// The patch: bpf_arena_handle_page_fault() of kernel/bpf/arena.c, which the architectures ask about kernel faults on
// absent pages, and the report of an arena violation into the program's stderr stream. It takes no lock and runs in any
// context; it races with alloc, free and other faults through ptep_try_set() alone.
import type { PtRegs, Recoverer } from '../arch/arch.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { hex, u64 } from '../emulator/bits.ts';
import { applyToPageRange, type PteEntry } from '../mm/apply-range.ts';
import {
  type Activity,
  ADDED,
  CHANGED,
  finish,
  type KernelContext,
  LOOKED,
  onward,
  type Progress,
} from '../mm/context.ts';
import { emitPteBarriers, type Ptep, ptepTrySet, setPteAt } from '../mm/pte.ts';
import { ptepTrySetStep } from '../mm/pte-steps.ts';
import { type BpfArena, guardSize, recoverySize, SZ_4G } from './arena.ts';
import type { CompiledPteFn } from './compiled.ts';
import { makesMessages, reportInCalls } from './compiled-streams.ts';
import type { BpfContext } from './context.ts';
import type { BpfProg } from './prog.ts';
import { rawResSpinLock, unlock } from './rqspinlock.ts';
import { BPF_STDERR, BpfStreamStage, bpfStreamGet, bpfStreamStageCommit } from './stream.ts';

const FN = 'bpf_arena_handle_page_fault';

/**
 * bpf_arena_handle_page_fault() as the fault paths call it; the stub without CONFIG_BPF_SYSCALL.
 * @kernel bpf_arena_handle_page_fault kernel/bpf/core.c read - the weak stub
 */
export function arenaRecoverer(bpf: BpfContext): Recoverer {
  const { bpfSyscall } = bpf.kernel.config;
  return {
    fn: FN,
    resolution: 'scratch',
    handlePageFault: (addr: VirtAddr, isWrite: boolean, regs: PtRegs) =>
      bpfSyscall && bpfArenaHandlePageFault(bpf, addr, isWrite, regs.ip),
  };
}

/**
 * bpf_arena_handle_page_fault(): if the innermost BPF program on the stack uses the arena whose recovery range holds
 * `addr`, maps the scratch page there, unless something is mapped by now, and reports.
 * The whole band is recovered, whatever max_entries and the user range are; no TLB is flushed, since a stale "absent"
 * costs at most one more fault.
 * @param faultIp part of the kernel's signature, and unused there as well
 * @returns true if the instruction is to be run again
 * @kernel bpf_arena_handle_page_fault kernel/bpf/arena.c read
 */
export function bpfArenaHandlePageFault(
  bpf: BpfContext,
  addr: VirtAddr,
  isWrite: boolean,
  faultIp: VirtAddr,
): Progress<boolean> {
  const { compiled, kernel, trace } = bpf;
  const told = kernel.events.on;
  if (told) kernel.enter(FN, { addr: hex(addr), access: isWrite ? 'write' : 'read' });
  if (compiled?.bpfArenaHandlePageFault) {
    return compiled.bpfArenaHandlePageFault(addr, isWrite, faultIp);
  }
  if (compiled?.bpfProgFindFromStack) {
    return findAndRecover(bpf, compiled.bpfProgFindFromStack(), addr, isWrite, faultIp);
  }
  trace.walk();
  return recover(bpf, trace.findProg(), addr, isWrite, faultIp);
}

/** The handler with bpf_prog_find_from_stack() in compiled code. */
function* findAndRecover(
  bpf: BpfContext,
  finding: Activity<BpfProg | null>,
  addr: VirtAddr,
  isWrite: boolean,
  faultIp: VirtAddr,
): Activity<boolean> {
  return yield* onward(recover(bpf, yield* finding, addr, isWrite, faultIp));
}

/** @param prog the innermost program on the stack */
function recover(
  bpf: BpfContext,
  prog: BpfProg | null,
  addr: VirtAddr,
  isWrite: boolean,
  faultIp: VirtAddr,
): Progress<boolean> {
  const { compiled, kernel, mm } = bpf;
  const told = kernel.events.on;
  if (!prog) {
    if (told) kernel.decide(FN, 'no BPF program on the stack');
    return false;
  }
  const { arena } = prog;
  if (!arena) {
    if (told) kernel.decide(FN, `program ${prog.name} uses no arena`);
    return false;
  }
  const start = compiled?.bpfArenaGetKernVmStart
    ? finish(compiled.bpfArenaGetKernVmStart(arena))
    : arena.kernVmStart;
  if (!inRecoveryRange(arena, start, addr)) {
    if (told) kernel.decide(FN, `not in the recovery range of ${prog.name}'s ${arena.name}`);
    return false;
  }

  const violation = { prog, isWrite, addr: mm.pageStart(addr), start, faultIp };
  if (kernel.replacements !== null) return mutated(bpf, arena, violation);
  if (kernel.stepping || compiled !== null) return recoverInSteps(bpf, arena, violation);

  // apply_to_page_range(page, PAGE_SIZE, apply_range_set_scratch_cb); its result is ignored, as in the kernel.
  const ptep = mm.ptepAlloc(addr);
  if (ptep > 0 && isNone(bpf, ptep as Ptep)) install(bpf, arena, violation.addr, ptep as Ptep);
  reportArenaViolation(bpf, violation);
  return true;
}

/** What a report is of. */
interface Violation {
  readonly prog: BpfProg;
  readonly isWrite: boolean;
  /** Address of the access, and of the band that it counts from. */
  readonly addr: bigint;
  readonly start: bigint;
  readonly faultIp: VirtAddr;
}

/** What {@link bpfArenaHandlePageFault} does once it knows that it is to, with other CPUs in between. */
function* recoverInSteps(
  bpf: BpfContext,
  arena: BpfArena,
  violation: Violation,
): Activity<boolean> {
  const { kernel, mm } = bpf;
  const set = ({ ptep, addr }: PteEntry) => setScratchInSteps(arena, addr, ptep);
  yield* applyToPageRange(mm, violation.addr as VirtAddr, kernel.config.pageSize, set);
  yield* report(bpf, violation);
  return true;
}

/**
 * apply_range_set_scratch_cb(): leaves what is mapped alone.
 * @kernel apply_range_set_scratch_cb kernel/bpf/arena.c read
 */
function* setScratchInSteps(arena: BpfArena, addr: VirtAddr, ptep: Ptep): Activity<number> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.applyRangeSetScratchCb) {
    const fn = compiled.applyRangeSetScratchCb(arena);
    return yield* setScratchCompiled(arena, addr, ptep, fn);
  }
  if (kernel.stepping) yield { kind: 'pte', what: `ptep_get ${hex(addr)}` };
  if (isNone(arena.bpf, ptep)) yield* installInSteps(arena, addr, ptep);
  return 0;
}

/** The report as a step. @param walked the stack has been walked for it, to find the program */
function* report(bpf: BpfContext, violation: Violation, walked = true): Activity<void> {
  const { compiled, kernel, trace } = bpf;
  const { prog, isWrite, addr, start, faultIp } = violation;
  if (kernel.stepping) yield { kind: 'report', what: `arena violation at ${hex(addr)}` };
  if (compiled?.reportArenaViolation) {
    yield* compiled.reportArenaViolation(prog, isWrite, addr - start, faultIp);
    return;
  }
  if (walked) trace.walkAgain();
  else trace.walk();
  reportArenaViolation(bpf, violation);
}

/** Whether the callback that installs the scratch page finds nothing mapped. */
function isNone({ kernel, mm }: BpfContext, ptep: Ptep): boolean {
  kernel.access?.word(ptep, LOOKED);
  kernel.tables?.observed(ptep);
  const none = mm.pteNone(ptep);
  if (!none && kernel.events.on) kernel.decide(FN, 'the page is mapped by now');
  return none;
}

/** Lost only to another installer, whose entry is valid: the retry succeeds. */
function install({ kernel, mm }: BpfContext, arena: BpfArena, va: VirtAddr, ptep: Ptep): void {
  tellInstall(kernel, ptepTrySet(kernel, mm.ram, mm.format, va, ptep, arena.scratchPte));
}

function tellInstall(kernel: KernelContext, won: boolean): void {
  if (!kernel.events.on) return;
  kernel.decide(FN, won ? 'scratch page installed' : 'lost the race to install');
}

/** As posted, ptep_try_set() has no barrier: the retry may still fault on the entry as it was. */
function* installInSteps(arena: BpfArena, va: VirtAddr, ptep: Ptep): Activity<void> {
  const { kernel, mm } = arena.bpf;
  const won = yield* ptepTrySetStep(mm, va, ptep, arena.scratchPte);
  tellInstall(kernel, won);
  if (won && kernel.config.series === 'mainline') yield* emitPteBarriers(kernel);
}

/** The callback in compiled code, with what became of the entry. */
function* setScratchCompiled(
  arena: BpfArena,
  pageAddr: VirtAddr,
  ptep: Ptep,
  fn: CompiledPteFn,
): Activity<number> {
  const { kernel, mm } = arena.bpf;
  const wasNone = mm.pteNone(ptep);
  const result = yield* fn.call(ptep, pageAddr);
  fn.end();
  if (!kernel.events.on) return result;
  // Of its other bits each kernel has its own idea.
  const installed = mm.format.ptePfn(mm.ram.read64(ptep)) === arena.scratchPage;
  const raced = installed ? 'scratch page installed' : 'lost the race to install';
  kernel.decide(FN, wasNone ? raced : 'the page is mapped by now');
  return result;
}

/** The range test; a mutant may move its ends. Both are page boundaries, so the byte's address answers for its page. */
function inRecoveryRange(arena: BpfArena, kbase: bigint, addr: VirtAddr): boolean {
  const { kernel } = arena.bpf;
  let start = kbase;
  let end =
    kbase === arena.kernVmStart
      ? arena.recoveryEnd
      : kbase + BigInt(recoverySize(kernel.config.pageSize));
  const range = kernel.replaced(`${FN}/range`);
  if (range === 'with_lower_guard') start -= BigInt(guardSize(kernel.config.pageSize) / 2);
  if (range === 'without_upper_guard') end = start + BigInt(SZ_4G);
  return addr >= start && addr < end;
}

/** The rest of the handler with a mutant's steps in it (bpf/named-steps.ts). */
function* mutated(bpf: BpfContext, arena: BpfArena, violation: Violation): Activity<boolean> {
  const { kernel, mm } = bpf;
  const pageAddr = violation.addr as VirtAddr;
  const how = kernel.replaced(`${FN}/report`);
  const locks = kernel.replaced(`${FN}/lock`) === 'take';
  if (locks && (yield* rawResSpinLock(kernel, arena.spinlock))) return false;
  if (how === 'before_install') yield* report(bpf, violation);
  const ptep = mm.ptepAlloc(pageAddr);
  if (ptep > 0) yield* setScratch(arena, pageAddr, ptep as Ptep);
  if (locks) {
    yield { kind: 'lock', what: `release ${arena.spinlock.name}` };
    unlock(kernel, arena.spinlock);
  }
  if (how !== 'before_install' && how !== 'skip') yield* report(bpf, violation);
  if (how === 'twice') yield* report(bpf, violation);
  return true;
}

/** Installs the scratch page, with a mutant's steps in the callback. */
function* setScratch(arena: BpfArena, pageAddr: VirtAddr, ptep: Ptep): Activity<void> {
  const { kernel, mm } = arena.bpf;
  const CB = 'apply_range_set_scratch_cb';
  yield { kind: 'pte', what: `ptep_get ${hex(pageAddr)}` };
  kernel.access?.word(ptep, LOOKED);
  kernel.tables?.observed(ptep);
  const isNone = mm.pteNone(ptep) || kernel.replaced(`${CB}/pte_none`) === 'always';
  const set = kernel.replaced(`${CB}/ptep_try_set`);
  const told = kernel.events.on;
  if (!isNone || set === 'skip') {
    if (told) kernel.decide(FN, isNone ? 'nothing is installed' : 'the page is mapped by now');
    return;
  }
  if (set === 'set_pte_at') {
    yield { kind: 'pte', what: `set_pte_at ${hex(pageAddr)}` };
    setPteAt(kernel, mm.ram, pageAddr, ptep, arena.scratchPte);
    if (told) kernel.decide(FN, 'scratch page installed');
    yield* emitPteBarriers(kernel);
    return;
  }
  yield* installInSteps(arena, pageAddr, ptep);
}

/**
 * bpf_prog_report_arena_violation(): the report of a BPF instruction that the exception table fixed up.
 * @param addr offset in the band as the instruction computed it, byte exact, modulo 2^64. @param faultIp the instruction
 * @kernel bpf_prog_report_arena_violation kernel/bpf/arena.c read
 */
export function* bpfProgReportArenaViolation(
  bpf: BpfContext,
  isWrite: boolean,
  addr: bigint,
  faultIp: VirtAddr,
): Activity<void> {
  const { compiled, kernel } = bpf;
  if (compiled?.bpfProgReportArenaViolation) {
    if (kernel.stepping) yield { kind: 'report', what: `arena violation at ${hex(addr)}` };
    yield* compiled.bpfProgReportArenaViolation(isWrite, addr, faultIp);
    return;
  }
  const prog = bpf.ksyms.findProg(faultIp);
  if (!prog) return;
  yield* report(bpf, { prog, isWrite, addr, start: 0n, faultIp }, false);
}

const HEAD_WRITE = 'ERROR: Arena WRITE access at unmapped address 0x';
const HEAD_READ = 'ERROR: Arena READ access at unmapped address 0x';
/** Of a user address, as far as the time to print it goes. */
const USUAL_DIGITS = 12;

/**
 * A report that compiled code asks for by __bpf_prog_report_arena_violation(): the trace is of the stack as it is.
 * @param offset in the band
 */
export const reportForCompiled = (
  bpf: BpfContext,
  prog: BpfProg,
  isWrite: boolean,
  offset: bigint,
  faultIp: VirtAddr,
): Activity<void> => report(bpf, { prog, isWrite, addr: offset, start: 0n, faultIp }, false);

/**
 * __bpf_prog_report_arena_violation(): one message with the trace of the last walk. A stream without room drops it
 * whole; then no text is made, unless somebody reads the events.
 * @kernel __bpf_prog_report_arena_violation kernel/bpf/arena.c read
 */
function reportArenaViolation(
  bpf: BpfContext,
  { prog: caller, isWrite, addr, start }: Violation,
): void {
  const { compiled, kernel } = bpf;
  const prog = caller.mainProg;
  const head = isWrite ? HEAD_WRITE : HEAD_READ;
  const user = () => {
    const base = prog.arena ? prog.arena.userVmStart & ~0xffff_ffffn : 0n;
    return u64(base + addr - start).toString(16);
  };
  if (compiled !== null && makesMessages(compiled)) {
    kernel.work.reports++;
    const stream = bpfStreamGet(prog, BPF_STDERR)!;
    kernel.access?.object(stream, stream.isRoomy ? ADDED : LOOKED | CHANGED);
    reportInCalls(bpf, prog, BPF_STDERR, `${head}${user()}\n`);
    return;
  }
  const dump = bpf.trace.dumpStack();
  kernel.work.reports++;
  kernel.work.reportBytes += head.length + USUAL_DIGITS + 1 + dump.len;
  const stream = bpfStreamGet(prog, BPF_STDERR)!;
  kernel.access?.object(stream, stream.isRoomy ? ADDED : LOOKED | CHANGED);
  // One digit at least.
  if (!kernel.events.on && !stream.hasRoom(head.length + 1 + 1 + dump.len)) return;

  const stage = new BpfStreamStage(kernel);
  stage.printk(`${head}${user()}\n`);
  for (const line of dump.lines) stage.lines.push(line);
  stage.len += dump.len;
  bpfStreamStageCommit(kernel, stage, prog, BPF_STDERR);
}
