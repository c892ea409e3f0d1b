// What the kernel's flushes do to the TLBs of its vCPUs.
import { virtAddr } from '../emulator/address.ts';
import { LOOKED } from '../mm/context.ts';
import type { TlbControl } from '../mm/tlb-control.ts';
import type { Kernel } from './kernel.ts';

/** More pages than this in one flush_tlb_kernel_range() flush everything (x86 tlb_single_page_flush_ceiling). */
const FLUSH_CEILING = 33n;

/** A shootdown by the CPU that the kernel runs on. */
function charge({ context, cpus }: Kernel, pages: number | null): void {
  cpus[context.cpu]?.costs?.shootdown(pages, cpus.length);
}

/** Tells whoever asks of a flush. Break-before-make orders it with changes of the entries as well. */
function noteFlush(kernel: Kernel, start: bigint, end: bigint): void {
  const { access } = kernel.context;
  if (access === null) return;
  access.flush(start, end);
  if (kernel.arch.linkRegister === null) return;
  if (end - start > FLUSH_CEILING * BigInt(kernel.pageSize)) access.everything();
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
      charge(kernel, pages > FLUSH_CEILING ? null : Number(pages));
      noteFlush(kernel, start, end);
      for (const { mmu, paging } of kernel.cpus) {
        if (pages > FLUSH_CEILING) mmu.invalidateAll();
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
  };
}
