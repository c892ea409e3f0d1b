// What an architecture's paging unit offers to the MMU, the kernel model and the reader: a translation with rights, and
// the story of a walk. Page tables are the hardware's own, in RAM. `arch/x86/paging.ts` and `arch/arm64/paging.ts`
// fulfil it.
import type { PhysAddr, VirtAddr } from '../emulator/address.ts';
import type { AccessKind } from '../emulator/engine.ts';

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
  /** Physical address of the byte. */
  readonly pa: number;
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

  /** The same walk told level by level, without side effects. */
  inspect(va: VirtAddr, kind: AccessKind): WalkReport;
}
