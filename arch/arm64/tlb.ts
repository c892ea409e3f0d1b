// The shape of a TLB, and what each TLBI instruction invalidates (DDI 0487, D8.16 and the instructions' pages). Left out:
// stage 2 and other regimes, VMIDs, TLBI by range, the TTL hint (it only allows to invalidate less), walk caches (so that
// the last-level forms equal the others), the broadcast of the IS and OS forms, which the caller makes.
import type { VirtAddr } from '../../emulator/address.ts';
import { field, u64 } from '../../emulator/bits.ts';
import type { Mmu } from '../../mm/mmu.ts';
import { ANY_SPACE, type TlbShape } from '../../mm/tlb.ts';
import type { Arm64Paging, Arm64PagingState } from './paging.ts';

/**
 * Second-level TLB of a Neoverse N1 core: 1,280 entries of 5 ways for every page and block size (Arm Neoverse N1 Core
 * Technical Reference Manual, chapter A5). Larger blocks than 4 GiB do not occur there.
 */
export const NEOVERSE_N1_L2TLB: TlbShape = [
  { name: 'L2 TLB', shifts: [12, 14, 16, 21, 25, 29, 30, 36, 39, 42], sets: 256, ways: 5 },
];

/** TLBI operations of the EL1&0 regime, without the suffixes IS, OS and nXS, which name the same entries. */
export type TlbiOperation = 'vmalle1' | 'vae1' | 'vaae1' | 'vale1' | 'vaale1' | 'aside1';

/** A vCPU's MMU and the paging unit in it. */
export interface Arm64Tlb {
  readonly mmu: Mmu;
  readonly paging: Arm64Paging;
}

/**
 * One TLBI on one CPU.
 * @param operand Xt: VA[55:12] in bits 43:0, ASID in bits 63:48; not used by VMALLE1
 */
export function tlbi({ mmu, paging }: Arm64Tlb, operation: TlbiOperation, operand = 0n): void {
  switch (operation) {
    case 'vmalle1':
      mmu.invalidateAll();
      return;
    case 'aside1':
      // Global entries belong to no ASID and stay.
      mmu.invalidateSpace(asidOf(paging, operand), false);
      return;
    case 'vae1':
    case 'vale1':
      mmu.invalidatePage(operandVa(operand), asidOf(paging, operand), true);
      return;
    case 'vaae1':
    case 'vaale1':
      mmu.invalidatePage(operandVa(operand), ANY_SPACE, true);
      return;
  }
}

/** Xt of a TLBI by address. @param asid 0 to 0xffff */
export const tlbiOperand = (va: VirtAddr, asid: number): bigint =>
  (BigInt(asid) << 48n) | field(va, 55, 12);

/** VA[63:56] are copies of VA[55] (AArch64.TLBI_VA()). */
const operandVa = (operand: bigint): VirtAddr =>
  u64(BigInt.asIntN(56, field(operand, 43, 0) << 12n)) as VirtAddr;

/** With 8-bit ASIDs (TCR_EL1.AS = 0) the upper eight bits are RES0. */
const asidOf = (paging: Arm64Paging, operand: bigint): number =>
  Number(field(operand, 63, 48)) & paging.regime.asidMask;

/**
 * Changes that invalidate nothing but show at once: PSTATE, SCTLR_EL1, TCR_EL1, MAIR_EL1 and the TTBRs. Hardware may
 * keep cached copies of register fields until a TLBI; here they take effect with the next access.
 * @throws RangeError as {@link Arm64Paging.configure}
 */
export function changeRegisters(
  { mmu, paging }: Arm64Tlb,
  change: Partial<Arm64PagingState>,
): void {
  Object.assign(paging.state, change);
  paging.configure();
  mmu.rightsChanged();
}
