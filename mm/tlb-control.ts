// What the kernel asks of the TLBs, as asm/tlbflush.h names it. The kernel model calls these; whoever models the TLBs
// fulfils TlbControl. Kernels without a TLB model pass NO_TLB: the events are told all the same.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { type Activity, finish, type KernelContext } from './context.ts';

/** The TLBs of every CPU, as the kernel's flush functions reach them. */
export interface TlbControl {
  /** flush_tlb_kernel_range(): on return no CPU holds a translation of [start, end). */
  flushKernelRange(start: VirtAddr, end: VirtAddr): void;
  /**
   * flush_tlb_before_set(): the break of break-before-make for one kernel page whose entry was just cleared. arm64
   * invalidates the page on every CPU; x86 needs nothing and does nothing.
   */
  flushBeforeSet(addr: VirtAddr): void;
  /** flush_tlb_one_kernel() of x86: the CPU that runs drops its translation of one kernel page; the others keep theirs. */
  flushOneKernel(addr: VirtAddr): void;
}

/** For models without TLBs. */
export const NO_TLB: TlbControl = {
  flushKernelRange() {},
  flushBeforeSet() {},
  flushOneKernel() {},
};

/** A flush in its two halves: until the second, CPUs may or may not have dropped what the first names. */
interface Flush {
  readonly op: 'flush_tlb_kernel_range' | 'flush_tlb_before_set';
  readonly start: VirtAddr;
  readonly end: VirtAddr;
  invalidate(): void;
}

/**
 * flush_tlb_kernel_range(start, end)
 * @kernel flush_tlb_kernel_range arch/x86/mm/tlb.c read
 * @kernel flush_tlb_kernel_range arch/arm64/include/asm/tlbflush.h read - of a CPU without FEAT_TLBIRANGE
 */
export function flushTlbKernelRange(
  context: KernelContext,
  tlb: TlbControl,
  start: VirtAddr,
  end: VirtAddr,
): void {
  const { flushTlbKernelRange: compiled } = context.compiled ?? {};
  if (compiled) {
    finish(compiled(start, end));
    tell(context, kernelRange(tlb, start, end));
    return;
  }
  const flush = kernelRange(tlb, start, end);
  begin(context, flush);
  complete(context, flush);
}

/** The same in the steps that another CPU can see. @param what names the first of them */
export function* flushTlbKernelRangeSteps(
  context: KernelContext,
  tlb: TlbControl,
  start: VirtAddr,
  end: VirtAddr,
  what = `flush_tlb_kernel_range ${hex(start)}`,
): Activity<void> {
  const { flushTlbKernelRange: compiled } = context.compiled ?? {};
  if (!compiled) {
    yield* inSteps(context, kernelRange(tlb, start, end), what);
    return;
  }
  if (context.stepping) yield { kind: 'tlb', what };
  yield* compiled(start, end);
  tell(context, kernelRange(tlb, start, end));
}

const kernelRange = (tlb: TlbControl, start: VirtAddr, end: VirtAddr): Flush => ({
  op: 'flush_tlb_kernel_range',
  start,
  end,
  invalidate: () => tlb.flushKernelRange(start, end),
});

/**
 * flush_tlb_before_set(addr): nothing on x86; on arm64 flush_tlb_kernel_range() of the page.
 * @kernel flush_tlb_before_set include/linux/pgtable.h read - mainline
 * @kernel flush_tlb_before_set arch/arm64/include/asm/pgtable.h read - mainline
 */
export function* flushTlbBeforeSet(
  context: KernelContext,
  tlb: TlbControl,
  addr: VirtAddr,
): Activity<void> {
  if (context.compiled?.flushTlbBeforeSet) {
    yield* context.compiled.flushTlbBeforeSet(addr);
    return;
  }
  const end = (addr + BigInt(context.config.pageSize)) as VirtAddr;
  const flush = { start: addr, end, invalidate: () => tlb.flushBeforeSet(addr) };
  yield* inSteps(
    context,
    { op: 'flush_tlb_before_set', ...flush },
    `flush_tlb_before_set ${hex(addr)}`,
  );
}

/**
 * flush_tlb_one_kernel(addr), which only x86 has.
 * @kernel flush_tlb_one_kernel arch/x86/mm/tlb.c read
 */
export function flushTlbOneKernel(context: KernelContext, tlb: TlbControl, addr: VirtAddr): void {
  const { flushTlbOneKernel: compiled } = context.compiled ?? {};
  if (compiled) finish(compiled(addr));
  else tlb.flushOneKernel(addr);
  if (!context.events.on) return;
  const { cpu } = context;
  context.events.emit({ type: 'tlb', cpu, op: 'flush_tlb_one_kernel', start: addr, end: addr });
}

function* inSteps(context: KernelContext, flush: Flush, what: string): Activity<void> {
  if (context.stepping) yield { kind: 'tlb', what };
  begin(context, flush);
  if (context.stepping && context.tables !== null) yield { kind: 'tlb', what: 'dsb(ish); isb' };
  complete(context, flush);
}

/** arm64: dsb(ishst), and a TLBI for each page. */
function begin({ tables }: KernelContext, { start, end, invalidate }: Flush): void {
  tables?.dsb('st');
  invalidate();
  tables?.tlbi(start, end, true);
}

/** arm64: dsb(ish); isb. */
function complete(context: KernelContext, flush: Flush): void {
  context.tables?.dsb('full');
  context.tables?.synchronized();
  tell(context, flush);
}

function tell({ events, cpu }: KernelContext, { op, start, end }: Flush): void {
  if (!events.on) return;
  events.emit({ type: 'tlb', cpu, op, start, end: op === 'flush_tlb_before_set' ? start : end });
}
