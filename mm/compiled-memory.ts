// Functions of memory management that compiled code does in the model's place: what the model asks of whoever runs it.
// Those that are absent the model does itself.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import type { PteFn } from './apply-range.ts';
import type { Activity } from './context.ts';
import type { Kfence, KfenceMetadata } from './kfence.ts';
import type { KfenceFinding } from './kfence-report.ts';
import type { VmStruct } from './vmalloc.ts';

/** A walk of init_mm. @returns what the function returned */
type CompiledWalk = (start: VirtAddr, size: number, fn: PteFn) => Activity<number>;

export interface CompiledMemory {
  applyToPageRange?: CompiledWalk;
  applyToExistingPageRange?: CompiledWalk;
  flushTlbKernelRange?(start: VirtAddr, end: VirtAddr): Activity<void>;
  /** Of x86. */
  flushTlbOneKernel?(addr: VirtAddr): Activity<void>;
  vmallocToPage?(addr: VirtAddr): Activity<Pfn | -1>;
  isVmallocAddr?(addr: VirtAddr): Activity<boolean>;
  /** @param at the address that a scenario wants */
  getVmArea?(size: number, flags: number, at?: VirtAddr): Activity<VmStruct | null>;
  freeVmArea?(area: VmStruct): Activity<void>;
  /** @param ip the interrupted instruction */
  kfenceHandlePageFault?(
    kfence: Kfence,
    addr: VirtAddr,
    isWrite: boolean,
    ip: VirtAddr,
  ): Activity<boolean>;
  kfenceProtect?(kfence: Kfence, addr: VirtAddr): Activity<void>;
  kfenceUnprotect?(kfence: Kfence, addr: VirtAddr): Activity<void>;
  /** As {@link Kfence.alloc}. */
  kfenceGuardedAlloc?(
    kfence: Kfence,
    size: number,
    cache: string,
    right: boolean,
    align: number,
  ): Activity<VirtAddr | null>;
  /** __kfence_free() @param ip who frees */
  kfenceFree?(kfence: Kfence, addr: VirtAddr, ip: VirtAddr): Activity<void>;
  kfenceGuardedFree?(
    kfence: Kfence,
    addr: VirtAddr,
    meta: KfenceMetadata,
    ip: VirtAddr,
  ): Activity<void>;
  /** @param ip the instruction that is to blame */
  kfenceReportError?(kfence: Kfence, finding: KfenceFinding, ip: VirtAddr): Activity<void>;
  kfencePrintObject?(meta: KfenceMetadata): Activity<void>;
}
