// The code that makes a golden case's accesses on a vCPU, and where it is mapped: through the half of the address space
// that is not under test, whose table FORMAT-arm64.md puts at 0x44000000 (TxSZ = 25, 4K granule), or at its own physical
// address while the MMU is off.
import type { Ram } from '../../emulator/ram.ts';
import { Unreachable } from '../oracle.ts';
import { type Arm64Case, RAM_BASE } from './golden-case.ts';
import { SCTLR_M } from './paging.ts';

const L1 = 0x4400_0000;
const L2 = L1 + 0x1000;
const L3 = L2 + 0x1000;
const CODE = 0x4401_0000;
/** The upper half begins here with TxSZ = 25. */
const UPPER = 0xffff_ff80_0000_0000n;

const TABLE = 3n;
/** Normal memory (MAIR index 0), read-only for both levels, inner shareable, accessed. */
const PAGE = 0x7c3n;

/** Words of code for each purpose. Address in X0, data in X1 and X2, of CASP and STXP in X2 to X5. */
const WORDS = {
  'ldr 1': [0x3940_0001],
  'ldr 2': [0x7940_0001],
  'ldr 4': [0xb940_0001],
  'ldr 8': [0xf940_0001],
  'str 1': [0x3900_0001],
  'str 2': [0x7900_0001],
  'str 4': [0xb900_0001],
  'str 8': [0xf900_0001],
  'ldp 8': [0x2940_0801],
  'ldp 16': [0xa940_0801],
  'stp 8': [0x2900_0801],
  'stp 16': [0xa900_0801],
  'ldtr 1': [0x3840_0801],
  'ldtr 2': [0x7840_0801],
  'ldtr 4': [0xb840_0801],
  'ldtr 8': [0xf840_0801],
  'sttr 1': [0x3800_0801],
  'sttr 2': [0x7800_0801],
  'sttr 4': [0xb800_0801],
  'sttr 8': [0xf800_0801],
  // cas w1, w2, [x0]
  'cas 1': [0x08a1_7c02],
  'cas 2': [0x48a1_7c02],
  'cas 4': [0x88a1_7c02],
  'cas 8': [0xc8a1_7c02],
  // casp x2, x3, x4, x5, [x0]
  'casp 8': [0x0822_7c04],
  'casp 16': [0x4822_7c04],
  // ldadd w1, w2, [x0]
  'ldadd 1': [0x3821_0002],
  'ldadd 2': [0x7821_0002],
  'ldadd 4': [0xb821_0002],
  'ldadd 8': [0xf821_0002],
  'swp 1': [0x3821_8002],
  'swp 2': [0x7821_8002],
  'swp 4': [0xb821_8002],
  'swp 8': [0xf821_8002],
  'ldxr 1': [0x085f_7c01],
  'ldxr 2': [0x485f_7c01],
  'ldxr 4': [0x885f_7c01],
  'ldxr 8': [0xc85f_7c01],
  // ldxr x1, [x0]; stxr w3, x1, [x0]
  'ldxr_stxr 1': [0x085f_7c01, 0x0803_7c01],
  'ldxr_stxr 2': [0x485f_7c01, 0x4803_7c01],
  'ldxr_stxr 4': [0x885f_7c01, 0x8803_7c01],
  'ldxr_stxr 8': [0xc85f_7c01, 0xc803_7c01],
  // ldxp x1, x2, [x0]; stxp w3, x1, x2, [x0]
  'ldxp_stxp 8': [0x887f_0801, 0x8823_0801],
  'ldxp_stxp 16': [0xc87f_0801, 0xc823_0801],
  'ldar 1': [0x08df_fc01],
  'ldar 2': [0x48df_fc01],
  'ldar 4': [0x88df_fc01],
  'ldar 8': [0xc8df_fc01],
  'stlr 1': [0x089f_fc01],
  'stlr 2': [0x489f_fc01],
  'stlr 4': [0x889f_fc01],
  'stlr 8': [0xc89f_fc01],
  dc_zva: [0xd50b_7420],
  dc_cvac: [0xd50b_7a20],
  dc_cvau: [0xd50b_7b20],
  dc_cvap: [0xd50b_7c20],
  dc_civac: [0xd50b_7e20],
  dc_ivac: [0xd508_7620],
  prfm_pld: [0xf980_0000],
  prfm_pst: [0xf980_0010],
  s1e1r: [0xd508_7800],
  s1e1w: [0xd508_7820],
  s1e0r: [0xd508_7840],
  s1e0w: [0xd508_7860],
  s1e1rp: [0xd508_7900],
  s1e1wp: [0xd508_7920],
  br: [0xd61f_0000],
  vmalle1: [0xd508_871f],
  vmalle1is: [0xd508_831f],
  vae1: [0xd508_8720],
  vae1is: [0xd508_8320],
  aside1: [0xd508_8740],
  aside1is: [0xd508_8340],
  vaae1: [0xd508_8760],
  vaae1is: [0xd508_8360],
  vale1: [0xd508_87a0],
  vale1is: [0xd508_83a0],
  vaale1: [0xd508_87e0],
  vaale1is: [0xd508_83e0],
} as const satisfies Record<string, readonly number[]>;

export type Purpose = keyof typeof WORDS;

const PURPOSES = Object.keys(WORDS) as Purpose[];
const STRIDE = 16;

export const isPurpose = (name: string): name is Purpose => Object.hasOwn(WORDS, name);

/** Instructions of a purpose: one, or two. */
export const lengthOf = (purpose: Purpose): number => WORDS[purpose].length;

/** SVC #0x77: what lies where a case branches to. */
export const SVC = 0xd400_0ee1;

export function layHarness(ram: Ram): void {
  for (const [at, purpose] of PURPOSES.entries()) {
    const bytes = new Uint8Array(Uint32Array.from(WORDS[purpose]).buffer);
    ram.write(CODE + at * STRIDE, bytes);
  }
  // The same address in the lower half, and above the start of the upper one.
  ram.write64(L1 + 8 * (CODE >>> 30), BigInt(L2) | TABLE);
  ram.write64(L2 + 8 * ((CODE >>> 21) & 511), BigInt(L3) | TABLE);
  ram.write64(L3 + 8 * ((CODE >>> 12) & 511), BigInt(CODE) | PAGE);
}

/** What is to be added to a physical address of the harness to reach it in a case. */
export function harnessOffset(golden: Arm64Case): bigint {
  if (!(BigInt(golden.sctlr) & SCTLR_M)) return 0n;
  const base = (ttbr: string) => Number(BigInt(ttbr) & 0xffff_ffff_fffen);
  if (base(golden.ttbr1) === L1) return UPPER;
  if (base(golden.ttbr0) === L1) return 0n;
  throw new Unreachable("neither half of the address space is the harness's");
}

/** Physical address of the code for a purpose. */
export const codeOf = (purpose: Purpose): number => CODE + PURPOSES.indexOf(purpose) * STRIDE;

/** Everything below is tables and code, not data. */
export const isData = (pa: number): boolean => pa >= RAM_BASE && (pa < L1 || pa > CODE + 0x1000);
