// What a load, store or atomic asks of the paging unit, told from its encoding (DDI 0487, C4.1.64 and the instructions'
// pages): the form in which access.ts makes whole accesses with every check. Addresses and sizes are those of insn.ts.
// Left out: LDRAA and LDRAB, whose address is authenticated first, memory tags, SVE.
import { type AccessForm, WRITE } from '../../emulator/engine.ts';
import { ALWAYS, type DataInstruction, SCTLR } from './access.ts';
import { ATOMIC, LOAD, STORE, UNPRIVILEGED_LOAD, UNPRIVILEGED_STORE } from './access-type.ts';
import { arm64Instructions } from './insn.ts';

/** One access of an instruction, before it is made. */
export interface CheckedAccess {
  readonly how: DataInstruction;
  readonly form: AccessForm;
}

const bits = (w: number, high: number, low: number): number =>
  (w >>> low) & (2 ** (high - low + 1) - 1);

export const wordOf = (code: Uint8Array): number =>
  (code[0] | (code[1] << 8) | (code[2] << 16) | (code[3] << 24)) >>> 0;

/** LDTR and STTR in every size: "load/store register (unprivileged)", C4.1.64. */
export const isUnprivileged = (w: number): boolean => (w & 0x3f20_0c00) >>> 0 === 0x3800_0800;

/** True for loads and stores, and not for DC ZVA, which insn.ts lists too. */
const isLoadStore = (w: number): boolean => (w & 0x0a00_0000) >>> 0 === 0x0800_0000;

/** The access of the instruction at the start of `code`; null if it makes none that is known. */
export function checkedAccess(code: Uint8Array): CheckedAccess | null {
  const w = wordOf(code);
  const forms = code.length >= 4 && isLoadStore(w) ? arm64Instructions.accesses(code) : [];
  if (forms.length === 0 || !forms[0].exact) return null;
  const form = forms[0];
  const type = forms.length > 1 ? ATOMIC : form.kind === WRITE ? STORE : LOAD;
  const unprivileged = form.kind === WRITE ? UNPRIVILEGED_STORE : UNPRIVILEGED_LOAD;
  const how: DataInstruction = {
    how: 'data',
    types: [isUnprivileged(w) ? unprivileged : type],
    alignment: alignsAlways(w) ? ALWAYS : SCTLR,
    elements: elementsOf(w, form),
  };
  return { how, form };
}

/** Exclusives, acquire and release, CAS; LDAPUR and STLUR; LSE atomics and LDAPR. */
function alignsAlways(w: number): boolean {
  if (bits(w, 26, 26) === 1) return false;
  const group = bits(w, 29, 28);
  if (group === 0) return true;
  if (group === 1) return bits(w, 25, 24) === 1;
  return group === 3 && bits(w, 24, 24) === 0 && bits(w, 21, 21) === 1 && bits(w, 11, 10) === 0;
}

/**
 * LDAR, STLR and their kin, exclusives and LSE atomics aside: they must be aligned whatever SCTLR_EL1.A says, and the core
 * does not see to it.
 */
export function isUncheckedOrdered(w: number): boolean {
  if (!isLoadStore(w) || !alignsAlways(w)) return false;
  const group = bits(w, 29, 28);
  if (group === 0) return bits(w, 23, 23) === 1 && bits(w, 21, 21) === 0;
  // LDAPR among the LSE atomics.
  return group === 1 || (bits(w, 15, 15) === 1 && bits(w, 14, 12) === 4);
}

/** Elements that are aligned each for itself: the registers of a pair, the elements of a SIMD structure. */
function elementsOf(w: number, form: AccessForm): number {
  const group = bits(w, 29, 28);
  if (group === 2) return 2;
  return group === 0 && bits(w, 26, 26) === 1 ? form.size / form.unit : 1;
}
