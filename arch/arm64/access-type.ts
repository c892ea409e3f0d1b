// What an access is, as far as translation asks: the AccessDescriptor of the Arm ARM's pseudocode (DDI 0487, J1.1,
// CreateAccDesc...()). The objects are constants of one shape, so that handing one to a walk costs nothing.
// Left out: access types that this model never makes (MTE tags, SVE first-fault, NV2, GCS).
import { PERM_R, PERM_W, PERM_X } from '../../emulator/engine.ts';

/** Privilege that an access is checked with. */
export const PRESENT_EL = 0;
/** LDTR, STTR: EL0, unless PSTATE.UAO is set (DDI 0487, C3.2.5, D8.4.3). */
export const UNPRIVILEGED = 1;
/** AT S1E0*, whatever the exception level. */
export const AS_EL0 = 2;
/** AT S1E1*. */
export const AS_EL1 = 3;

export interface AccessType {
  readonly privilege: typeof PRESENT_EL | typeof UNPRIVILEGED | typeof AS_EL0 | typeof AS_EL1;
  /** PERM_ bits that the page must grant. */
  readonly needs: number;
  /** The needs count for EL0 only: DC by VA to a point of coherency does not check permissions at EL1. */
  readonly needsAtEl0Only: boolean;
  readonly fetch: boolean;
  /** PSTATE.PAN is looked at: not for fetches, DC, IC, and AT other than S1E1RP and S1E1WP. */
  readonly pan: boolean;
  /** A write that updates the dirty state. Not AT, DC, IC: AArch64.S1Translate(). */
  readonly dirties: boolean;
  /** DC ZVA faults on Device memory whatever its address: AArch64.S1HasAlignmentFault(). */
  readonly zeroes: boolean;
  /** ISS.WnR when the fault is not one that only the missing write permission causes. */
  readonly WnR: boolean;
  /** ISS.CM. */
  readonly CM: boolean;
}

const load: AccessType = {
  privilege: PRESENT_EL,
  needs: PERM_R,
  needsAtEl0Only: false,
  fetch: false,
  pan: true,
  dirties: false,
  zeroes: false,
  WnR: false,
  CM: false,
};
const store: AccessType = { ...load, needs: PERM_W, dirties: true, WnR: true };
// A cache maintenance fault reports CM = 1 and WnR = 1 (DDI 0487, D24.2.40, ISS of a Data Abort).
const clean: AccessType = { ...load, needsAtEl0Only: true, pan: false, WnR: true, CM: true };
const at: AccessType = { ...load, privilege: AS_EL1, pan: false };

export const LOAD = load;
export const STORE = store;
export const IFETCH: AccessType = { ...load, needs: PERM_X, fetch: true, pan: false };
/**
 * LSE atomics: WnR is 0 if a read would fault in the same way (AArch64.FaultSyndrome(), IsAtomicRW()), so only the
 * permission to write makes it 1.
 */
export const ATOMIC: AccessType = { ...store, needs: PERM_R | PERM_W, WnR: false };
export const UNPRIVILEGED_LOAD: AccessType = { ...load, privilege: UNPRIVILEGED };
export const UNPRIVILEGED_STORE: AccessType = { ...store, privilege: UNPRIVILEGED };
export const DC_ZERO: AccessType = { ...store, zeroes: true };
/** DC CVAC, CVAU, CIVAC, CVAP. */
export const DC_CLEAN = clean;
/** DC IVAC destroys data and needs write permission (DDI 0487, D7.5.9). */
export const DC_INVALIDATE: AccessType = { ...clean, needs: PERM_W, needsAtEl0Only: false };
export const AT_S1E1R = at;
export const AT_S1E1W: AccessType = { ...at, needs: PERM_W, WnR: true };
export const AT_S1E1RP: AccessType = { ...AT_S1E1R, pan: true };
export const AT_S1E1WP: AccessType = { ...AT_S1E1W, pan: true };
export const AT_S1E0R: AccessType = { ...AT_S1E1R, privilege: AS_EL0 };
export const AT_S1E0W: AccessType = { ...AT_S1E1W, privilege: AS_EL0 };

/** The access types of the engine's READ, WRITE and FETCH. */
export const PLAIN: readonly AccessType[] = [LOAD, STORE, IFETCH];
