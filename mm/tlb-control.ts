// What the kernel asks of the TLBs, as asm/tlbflush.h names it. The kernel model calls these; whoever models the TLBs
// fulfils TlbControl. Kernels without a TLB model pass NO_TLB: the events are told all the same.
import type { VirtAddr } from '../emulator/address.ts';
import type { KernelContext } from './context.ts';

/** The TLBs of every CPU, as the kernel's flush functions reach them. */
export interface TlbControl {
  /** flush_tlb_kernel_range(): on return no CPU holds a translation of [start, end). */
  flushKernelRange(start: VirtAddr, end: VirtAddr): void;
  /**
   * flush_tlb_before_set(): the break of break-before-make for one kernel page whose entry was just cleared. arm64
   * invalidates the page on every CPU; x86 needs nothing and does nothing.
   */
  flushBeforeSet(addr: VirtAddr): void;
}

/** For models without TLBs. */
export const NO_TLB: TlbControl = { flushKernelRange() {}, flushBeforeSet() {} };

/**
 * flush_tlb_kernel_range(start, end)
 * @kernel flush_tlb_kernel_range arch/x86/mm/tlb.c unverified
 */
export function flushTlbKernelRange(
  context: KernelContext,
  tlb: TlbControl,
  start: VirtAddr,
  end: VirtAddr,
): void {
  tlb.flushKernelRange(start, end);
  if (context.events.on) {
    const op = 'flush_tlb_kernel_range';
    context.events.emit({ type: 'tlb', cpu: context.cpu, op, start, end });
  }
}

/**
 * flush_tlb_before_set(addr)
 * @kernel flush_tlb_before_set include/linux/pgtable.h unverified - mainline; the body of arm64's was not seen, x86
 *   has none
 */
export function flushTlbBeforeSet(context: KernelContext, tlb: TlbControl, addr: VirtAddr): void {
  tlb.flushBeforeSet(addr);
  if (context.events.on) {
    const op = 'flush_tlb_before_set';
    context.events.emit({ type: 'tlb', cpu: context.cpu, op, start: addr, end: addr });
  }
}
