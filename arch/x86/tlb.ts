// The shapes of TLBs, and what each instruction invalidates (SDM Vol. 3A, 4.10.4.1, and the instructions' pages in Vol. 2).
// An instruction that would raise #GP changes nothing and returns false. Left out: paging-structure caches (an
// invalidation of them alone is nothing here), CR0 writes that switch paging off, broadcast invalidation.
import type { VirtAddr } from '../../emulator/address.ts';
import { hi32 } from '../../emulator/bits.ts';
import type { Mmu } from '../../mm/mmu.ts';
import { ANY_SPACE, type TlbShape } from '../../mm/tlb.ts';
import {
  CR4_LA57,
  CR4_PAE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_SMEP,
  type X86Paging,
  type X86PagingState,
} from './paging.ts';

/**
 * Second-level TLB of a Golden Cove core: 2,048 entries for 4 KiB and 2 MiB pages (Intel's optimisation manual; the
 * measured curve leaves its plateau there), 1,024 for 1 GiB.
 */
export const GOLDEN_COVE_STLB: TlbShape = [
  { name: 'STLB 4K/2M', shifts: [12, 21], sets: 128, ways: 16 },
  { name: 'STLB 1G', shifts: [30], sets: 256, ways: 4 },
];

/** First-level data TLB of the same core: 96 entries of 6 ways (measured), and its arrays for large pages. */
export const GOLDEN_COVE_L1D: TlbShape = [
  { name: 'DTLB 4K', shifts: [12], sets: 16, ways: 6 },
  { name: 'DTLB 2M', shifts: [21], sets: 8, ways: 4 },
  { name: 'DTLB 1G', shifts: [30], sets: 1, ways: 8 },
];

/** CR3 bit 63 in the operand of MOV to CR3: keep the entries of the new PCID. It is not stored. */
const CR3_NOFLUSH = 1n << 63n;
const U32 = 0xffff_ffffn;

/** A vCPU's MMU and the paging unit in it. */
export interface X86Tlb {
  readonly mmu: Mmu;
  readonly paging: X86Paging;
}

/** INVLPG: the page in the current PCID, and global entries for it. A non-canonical address does nothing. */
export function invlpg({ mmu, paging }: X86Tlb, va: VirtAddr): void {
  if (paging.canonical(hi32(va))) mmu.invalidatePage(va, paging.space, true);
}

/**
 * INVPCID. Type 0: one address of one PCID; 1: one PCID; 2: everything; 3: everything but global entries. Types 0 and 1
 * leave global entries alone.
 * @returns false for #GP(0): an unknown type, a PCID above 4095 or, while PCIDs are off, other than 0, an address that is
 * not canonical
 */
export function invpcid({ mmu, paging }: X86Tlb, type: number, pcid: bigint, va: VirtAddr) {
  if (type < 0 || type > 3) return false;
  if (type <= 1) {
    if (pcid < 0n || pcid > 0xfffn) return false;
    if (pcid !== 0n && !(paging.state.cr4 & CR4_PCIDE)) return false;
  }
  if (type === 0) {
    if (!paging.canonical(hi32(va))) return false;
    mmu.invalidatePage(va, Number(pcid), false);
  } else if (type === 1) mmu.invalidateSpace(Number(pcid), false);
  else if (type === 2) mmu.invalidateAll();
  else mmu.invalidateSpace(ANY_SPACE, false);
  return true;
}

/**
 * MOV to CR3: drops what is not global of the PCID it loads (of PCID 0 while PCIDs are off), unless bit 63 says not to.
 * @returns false for #GP(0): a reserved bit is set, which bit 63 is while PCIDs are off
 */
export function movToCr3({ mmu, paging }: X86Tlb, value: bigint): boolean {
  const pcids = (paging.state.cr4 & CR4_PCIDE) !== 0n;
  const stored = pcids ? value & ~CR3_NOFLUSH : value;
  if (stored >> BigInt(paging.state.maxPhysAddr) !== 0n) return false;
  paging.state.cr3 = stored;
  paging.configure();
  if (stored === value) mmu.invalidateSpace(paging.space, false);
  else mmu.rightsChanged();
  return true;
}

/**
 * MOV to CR4: drops everything if PGE changes or PCIDE is cleared, the current PCID and global entries if SMEP is set.
 * @returns false for #GP(0): LA57 changed or PAE cleared in 64-bit mode, or PCIDE set while CR3[11:0] is not 0
 */
export function movToCr4({ mmu, paging }: X86Tlb, value: bigint): boolean {
  const { state } = paging;
  const changed = state.cr4 ^ value;
  if (changed & CR4_LA57 || !(value & CR4_PAE)) return false;
  if (changed & value & CR4_PCIDE && state.cr3 & 0xfffn) return false;
  const before = paging.space;
  state.cr4 = value;
  paging.configure();
  if (changed & CR4_PGE || changed & ~value & CR4_PCIDE) mmu.invalidateAll();
  else if (changed & value & CR4_SMEP) mmu.invalidateSpace(before, true);
  else mmu.rightsChanged();
  return true;
}

/**
 * Changes that invalidate nothing but show at once: WRPKRU, WRMSR to IA32_PKRS or EFER.NXE, CR0.WP, and, where the
 * engine does not tag its cache with them, CPL and EFLAGS.AC.
 * @throws RangeError as {@link X86Paging.configure}
 */
export function changeRights(
  { mmu, paging }: X86Tlb,
  change: Partial<Omit<X86PagingState, 'cr3' | 'cr4'>>,
): void {
  Object.assign(paging.state, change);
  paging.state.pkru &= U32;
  paging.state.pkrs &= U32;
  paging.configure();
  mmu.rightsChanged();
}
