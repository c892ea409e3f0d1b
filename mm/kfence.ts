// KFENCE (mm/kfence/core.c): a pool of pages, every second one a guard that is not present, so that a touch of a guard
// or of a freed object faults, is reported and let go on. Left out: sampling (callers allocate here on purpose),
// canaries and so the corruption report, RCU-freed objects, locks and allocation stacks.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hex, u64 } from '../emulator/bits.ts';
import type { Ram } from '../emulator/ram.ts';
import { type Activity, finish, type KernelContext } from './context.ts';
import type { InitMm } from './init-mm.ts';
import { kfenceReportError } from './kfence-report.ts';
import { type Ptep, setPteAt } from './pte.ts';
import { flushTlbKernelRange, flushTlbOneKernel, type TlbControl } from './tlb-control.ts';

/** CONFIG_KFENCE_NUM_OBJECTS' default. */
const KFENCE_NUM_OBJECTS = 255;

/** enum kfence_object_state */
export type KfenceState = 'unused' | 'allocated' | 'freed';

/** struct kfence_metadata */
export interface KfenceMetadata {
  /** Number of the object: page 2 * (index + 1) of the pool. */
  readonly index: number;
  state: KfenceState;
  /** Address of the object; of its page while it was never used. */
  addr: VirtAddr;
  /** Bytes. */
  size: number;
  cache: string;
  /** Guard address that a fault made present, or 0. */
  unprotectedPage: bigint;
}

/** enum kfence_error_type, as far as it is modelled. */
export type KfenceError = 'oob' | 'uaf' | 'invalid' | 'invalid_free';

export interface KfenceHost {
  readonly kernel: KernelContext;
  readonly ram: Ram;
  readonly mm: InitMm;
  readonly tlb: TlbControl;
  /** asm/kfence.h */
  readonly arch: KfenceArch;
  /** %pS */
  formatSymbol(ip: VirtAddr): string;
}

/** kfence_protect_page() of an architecture. */
export interface KfenceArch {
  /** The entry of a protected page, from that of a present one. */
  protectedPte(entry: bigint): bigint;
  /** Nothing is done for an entry in the right state, and a page that goes is flushed from this CPU's TLB alone. */
  readonly local: boolean;
}

/** PTE_PFN_MASK: bits 51:12. */
const X86_PFN_MASK = 0x000f_ffff_ffff_f000n;

/**
 * x86: PRESENT flips, and with it the bits of the frame, so that no frame stands in an absent entry for L1TF to read.
 * Other CPUs keep what they hold: no IPI may be sent from where KFENCE allocates and frees.
 * @kernel kfence_protect_page arch/x86/include/asm/kfence.h read
 */
export const KFENCE_X86: KfenceArch = {
  protectedPte: (entry) => entry ^ 1n ^ X86_PFN_MASK,
  local: true,
};
/**
 * arm64: set_memory_valid() takes PTE_VALID away and sets PTE_PRESENT_INVALID, bit 11.
 * @kernel kfence_protect_page arch/arm64/include/asm/kfence.h read
 */
export const KFENCE_ARM64: KfenceArch = {
  protectedPte: (entry) => (entry & ~1n) | (1n << 11n),
  local: false,
};

export class Kfence {
  /** kfence_enabled; once false, faults only make pages present. */
  enabled = true;
  /** KFENCE_COUNTER_BUGS */
  bugs = 0;
  /** TAINT_BAD_PAGE */
  tainted = false;
  readonly pool: VirtAddr;
  /** Bytes. */
  readonly poolSize: number;
  readonly metadata: readonly KfenceMetadata[];
  /** kfence_freelist, the object that was free longest first. */
  readonly freelist: KfenceMetadata[];
  private readonly host: KfenceHost;
  /** Entries of the pool's pages while they are present. */
  private readonly present: bigint[] = [];

  /**
   * kfence_init_pool(): maps the pool and takes its guards away.
   * @param pool page boundary of free kernel addresses. @param objects number of objects, at least 1
   * @throws RangeError if pages or tables run out
   * @kernel kfence_init_pool mm/kfence/core.c read
   */
  constructor(host: KfenceHost, pool: VirtAddr, objects = KFENCE_NUM_OBJECTS) {
    const { mm } = host;
    this.host = host;
    this.pool = pool;
    this.poolSize = (objects + 1) * 2 * mm.pageSize;
    this.metadata = Array.from({ length: objects }, (_, index) => ({
      index,
      state: 'unused',
      addr: this.pageAddr(2 * (index + 1)),
      size: 0,
      cache: '',
      unprotectedPage: 0n,
    }));
    this.freelist = [...this.metadata];
    this.mapPool();
    for (let page = 0; page < (objects + 1) * 2; page++) {
      if (page === 0 || page % 2 === 1) this.protect(this.pageAddr(page), true);
    }
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.host.mm.pageSize;
  }

  /** @kernel is_kfence_address include/linux/kfence.h read */
  isKfenceAddress(addr: bigint): boolean {
    return u64(addr - this.pool) < BigInt(this.poolSize);
  }

  /**
   * kfence_guarded_alloc(): the object that was free longest.
   * @param size bytes, 1 to a page. @param right puts it at the end of its page, by chance in the kernel
   * @param align alignment of the cache in bytes, a power of two
   * @returns the address, or null without a free object
   * @kernel kfence_guarded_alloc mm/kfence/core.c read
   */
  alloc(size: number, cache: string, right = false, align = 8): VirtAddr | null {
    const { pageSize } = this.host.mm;
    const { kfenceGuardedAlloc: compiled } = this.host.kernel.compiled ?? {};
    if (compiled) return finish(compiled(this, size, cache, right, align));
    const meta = size <= pageSize ? this.freelist.shift() : undefined;
    if (!meta) return null;
    const page = this.pageAddr(2 * (meta.index + 1));
    const offset = right ? pageSize - size - ((pageSize - size) % align) : 0;
    if (meta.state === 'freed') this.protect(page, false);
    Object.assign(meta, { state: 'allocated', addr: u64(page + BigInt(offset)), size, cache });
    return meta.addr;
  }

  /**
   * __kfence_free(). A free of what is not allocated is reported and does nothing.
   * @kernel __kfence_free, kfence_guarded_free mm/kfence/core.c read
   */
  free(addr: VirtAddr, ip: VirtAddr): void {
    const { kfenceFree, kfenceGuardedFree } = this.host.kernel.compiled ?? {};
    const meta = this.addrToMetadata(addr);
    if (kfenceFree) finish(kfenceFree(this, addr, ip));
    else if (kfenceGuardedFree && meta !== null) finish(kfenceGuardedFree(this, addr, meta, ip));
    else this.guardedFree(addr, meta, ip);
  }

  /** The part of a free that is kfence_guarded_free()'s. @param ip who frees */
  guardedFree(addr: VirtAddr, meta: KfenceMetadata | null, ip: VirtAddr): void {
    if (meta?.state !== 'allocated' || meta.addr !== addr) {
      finish(this.report('invalid_free', addr, false, ip, meta));
      return;
    }
    if (meta.unprotectedPage) {
      // The guard took a stray write perhaps; it goes back clean.
      const pfn = this.host.mm.vmallocToPage(meta.unprotectedPage as VirtAddr);
      for (let i = 0; pfn >= 0 && i < this.host.mm.pages.framesPerPage; i++) {
        this.host.ram.clearFrame((pfn + i) as Pfn);
      }
      this.protect(meta.unprotectedPage, true);
      meta.unprotectedPage = 0n;
    }
    meta.state = 'freed';
    this.protect(addr, true);
    this.freelist.push(meta);
  }

  /**
   * kfence_handle_page_fault(). @returns true, with the page made present, for any address of the pool
   * @kernel kfence_handle_page_fault mm/kfence/core.c read
   */
  *handlePageFault(
    addr: VirtAddr,
    isWrite: boolean,
    regs: { readonly ip: VirtAddr },
  ): Activity<boolean> {
    const { kernel } = this.host;
    const told = kernel.events.on;
    if (told) kernel.enter('kfence_handle_page_fault', { addr: hex(addr) });
    const { kfenceHandlePageFault: compiled } = kernel.compiled ?? {};
    if (compiled) return yield* compiled(this, addr, isWrite, regs.ip);
    if (!this.isKfenceAddress(addr)) {
      if (told) kernel.decide('kfence_handle_page_fault', 'not in the pool');
      return false;
    }
    if (this.enabled) {
      if (kernel.stepping) yield { kind: 'report', what: `KFENCE error at ${hex(addr)}` };
      const victim = this.findVictim(addr);
      if (victim.meta) victim.meta.unprotectedPage = victim.error === 'oob' ? addr : 0n;
      yield* this.report(victim.error, addr, isWrite, regs.ip, victim.meta);
    }
    if (kernel.stepping) yield { kind: 'pte', what: `kfence_unprotect ${hex(addr)}` };
    this.protect(addr, false);
    return true;
  }

  /** Which object the access meant: its own page's, or of a guard's two neighbours in use the nearer. */
  private findVictim(addr: bigint): { error: KfenceError; meta: KfenceMetadata | null } {
    const { pageSize } = this.host.mm;
    const page = Math.floor(Number(u64(addr - this.pool)) / pageSize);
    if (page % 2 === 0) {
      const meta = this.addrToMetadata(addr);
      return { error: meta ? 'uaf' : 'invalid', meta };
    }
    const left = inUse(this.addrToMetadata(addr - BigInt(pageSize)));
    const right = inUse(this.addrToMetadata(addr + BigInt(pageSize)));
    let meta = left;
    if (right && (!left || addr - (left.addr + BigInt(left.size)) > right.addr - addr))
      meta = right;
    return { error: meta ? 'oob' : 'invalid', meta };
  }

  private addrToMetadata(addr: bigint): KfenceMetadata | null {
    if (!this.isKfenceAddress(addr)) return null;
    const page = Math.floor(Number(u64(addr - this.pool)) / this.host.mm.pageSize);
    return this.metadata[Math.floor(page / 2) - 1] ?? null;
  }

  /** Prints a finding by kfence_report_error(). @param ip the instruction that is to blame */
  *report(
    error: KfenceError,
    addr: VirtAddr,
    isWrite: boolean,
    ip: VirtAddr,
    meta: KfenceMetadata | null,
  ): Activity<void> {
    const { kernel, formatSymbol } = this.host;
    const finding = { error, addr, isWrite, where: formatSymbol(ip), meta };
    this.bugs++;
    const { kfenceReportError: compiled } = kernel.compiled ?? {};
    if (compiled) yield* compiled(this, finding, ip);
    else kfenceReportError(kernel, finding);
    this.tainted = true;
  }

  private pageAddr(page: number): VirtAddr {
    return u64(this.pool + BigInt(page * this.host.mm.pageSize)) as VirtAddr;
  }

  private mapPool(): void {
    const { mm, kernel, ram } = this.host;
    const owner = mm.pages.owner('kfence');
    for (let page = 0; page < this.poolSize / mm.pageSize; page++) {
      const pfn = mm.pages.allocPage(owner);
      const addr = this.pageAddr(page);
      const ptep = pfn < 0 ? pfn : mm.ptepAlloc(addr);
      if (ptep < 0) throw new RangeError(`KFENCE: no memory for a pool at ${hex(this.pool)}`);
      this.present[page] = mm.format.mkPte(pfn as Pfn, 'PAGE_KERNEL');
      setPteAt(kernel, ram, addr, ptep as Ptep, this.present[page]);
    }
  }

  /**
   * kfence_protect(), kfence_unprotect(): takes the page of `addr` away or gives it back.
   * @kernel kfence_protect, kfence_unprotect mm/kfence/core.c read
   */
  protect(addr: bigint, away: boolean): void {
    const { kfenceProtect, kfenceUnprotect } = this.host.kernel.compiled ?? {};
    const compiled = away ? kfenceProtect : kfenceUnprotect;
    if (compiled) finish(compiled(this, addr as VirtAddr));
    else this.protectPage(addr, away);
  }

  /** What kfence_protect_page() does, on arm64 by set_memory_valid(). */
  protectPage(addr: bigint, away: boolean): void {
    const { mm, kernel, ram, tlb } = this.host;
    const page = Math.floor(Number(u64(addr - this.pool)) / mm.pageSize);
    const va = this.pageAddr(page);
    const ptep = mm.ptepAlloc(va) as Ptep;
    const { local, protectedPte } = this.host.arch;
    if (local && ((ram.read64(ptep) & 1n) !== 0n) !== away) return;
    const entry = away ? protectedPte(this.present[page]) : this.present[page];
    setPteAt(kernel, ram, va, ptep, entry);
    if (!away) return;
    if (local) flushTlbOneKernel(kernel, tlb, va);
    else flushTlbKernelRange(kernel, tlb, va, this.pageAddr(page + 1));
  }
}

const inUse = (meta: KfenceMetadata | null): KfenceMetadata | null =>
  meta?.state === 'allocated' ? meta : null;
