// AT S1E0R to S1E1WP: a translation for the program to see, and PAR_EL1 (DDI 0487, AArch64.AT(), D24.2.139). It raises no
// exception for a stage 1 fault. Left out: AT S12*, PAR_EL1 of stage 2, and UNDEFINED S1E1RP and S1E1WP on a CPU without
// FEAT_PAN2, where they act as S1E1R and S1E1W.
import { hi32, lo32 } from '../../emulator/bits.ts';
import { READ } from '../../emulator/engine.ts';
import {
  type AccessType,
  AT_S1E0R,
  AT_S1E0W,
  AT_S1E1R,
  AT_S1E1RP,
  AT_S1E1W,
  AT_S1E1WP,
} from './access-type.ts';
import type { Arm64Paging } from './paging.ts';

const OPERATIONS = {
  s1e1r: AT_S1E1R,
  s1e1w: AT_S1E1W,
  s1e0r: AT_S1E0R,
  s1e0w: AT_S1E0W,
  s1e1rp: AT_S1E1RP,
  s1e1wp: AT_S1E1WP,
} as const satisfies Record<string, AccessType>;

export type AtOperation = keyof typeof OPERATIONS;

// PAR_EL1: F 0; of a fault FST 6:1; of an address SH 8:7, NS 9, PA 51:12, ATTR 63:56. Bit 11 is RES1.
const F = 1n << 0n;
const NS = 1n << 9n;
const RES1 = 1n << 11n;

/**
 * Runs an AT instruction. The access flag is set as by any access; the dirty state never.
 * @returns PAR_EL1; NS, UNKNOWN in Non-secure state, is 1
 */
export function addressTranslate(paging: Arm64Paging, operation: AtOperation, va: bigint): bigint {
  paging.access = OPERATIONS[operation];
  const ok = paging.walk(hi32(va), lo32(va), READ, true);
  paging.access = null;
  if (!ok) return (BigInt(paging.faultStatus) << 1n) | RES1 | F;
  const { memAttr } = paging;
  // Device memory and Normal Inner and Outer Non-cacheable are Outer Shareable, whatever the descriptor says.
  const outer = memAttr < 0x10 || memAttr === 0x44 || memAttr === 0x40;
  const sh = outer ? 2 : paging.shareability;
  const page = paging.pa - (paging.pa % 4096);
  return (BigInt(memAttr) << 56n) | BigInt(page) | RES1 | NS | (BigInt(sh) << 7n);
}

/** True if a PAR_EL1 reports a fault. */
export const parFault = (par: bigint): boolean => (par & F) !== 0n;

/** PAR_EL1.FST of a fault, 0 to 0x3f. */
export const parFst = (par: bigint): number => Number((par >> 1n) & 0x3fn);
