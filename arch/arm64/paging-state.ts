// The registers and features that AArch64 paging depends on: the state of a paging unit, register bits by the manual's
// names, and the state in which Linux runs kernel code. What they do is in arch/arm64/paging.ts and regime.ts.
import type { PhysAddr } from '../../emulator/address.ts';
import type { KernelConfig } from '../../mm/context.ts';
import { ARM64_CPUS, type Arm64Features } from './features.ts';

/** SCTLR_EL1 bits that translation reads. DDI 0487, D24.2.175. */
export const SCTLR_M = 1n << 0n;
export const SCTLR_A = 1n << 1n;
export const SCTLR_C = 1n << 2n;
export const SCTLR_I = 1n << 12n;
export const SCTLR_WXN = 1n << 19n;

/** TCR_EL1 bits by the names of asm/pgtable-hwdef.h. DDI 0487, D24.2.188. */
const TCR_IRGN_WBWA = (1n << 8n) | (1n << 24n);
const TCR_ORGN_WBWA = (1n << 10n) | (1n << 26n);
const TCR_SH_INNER = (3n << 12n) | (3n << 28n);
const TCR_EPD0 = 1n << 7n;
const TCR_A1 = 1n << 22n;
const TCR_IPS_48 = 5n << 32n;
const TCR_ASID16 = 1n << 36n;
const TCR_TBI0 = 1n << 37n;
export const TCR_HA = 1n << 39n;
export const TCR_HD = 1n << 40n;
const TCR_E0PD1 = 1n << 56n;
/** TG0 and TG1 by page size. */
const TCR_TG: Readonly<Record<number, bigint>> = {
  4096: (0n << 14n) | (2n << 30n),
  16384: (2n << 14n) | (1n << 30n),
  65536: (1n << 14n) | (3n << 30n),
};

/**
 * MAIR_EL1 as arch/arm64/mm/proc.S sets it: index 0 Normal write-back (MT_NORMAL), 1 tagged, 2 Non-cacheable,
 * 3 Device-nGnRnE, 4 Device-nGnRE.
 */
const MAIR_LINUX = 0x04_00_44_ff_ffn;

/** Everything the unit reads. Change what you like, then call {@link Arm64Paging.configure}. */
export interface Arm64PagingState {
  /** SCTLR_EL1, TCR_EL1, MAIR_EL1, TTBR0_EL1, TTBR1_EL1. */
  sctlr: bigint;
  tcr: bigint;
  mair: bigint;
  ttbr0: bigint;
  ttbr1: bigint;
  /** Exception level, 0 or 1. */
  el: number;
  /** PSTATE.PAN and PSTATE.UAO; without the feature they read as 0. */
  pan: boolean;
  uao: boolean;
  features: Arm64Features;
}

/**
 * The state in which Linux runs kernel code: both halves with 48-bit addresses (__cpu_setup()), kernel tables at `root`.
 * @param lower top table of the lower half. By default that half is empty, as with reserved_pg_dir: every address of it is
 * a translation fault of the first level
 * @throws RangeError for a page size other than 4096, 16384 or 65536
 */
export function linuxPagingState(
  root: PhysAddr,
  config: Pick<KernelConfig, 'pageSize' | 'hafdbs' | 'pti'>,
  lower: PhysAddr | null = null,
): Arm64PagingState {
  const granule = TCR_TG[config.pageSize];
  if (granule === undefined) throw new RangeError(`no arm64 page size: ${config.pageSize}`);
  const { epd0, ttbr0 } = lower === null ? emptyLowerHalf(root, config.pageSize) : lowerHalf(lower);
  return {
    sctlr: SCTLR_M | SCTLR_C | SCTLR_I,
    tcr:
      (16n << 0n) |
      (16n << 16n) |
      granule |
      TCR_IRGN_WBWA |
      TCR_ORGN_WBWA |
      TCR_SH_INNER |
      TCR_A1 |
      TCR_IPS_48 |
      TCR_ASID16 |
      TCR_TBI0 |
      (epd0 ? TCR_EPD0 : 0n) |
      (config.hafdbs ? TCR_HA | TCR_HD : 0n) |
      // cpu_enable_e0pd(): instead of KPTI on a CPU that has it.
      (config.pti ? 0n : TCR_E0PD1),
    mair: MAIR_LINUX,
    ttbr0: BigInt(ttbr0),
    ttbr1: BigInt(root),
    el: 1,
    pan: true,
    uao: false,
    features: ARM64_CPUS['neoverse-n1'],
  };
}

const lowerHalf = (ttbr0: number) => ({ epd0: false, ttbr0 });

/**
 * EPD0 faults at level 0, as an empty table of level 0 does. With 64K pages the first level is 1 and its table has 64
 * entries, so that the rest of the root's page is an empty table.
 */
const emptyLowerHalf = (root: number, pageSize: number) =>
  pageSize === 65536 ? lowerHalf(root + pageSize / 2) : { epd0: true, ttbr0: 0 };
