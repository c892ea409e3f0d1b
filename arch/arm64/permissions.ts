// The permissions that the descriptors of a walk give together, as the word that a TLB entry keeps: PERM_ bits of EL1 and
// of EL0 before PAN and WXN, which are applied at each access (DDI 0487, D8.4: AArch64.S1ApplyTablePerms(),
// S1ApplyOutputPerms(), S1DirectBasePermissions()). Left out: permission indirection and overlays (FEAT_S1PIE, S1POE).
import { PERM_R, PERM_W, PERM_X } from '../../emulator/engine.ts';

// Bits of a descriptor's lower half (D8.3.2), and of its upper half.
export const AP1 = 1 << 6;
export const AP2 = 1 << 7;
export const HI_DBM = 1 << (51 - 32);
const HI_PXN = 1 << (53 - 32);
const HI_UXN = 1 << (54 - 32);
// Table descriptors (D8.3.1).
const HI_PXN_TABLE = 1 << (59 - 32);
const HI_UXN_TABLE = 1 << (60 - 32);
const HI_AP_TABLE0 = 1 << (61 - 32);
const HI_AP_TABLE1 = 1 << (62 - 32);

/** The rights of EL0 stand above those of EL1. */
const EL0_SHIFT = 3;
const EL0_DATA = (PERM_R | PERM_W) << EL0_SHIFT;

/**
 * @param hi upper and @param lo lower half of the leaf
 * @param tableHi upper halves of the table descriptors above it, ORed; 0 if TCR_EL1.HPDn ignores them
 * @param hd dirty state is kept by hardware (TCR_EL1.HA and HD)
 * @returns PERM_ bits at EL1 in bits 2:0 and at EL0 in bits 5:3
 */
export function combinedRights(hi: number, lo: number, tableHi: number, hd: boolean): number {
  // With hardware dirty state the effective AP[2] of a page with DBM set is 0, for every kind of access.
  const apReadOnly = (lo & AP2) !== 0 && !(hd && (hi & HI_DBM) !== 0);
  const write = apReadOnly || (tableHi & HI_AP_TABLE1) !== 0 ? 0 : PERM_W;
  const data0 = (lo & AP1) !== 0 && (tableHi & HI_AP_TABLE0) === 0 ? PERM_R | write : 0;
  // What EL0 can write EL1 does not execute, whatever PXN says.
  const pxn = (hi & HI_PXN) !== 0 || (tableHi & HI_PXN_TABLE) !== 0 || (data0 & PERM_W) !== 0;
  const uxn = (hi & HI_UXN) !== 0 || (tableHi & HI_UXN_TABLE) !== 0;
  const el1 = PERM_R | write | (pxn ? 0 : PERM_X);
  return el1 | ((data0 | (uxn ? 0 : PERM_X)) << EL0_SHIFT);
}

/** PERM_ bits at a privilege, with SCTLR_EL1.WXN: what can be written is not executed. */
export function allowedAt(rights: number, el0: boolean, wxn: boolean): number {
  const allowed = (el0 ? rights >>> EL0_SHIFT : rights) & 7;
  return wxn && (allowed & PERM_W) !== 0 ? allowed & ~PERM_X : allowed;
}

/** FEAT_PAN (D8.4.3): PSTATE.PAN keeps EL1 from data that EL0 can read or write. EPAN is left out. */
export const hiddenByPan = (rights: number): boolean => (rights & EL0_DATA) !== 0;

/** PERM_ bits of both exception levels as text: `EL1 rw-, EL0 ---`. */
export const rightsText = (rights: number): string =>
  `EL1 ${permText(rights)}, EL0 ${permText(rights >>> EL0_SHIFT)}`;

const permText = (perms: number): string =>
  (perms & PERM_R ? 'r' : '-') + (perms & PERM_W ? 'w' : '-') + (perms & PERM_X ? 'x' : '-');
