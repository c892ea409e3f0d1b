// What the kernel's flushes do to the TLBs of its vCPUs.
import { virtAddr } from '../emulator/address.ts';
import { LOOKED } from '../mm/context.ts';
import type { TlbControl } from '../mm/tlb-control.ts';
import type { Kernel } from './kernel.ts';

/** tlb_single_page_flush_ceiling of x86. */
const SINGLE_PAGE_FLUSH_CEILING = 33n;

/**
 * More pages than this in one flush_tlb_kernel_range() flush everything. arm64 without FEAT_TLBIRANGE does so from
 * MAX_DVM_OPS on, as many as a table has entries.
 */
const flushCeiling = ({ arch, pageSize }: Kernel): bigint =>
  arch.linkRegister === null ? SINGLE_PAGE_FLUSH_CEILING : BigInt(pageSize / 8 - 1);

/** A shootdown by the CPU that the kernel runs on. */
function charge({ context, cpus }: Kernel, pages: number | null): void {
  cpus[context.cpu]?.costs?.shootdown(pages, cpus.length);
}

/** Tells whoever asks of a flush. Break-before-make orders it with changes of the entries as well. */
export function noteFlush(kernel: Kernel, start: bigint, end: bigint): void {
  const { access } = kernel.context;
  if (access === null) return;
  access.flush(start, end);
  if (kernel.arch.linkRegister === null) return;
  if (end - start > flushCeiling(kernel) * BigInt(kernel.pageSize)) access.everything();
  else {
    for (let va = start; va < end; va += BigInt(kernel.pageSize)) {
      const ptep = kernel.mm.ptepOffset(virtAddr(va));
      if (ptep !== null) access.word(ptep, LOOKED);
    }
  }
}

/** The TLBs of all vCPUs of a kernel. */
export function tlbControl(kernel: Kernel): TlbControl {
  return {
    flushKernelRange: (start, end) => {
      const pages = (end - start) / BigInt(kernel.pageSize);
      const all = pages > flushCeiling(kernel);
      charge(kernel, all ? null : Number(pages));
      noteFlush(kernel, start, end);
      for (const { mmu, paging } of kernel.cpus) {
        if (all) mmu.invalidateAll();
        else {
          for (let va: bigint = start; va < end; va += BigInt(kernel.pageSize)) {
            mmu.invalidatePage(virtAddr(va), paging.space, true);
          }
        }
      }
    },
    flushBeforeSet: (addr) => {
      // x86: flush_tlb_before_set() is the generic no-op.
      if (kernel.arch.linkRegister === null) return;
      charge(kernel, 1);
      noteFlush(kernel, addr, addr + BigInt(kernel.pageSize));
      for (const { mmu, paging } of kernel.cpus) mmu.invalidatePage(addr, paging.space, true);
    },
    flushOneKernel: (addr) => {
      kernel.context.access?.flush(addr, addr + BigInt(kernel.pageSize));
      const cpu = kernel.cpus[kernel.context.cpu];
      cpu?.mmu.invalidatePage(addr, cpu.paging.space, true);
    },
  };
}
