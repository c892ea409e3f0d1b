// What an architecture's paging unit offers to the MMU, the kernel model and the reader: a translation with rights, and
// the story of a walk. Page tables are the hardware's own, in RAM. `arch/x86/paging.ts` and `arch/arm64/paging.ts`
// fulfil it.
import type { PhysAddr, VirtAddr } from '../emulator/address.ts';
import type { AccessKind } from '../emulator/engine.ts';
import type { WalkRecord } from './walk.ts';

/** What {@link Paging.grant} says of an access that hit a TLB entry. */
export const GRANTED = 0;
export const REFUSED = 1;
/** The entry cannot serve it: the tables must be walked again, so that the dirty state is set. */
export const REWALK = 2;
export type Grant = typeof GRANTED | typeof REFUSED | typeof REWALK;

/** {@link Paging.rights} after a refusal that no TLB ever keeps: reserved bits, aborts, a bad address. */
export const NO_RIGHTS = 0;
/** Bit of {@link Paging.rights} on both architectures: no dirty state is left to set. */
export const RIGHTS_DIRTY = 0x8000_0000;

/** One level of a walk, for people and JSON. */
export interface LevelReport {
  /** The manual's name of the level: PML5, PML4, PDPT, PD, PT; L-1 to L3. */
  readonly level: string;
  readonly table: PhysAddr;
  readonly index: number;
  readonly entryAddr: PhysAddr;
  readonly entry: bigint;
  /** Decoded bits that are set, in the manual's words: "P RW A D G XD". */
  readonly bits: string;
  /** "table", "4K page", "2M page", "not present", "reserved bits", "block", ... */
  readonly verdict: string;
}

/** A whole walk, made without side effects. */
export interface WalkReport {
  readonly va: VirtAddr;
  readonly ok: boolean;
  readonly pa: PhysAddr | null;
  readonly levels: readonly LevelReport[];
  /** One sentence: what the access comes to, with the fault's code if it faults. */
  readonly verdict: string;
  /** x86 error code or ESR, if it faults. */
  readonly code: bigint | null;
}

/**
 * The paging unit of one vCPU: its control registers and the walk they govern. The hot path is `walk` with halves; it
 * leaves its answer in the fields below, which the next call overwrites.
 */
export interface Paging {
  /**
   * Translates one access that stays within a page.
   * @param hi upper and @param lo lower 32 bits (unsigned) of the address
   * @param sideEffects true sets accessed and dirty state in the tables as the hardware does; false only looks
   * @returns true with `pa` ... `pageShift` set; false with `faultVector` and `faultCode` set
   */
  walk(hi: number, lo: number, kind: AccessKind, sideEffects: boolean): boolean;
  /**
   * Judges an access that hits a TLB entry, from the rights that the walk found when the entry was filled and from the
   * privilege, flags and keys of now. It reads no table.
   * @param rights see {@link rights}
   * @param hi upper and @param lo lower 32 bits of the address, as from {@link untag}
   * @returns GRANTED with `perms` set; REFUSED with `faultVector` and `faultCode` set; REWALK
   */
  grant(rights: number, hi: number, lo: number, kind: AccessKind): Grant;
  /** Upper half of the address as tables and TLB see it: arm64 without the tag that TBI ignores, x86 unchanged. */
  untag(hi: number, kind: AccessKind): number;
  /** False while addresses are not translated (arm64 SCTLR_EL1.M = 0): the TLB is then neither read nor filled. */
  readonly translating: boolean;
  /**
   * True if a fault removes the TLB entries of its page (x86, SDM Vol. 3A, 4.10.4.1), so that a stale entry refuses an
   * access at most once. On arm64 they stay until a TLBI names them.
   */
  readonly faultInvalidates: boolean;
  /** Rights with which {@link grant} refuses as a TLB with two entries for one page does; null where none does. */
  readonly conflictRights: number | null;

  /** The entries that the last {@link walk} read. */
  readonly record: WalkRecord;
  /** Physical address of the byte. */
  readonly pa: number;
  /**
   * Whether the last walk reached a page, even if the access was then refused by its rights; `pa`, `rights`, `global` and
   * `pageShift` then tell of it.
   */
  readonly found: boolean;
  /**
   * What the walk found, for {@link grant}: the combined rights of all levels, the key, RIGHTS_DIRTY; 32 bits unsigned,
   * otherwise the architecture's own. If no page was found: what makes `grant` refuse in the same way (for a TLB whose
   * policy keeps negative entries; `pageShift` is then the base page's), or NO_RIGHTS if that is never kept.
   */
  readonly rights: number;
  /**
   * PERM_ bits of every access that this entry allows at the present privilege without another walk. PERM_W only when
   * no dirty state is left to set.
   */
  readonly perms: number;
  /** True if the entry is global (survives a change of address space). */
  readonly global: boolean;
  /** log2 of the size of the page or block: 12 to 39. */
  readonly pageShift: number;
  /** x86: the vector (14, 13 or 12). arm64: the exception class EC. */
  readonly faultVector: number;
  /** x86: the error code. arm64: ESR_EL1 (32 bits, unsigned). */
  readonly faultCode: number;
  /** Tag of the address space for the TLB: PCID or ASID (with the half of the address space where that matters). */
  readonly space: number;

  /** What {@link space} is: the manual's name. */
  readonly spaceName: 'PCID' | 'ASID';
  /** What a TLB entry keeps of {@link rights}, in the manual's words. */
  describeRights(rights: number): string;

  /** The same walk told level by level, without side effects. */
  inspect(va: VirtAddr, kind: AccessKind): WalkReport;
}

const UNITS = ['', 'K', 'M', 'G', 'T'];

/** Size of a page or block of 2^`shift` bytes in words: 12 is 4K, 25 is 32M. */
export const pageSizeName = (shift: number): string =>
  `${2 ** (shift % 10)}${UNITS[Math.floor(shift / 10)]}`;
