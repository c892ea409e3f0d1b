// What an instruction of compiled code that was stopped at its first access to memory goes on to do, by its mnemonic.
import { type AccessKind, WRITE } from '../../emulator/engine.ts';
import type { Access } from './laid.ts';

/** The accessor of page tables that compilers make such an instruction of. */
export function accessorOf(mnemonic: string, kind: AccessKind): string {
  if (/cmpxchg|^cas/.test(mnemonic)) return 'ptep_try_set';
  if (/xchg|^swp/.test(mnemonic)) return 'ptep_get_and_clear';
  if (/^stl?xr/.test(mnemonic)) return 'ptep_try_set';
  return kind === WRITE ? 'set_pte_at' : 'ptep_get';
}

/** What it does to a structure. Read-modify-writes may be stopped at their load. */
export function accessOf(mnemonic: string, kind: AccessKind): Access {
  if (/cmpxchg|^cas|^stl?xr/.test(mnemonic)) return 'exchange';
  if (kind === WRITE) return 'write';
  return LOADS.test(mnemonic) ? 'read' : 'write';
}

const LOADS = /^(?:mov\w*|ldr\w*|ldu\w*|ldp\w*|lda?xrb?|ldap?rb?|cmp|test)$/;
