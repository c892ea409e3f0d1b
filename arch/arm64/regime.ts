// The stage 1 translation regime EL1&0 as its registers describe it, above all what TCR_EL1, TTBR0_EL1 and TTBR1_EL1 say of
// each half of the address space, computed once when a register changes so that a walk only reads plain fields. Left out:
// stage 2, other regimes, TCR_EL1.NFDn (only SVE and transactional accesses ask), cacheability of the walk itself.
import { bit, field, hi32 } from '../../emulator/bits.ts';
import type { WalkGeometry } from '../../mm/walk.ts';
import type { Arm64Features } from './features.ts';
import {
  type Arm64PagingState,
  SCTLR_C,
  SCTLR_M,
  SCTLR_WXN,
  TCR_HA,
  TCR_HD,
} from './paging-state.ts';

/** How output-address bits above 47 lie in a descriptor (DDI 0487, D8.3.1, VMSAv8-64 descriptor formats). */
export const OA_48 = 0;
/** FEAT_LPA, 64K granule: OA[51:48] in bits 15:12. */
export const OA_LPA = 1;
/** FEAT_LPA2, TCR_EL1.DS = 1: OA[49:48] in place, OA[51:50] in bits 9:8. */
export const OA_LPA2 = 2;

/** PA[51:32] of a descriptor. @param format one of the OA_ values @param hi upper and @param lo lower half of it */
export function outputHi(format: number, hi: number, lo: number): number {
  if (format === OA_48) return hi & 0xffff;
  if (format === OA_LPA) return (hi & 0xffff) | ((lo & 0xf000) << 4);
  return (hi & 0x3_ffff) | ((lo & 0x300) << 10);
}

/** One half of the address space: VA[55] = 0 is translated by TTBR0_EL1, VA[55] = 1 by TTBR1_EL1. */
export interface AddressHalf {
  readonly geometry: WalkGeometry;
  /** Level of the first table: -1 to 3. */
  readonly startLevel: number;
  /** Physical address of the first table, aligned to its size. */
  readonly root: number;
  /** Level 0 address size fault: the TTBR names a table beyond the output address size. */
  readonly rootOutOfRange: boolean;
  /** Level 0 translation fault for every address: TCR_EL1.EPDn, or TxSZ outside what the CPU supports. */
  readonly disabled: boolean;
  /** Level 0 translation fault for every access made as EL0: TCR_EL1.E0PDn. */
  readonly e0pd: boolean;
  /** All ones if the upper half; XOR turns "all bits as VA[55]" into "all zero". */
  readonly sign: number;
  /** Bits of the upper and lower half-words that must equal VA[55], for data and for fetches. */
  readonly checkHi: number;
  readonly checkHiFetch: number;
  readonly checkLo: number;
  /** TCR_EL1.TBIn for data; for fetches unless TBIDn. */
  readonly tbi: boolean;
  readonly tbiFetch: boolean;
  /** TCR_EL1.HPDn: hierarchical permissions are ignored. */
  readonly hpd: boolean;
  /** Lowest level at which a block descriptor is supported. */
  readonly blockLevel: number;
  readonly oaFormat: typeof OA_48 | typeof OA_LPA | typeof OA_LPA2;
  /** Bits of PA[51:32] beyond the output address size. */
  readonly oaOutOfRange: number;
  /** Shareability of every page if TCR_EL1.DS = 1 (TCR_EL1.SHn), else -1: the descriptor says it. */
  readonly sh: number;
  readonly granuleShift: number;
  /** Bits of the lower half-word of a table's address. */
  readonly tableMask: number;
}

// TCR_EL1 fields of the two halves: DDI 0487, D24.2.188.
const LAYOUT = [
  { txsz: 0, epd: 7, sh: 12, tg: 14, tbi: 37, hpd: 41, tbid: 51, e0pd: 55 },
  { txsz: 16, epd: 23, sh: 28, tg: 30, tbi: 38, hpd: 42, tbid: 52, e0pd: 56 },
] as const;

const GRANULE_SHIFT = { '4K': 12, '16K': 14, '64K': 16 } as const;
// TG0 and TG1 encode the granules differently; the remaining value of each is reserved.
const TG0 = ['4K', '64K', '16K', null] as const;
const TG1 = [null, '16K', '4K', '64K'] as const;

/** Output address size in bits by TCR_EL1.IPS; 0b111 is reserved and taken as the largest. */
const IPS_BITS = [32, 36, 40, 42, 44, 48, 52, 52] as const;

type Granule = '4K' | '16K' | '64K';

/**
 * AArch64.S1DecodeTG0(), S1DecodeTG1(): a reserved value or a granule the CPU lacks becomes an IMPLEMENTATION DEFINED
 * one; here the smallest that exists.
 */
function granuleOf(tcr: bigint, half: 0 | 1, features: Arm64Features): Granule {
  const tg = Number(field(tcr, LAYOUT[half].tg + 1, LAYOUT[half].tg));
  const granule = half === 0 ? TG0[tg] : TG1[tg];
  return granule !== null && features.granules.includes(granule) ? granule : features.granules[0];
}

/**
 * AArch64.PhysicalAddressSize(): the output address size in bits that TCR_EL1.IPS and the CPU allow. Its limit of 48 bits for
 * descriptors without room for more is left out: no address of theirs can exceed it.
 */
const outputBits = (tcr: bigint, features: Arm64Features): number =>
  Math.min(IPS_BITS[Number(field(tcr, 34, 32))], features.paBits);

/** AArch64.BlockDescSupported(): 4K at level 1 (0 with DS), 16K at 2 (1 with DS), 64K at 2 (1 with 52-bit PAs). */
function firstBlockLevel(granule: Granule, ds: boolean, features: Arm64Features): number {
  if (granule === '4K') return ds ? 0 : 1;
  if (granule === '16K') return ds ? 1 : 2;
  return features.paBits >= 52 ? 1 : 2;
}

function oaFormatOf(granule: Granule, ds: boolean, features: Arm64Features) {
  if (granule === '64K') return features.paBits >= 52 ? OA_LPA : OA_48;
  return ds ? OA_LPA2 : OA_48;
}

/** AArch64.S1TTBaseAddress(): TTBR bits 47:1, or 5:2 above 47:6 where tables can lie above 2^48. */
function tableBase(ttbr: bigint, sizeLog2: number, wide: boolean): number {
  if (!wide) return align(Number(field(ttbr, 47, 1)) * 2, sizeLog2);
  const base = Number(field(ttbr, 47, 6)) * 64 + Number(field(ttbr, 5, 2)) * 2 ** 48;
  return align(base, Math.max(sizeLog2, 6));
}

const align = (address: number, log2: number) => address - (address % 2 ** log2);

/** Bits `from` to 63 of an address whose bits above `top` are ignored, as two 32-bit masks. */
function rangeMask(from: number, top: number): { hi: number; lo: number } {
  const mask = BigInt.asUintN(64, (1n << BigInt(top + 1)) - (1n << BigInt(from)));
  return { hi: hi32(mask), lo: Number(BigInt.asUintN(32, mask)) };
}

/**
 * What TCR_EL1 and one TTBR say of a half of the address space (AArch64.GetS1TTWParams(), S1InitialTTWState()).
 * @param half 0 for TTBR0_EL1, 1 for TTBR1_EL1
 */
export function addressHalf(
  half: 0 | 1,
  tcr: bigint,
  ttbr: bigint,
  features: Arm64Features,
): AddressHalf {
  const at = LAYOUT[half];
  const granule = granuleOf(tcr, half, features);
  const granuleShift = GRANULE_SHIFT[granule];
  const stride = granuleShift - 3;
  const ds = features.lpa2 && granule !== '64K' && bit(tcr, 59);
  const txsz = Number(field(tcr, at.txsz + 5, at.txsz));
  // AArch64.S1MinTxSZ(), MaxTxSZ(). Outside them the outcome is IMPLEMENTATION DEFINED (S1TxSZFaults()): a level 0
  // translation fault or the nearest limit. Here it faults.
  const min = ds || (granule === '64K' && features.lva) ? 12 : 16;
  const max = features.ttst ? (granule === '64K' ? 47 : 48) : 39;
  const iaBits = 64 - Math.min(Math.max(txsz, min), max);
  const startLevel = 3 - Math.floor((iaBits - 1 - granuleShift) / stride);
  const firstShift = granuleShift + (3 - startLevel) * stride;
  const oaBits = outputBits(tcr, features);
  const oaFormat = oaFormatOf(granule, ds, features);
  const wide = oaFormat === OA_LPA2 || (oaFormat === OA_LPA && field(tcr, 34, 32) === 6n);
  const root = tableBase(ttbr, iaBits - firstShift + 3, wide);
  const tbi = bit(tcr, at.tbi);
  const tbiFetch = tbi && !(features.pauth && bit(tcr, at.tbid));
  const data = rangeMask(iaBits, tbi ? 55 : 63);
  return {
    geometry: {
      firstShift,
      firstBits: iaBits - firstShift,
      indexBits: stride,
      pageShift: granuleShift,
    },
    startLevel,
    root,
    rootOutOfRange: root >= 2 ** oaBits,
    disabled: bit(tcr, at.epd) || txsz < min || txsz > max,
    e0pd: features.e0pd && bit(tcr, at.e0pd),
    sign: half === 1 ? -1 : 0,
    checkHi: data.hi,
    checkHiFetch: rangeMask(iaBits, tbiFetch ? 55 : 63).hi,
    checkLo: data.lo,
    tbi,
    tbiFetch,
    hpd: features.hpds && bit(tcr, at.hpd),
    blockLevel: firstBlockLevel(granule, ds, features),
    oaFormat,
    oaOutOfRange: ~(2 ** (oaBits - 32) - 1),
    sh: ds ? Number(field(tcr, at.sh + 1, at.sh)) : -1,
    granuleShift,
    tableMask: -1 << granuleShift,
  };
}

/** The registers in the form that walks read. */
export interface Regime {
  /** SCTLR_EL1.M */
  readonly translating: boolean;
  readonly el0: boolean;
  readonly pan: boolean;
  readonly uao: boolean;
  readonly wxn: boolean;
  /** Access flag and dirty state are kept by hardware. */
  readonly ha: boolean;
  readonly hd: boolean;
  readonly lower: AddressHalf;
  readonly upper: AddressHalf;
  readonly asid: number;
  /** ASID bits that count. */
  readonly asidMask: number;
  /** MAIR_EL1 attributes by AttrIndx, as data accesses see them. */
  readonly attrs: Uint8Array;
  /** With the MMU off: bits of the upper half-word that must be 0, for data and for fetches. */
  readonly flatCheck: number;
  readonly flatCheckFetch: number;
}

/** MAIR_EL1 attributes: Device memory has 0 in the upper four bits (DDI 0487, D24.2.121). */
export const isDevice = (attr: number): boolean => attr < 0x10;
const NORMAL_NON_CACHEABLE = 0x44;

/** @throws RangeError for an exception level other than 0 or 1 */
export function prepareRegime(state: Arm64PagingState): Regime {
  const { sctlr, tcr, ttbr0, ttbr1, el, features } = state;
  if (el !== 0 && el !== 1) throw new RangeError(`exception level must be 0 or 1: ${el}`);
  // TCR_EL1.HA and HD (D8.5): HD needs HA, and both the feature.
  const ha = features.hafdbs !== 'none' && (tcr & TCR_HA) !== 0n;
  // TCR_EL1.A1 chooses the TTBR that holds the ASID, TCR_EL1.AS its width (D8.16.1).
  const asidMask = features.asid16 && bit(tcr, 36) ? 0xffff : 0xff;
  const lower = addressHalf(0, tcr, ttbr0, features);
  // AArch64.S1DisabledOutput(): only the physical address size limits an address, and TBI still drops its tag.
  const beyondPa = (tbi: boolean) => rangeMask(features.paBits, tbi ? 55 : 63).hi;
  return {
    translating: (sctlr & SCTLR_M) !== 0n,
    el0: el === 0,
    pan: features.pan && state.pan,
    uao: features.uao && state.uao,
    wxn: (sctlr & SCTLR_WXN) !== 0n,
    ha,
    hd: ha && features.hafdbs === 'AF+dirty' && (tcr & TCR_HD) !== 0n,
    lower,
    upper: addressHalf(1, tcr, ttbr1, features),
    asid: Number(field(bit(tcr, 22) ? ttbr1 : ttbr0, 63, 48)) & asidMask,
    asidMask,
    attrs: attributes(state.mair, (sctlr & SCTLR_C) !== 0n),
    flatCheck: beyondPa(lower.tbi),
    flatCheckFetch: beyondPa(lower.tbiFetch),
  };
}

/** AArch64.S1Translate(): with SCTLR_EL1.C = 0 data in Normal memory is Non-cacheable. */
function attributes(mair: bigint, cacheable: boolean): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, index) => {
    const attr = Number(field(mair, index * 8 + 7, index * 8));
    return isDevice(attr) || cacheable ? attr : NORMAL_NON_CACHEABLE;
  });
}
