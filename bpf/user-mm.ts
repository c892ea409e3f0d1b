// The user side's address spaces, as far as arenas need them: VMAs and what their user PTEs map. User page tables are
// a small map from page to frame, not tables in RAM; user code does not run, its accesses are asked for one by one.
// Left out: mappings of anything but arenas, mprotect(), swap, rlimits. mmap_lock is exclusive (readers too).
import { type Pfn, pfnToPhys, type VirtAddr } from '../emulator/address.ts';
import { u64 } from '../emulator/bits.ts';
import { CHANGED, ERRNO, type KernelContext, LOOKED, type Shared } from '../mm/context.ts';
import type { PageAllocator } from '../mm/page-alloc.ts';
import type { BpfArena, VmaListEntry } from './arena.ts';
import { Lock } from './rqspinlock.ts';

/** struct vm_area_struct of an arena. */
export interface Vma {
  readonly mm: UserMm;
  readonly start: bigint;
  readonly end: bigint;
  readonly write: boolean;
  /** vm_file->private_data */
  readonly arena: BpfArena;
  /** vm_private_data */
  vml: VmaListEntry | null;
  /** vm_pgoff; 0 by default. */
  readonly pgoff?: number;
  /** vm_flags, for code that looks at them. */
  vmFlags?: number;
  /** What compiled code has made vm_ops; 0: it never did, and nobody brings pages in. */
  vmOps?: bigint;
  /** User PTEs: page number within the VMA to frame. */
  readonly ptes: UserPtes;
}

/** The user PTEs of one mapping. */
export class UserPtes extends Map<number, Pfn> implements Shared {
  readonly label = 'user PTEs';

  fingerprint(): string {
    return [...this].sort(([a], [b]) => a - b).join(' ');
  }
}

/** TASK_SIZE: where user addresses end, of all that user space of either architecture may have. */
export const TASK_SIZE = 1n << 48n;
/** Where mmap() may put mappings: TASK_SIZE of 4-level x86 and a gap above, as mmap_base() leaves. */
const DEFAULT_MMAP_BASE = 0x7fff_f7ff_f000n;
const MMAP_MIN_ADDR = 0x10000n;

/** struct mm_struct: one address space. */
export class UserMm implements Shared {
  readonly name: string;
  readonly mmapLock: Lock;
  readonly vmas: Vma[] = [];
  /** mm_users > 0. */
  alive = true;
  private readonly mmapBase: bigint;

  constructor(name = 'mm', mmapBase = DEFAULT_MMAP_BASE) {
    this.name = name;
    this.mmapLock = new Lock(`${name}->mmap_lock`);
    this.mmapBase = mmapBase;
  }

  get label(): string {
    return this.name;
  }

  /** Where mappings lie. */
  fingerprint(): string {
    return this.vmas.map(({ start, end }) => `${start}-${end}`).join(' ');
  }

  /**
   * vma_lookup(): the mapping that holds `addr`.
   * @kernel vma_lookup include/linux/mm.h read
   */
  findVma(addr: bigint): Vma | null {
    return this.vmas.find((vma) => addr >= vma.start && addr < vma.end) ?? null;
  }

  /**
   * mm_get_unmapped_area(): the hint if it is free and below TASK_SIZE, else the highest gap below mmap_base.
   * @param hint address wanted or 0. @param len bytes. @param fixed MAP_FIXED: the hint and nothing else
   * @returns an address, or -ENOMEM
   * @kernel mm_get_unmapped_area mm/mmap.c read - without the search upwards
   */
  getUnmappedArea(hint: bigint, len: bigint, fixed: boolean): bigint {
    const fits = hint <= TASK_SIZE - len && this.isFree(hint, len);
    if (hint && (fixed || fits)) return hint;
    const below = [...this.vmas].sort((a, b) => (a.start < b.start ? 1 : -1));
    let top = this.mmapBase;
    for (const vma of below) {
      if (vma.start >= top) continue;
      if (top - vma.end >= len && vma.end <= top) return top - len;
      top = vma.start;
    }
    return top - len >= MMAP_MIN_ADDR ? top - len : BigInt(ERRNO.ENOMEM);
  }

  /** True if no mapping touches [start, start + len). */
  isFree(start: bigint, len: bigint): boolean {
    return start >= MMAP_MIN_ADDR && !this.vmas.some((v) => v.start < start + len && start < v.end);
  }
}

/**
 * zap_vma_range(): removes the user PTEs of the range that lies in the VMA, and drops their references.
 * @kernel zap_vma_range mm/memory.c read - cut to the VMA, which 7.3 leaves to its callers
 */
export function zapVmaRange(
  kernel: KernelContext,
  pages: PageAllocator,
  vma: Vma,
  uaddr: bigint,
  pageCnt: number,
): void {
  kernel.access?.object(vma.ptes, LOOKED | CHANGED);
  const first = Number((uaddr - vma.start) / BigInt(kernel.config.pageSize));
  const isIn = (page: number) => page >= first && page < first + pageCnt;
  const zapped = pageCnt === 1 ? [first] : [...vma.ptes.keys()].filter(isIn);
  for (const page of zapped) {
    const pfn = vma.ptes.get(page);
    if (pfn === undefined) continue;
    vma.ptes.delete(page);
    pages.mapCountAdd(pfn, -1);
    pages.freePage(pfn);
  }
  if (kernel.events.on) {
    const end = u64(uaddr + BigInt(pageCnt * kernel.config.pageSize)) as VirtAddr;
    const start = u64(uaddr) as VirtAddr;
    kernel.events.emit({ type: 'tlb', cpu: kernel.cpu, op: 'zap_vma_range', start, end });
  }
}

/** Physical address of user address `addr` through the VMA's PTEs, or null where there is none. */
export function userPhys(pageSize: number, vma: Vma, addr: bigint): number | null {
  const offset = Number(addr - vma.start);
  const pfn = vma.ptes.get(Math.floor(offset / pageSize));
  return pfn === undefined ? null : pfnToPhys(pfn) + (offset % pageSize);
}
