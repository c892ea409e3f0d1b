// The page-fault error code: its bits, and the word told as fields. It leaves out who sets them: arch/x86/paging.ts
// builds codes for ordinary paging, and nothing here raises SS, HLAT, SGX or RMP, which are only decoded.
import { bit } from '../../emulator/bits.ts';
import { type Field, flagOf } from '../fields.ts';

// The bits that the paging unit sets. SDM Vol. 3A, 4.7 and figure 4-12.
/** The translation was present: a right was violated, or a reserved bit was set. */
export const PF_P = 1 << 0;
/** W/R: the access was a write. */
export const PF_W = 1 << 1;
/** U/S: a user-mode access, which an implicit supervisor access at CPL 3 is not. */
export const PF_U = 1 << 2;
/** A reserved bit was set in an entry that the walk used; implies P. */
export const PF_RSVD = 1 << 3;
/** I/D: an instruction fetch; only set if CR4.SMEP or EFER.NXE is. */
export const PF_I = 1 << 4;
/** The protection key denies the data access. */
export const PF_PK = 1 << 5;

/** Vectors that an access can raise: #SS and #GP for a non-canonical address, #PF. SDM Vol. 3A, table 6-1. */
export const VECTOR_SS = 12;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;

/**
 * The fields of a page-fault error code, from bit 0 up (RMP: AMD APM Vol. 2, 8.4.2). Bits without a meaning are listed if they are
 * set.
 */
export function decodePfErrorCode(code: bigint): readonly Field[] {
  const fields = [
    flagOf(code, 'P', 0, 'not-present page', 'present page: a right or a reserved bit'),
    flagOf(code, 'W/R', 1, 'read', 'write'),
    flagOf(code, 'U/S', 2, 'supervisor-mode access', 'user-mode access'),
    flagOf(code, 'RSVD', 3, 'no reserved bit', 'reserved bit set in a paging-structure entry'),
    flagOf(code, 'I/D', 4, 'data access', 'instruction fetch'),
    flagOf(code, 'PK', 5, 'not the protection key', 'denied by the protection key'),
    flagOf(code, 'SS', 6, 'not a shadow-stack access', 'shadow-stack access'),
    flagOf(code, 'HLAT', 7, 'ordinary paging', 'during HLAT paging'),
    flagOf(code, 'SGX', 15, 'not SGX', 'SGX access control'),
    flagOf(code, 'RMP', 31, 'not the RMP', 'reverse map table check'),
  ];
  const named = new Set(fields.map((field) => field.bits));
  for (let at = 0; at < 64; at++) {
    if (bit(code, at) && !named.has(`${at}`)) {
      fields.push(flagOf(code, 'reserved', at, '', 'no meaning is defined'));
    }
  }
  return fields;
}

/** A page-fault error code in one phrase: "supervisor write, not-present page". */
export function describePfErrorCode(code: bigint): string {
  const has = (mask: number) => (code & BigInt(mask)) !== 0n;
  const who = has(PF_U) ? 'user' : 'supervisor';
  const what = has(PF_I) ? 'fetch' : has(PF_W) ? 'write' : 'read';
  let why = 'protection violation';
  if (!has(PF_P)) why = 'not-present page';
  else if (has(PF_RSVD)) why = 'reserved bit set';
  else if (has(PF_PK)) why = 'protection key';
  return `${who} ${what}, ${why}`;
}
