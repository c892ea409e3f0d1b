// Instructions of Armv8.1 and later that the encoder is too old for: atomics (FEAT_LSE), acquire loads (FEAT_LRCPC),
// pointer authentication (FEAT_PAuth), branch targets (FEAT_BTI), flags, barriers, `udf`. Encodings: Arm ARM C4.1 and the
// instruction's page in C6.2. Left out: SVE, MTE, MOPS, LS64.
import { registerOf } from './registers.ts';
import type { Resolved } from './resolve.ts';

/** Hints by name (Arm ARM C4.1.65, Hints); the operand is part of the name. */
export const HINTS: Readonly<Record<string, number>> = {
  nop: 0,
  yield: 1,
  wfe: 2,
  wfi: 3,
  sev: 4,
  sevl: 5,
  dgh: 6,
  xpaclri: 7,
  pacia1716: 8,
  pacib1716: 10,
  autia1716: 12,
  autib1716: 14,
  esb: 16,
  'psb csync': 17,
  'tsb csync': 18,
  csdb: 20,
  clrbhb: 22,
  paciaz: 24,
  paciasp: 25,
  pacibz: 26,
  pacibsp: 27,
  autiaz: 28,
  autiasp: 29,
  autibz: 30,
  autibsp: 31,
  bti: 32,
  'bti c': 34,
  'bti j': 36,
  'bti jc': 38,
};

const hintWord = (number: number) => 0xd503_201f + (number << 5);

/** Instructions without operands. */
const PLAIN: Readonly<Record<string, number>> = {
  retaa: 0xd65f_0bff,
  retab: 0xd65f_0fff,
  eretaa: 0xd69f_0bff,
  eretab: 0xd69f_0fff,
  sb: 0xd503_30ff,
  ssbb: 0xd503_309f,
  pssbb: 0xd503_349f,
  cfinv: 0xd500_401f,
  xaflag: 0xd500_403f,
  axflag: 0xd500_405f,
};

const NAMED_OPERATIONS = 'add clr eor set smax smin umax umin'.split(' ');

type Operands = readonly Resolved[];

/** @returns the instruction's word, or null if it is none of these or the operands are not its own */
export function encodeExtension(mnemonic: string, operands: Operands): number | null {
  return (
    encodeHint(mnemonic, operands) ??
    encodeAtomic(mnemonic, operands) ??
    encodeCompareAndSwap(mnemonic, operands) ??
    encodeAcquire(mnemonic, operands) ??
    encodePointerAuth(mnemonic, operands) ??
    encodeFlags(mnemonic, operands)
  );
}

function encodeHint(mnemonic: string, operands: Operands): number | null {
  const [first] = operands;
  const name =
    first?.kind === 'name' && operands.length === 1 ? `${mnemonic} ${first.text}` : mnemonic;
  if (first === undefined && Object.hasOwn(PLAIN, mnemonic)) return PLAIN[mnemonic];
  if (mnemonic === 'hint' && operands.length === 1) {
    const number = smallNumber(first, 127);
    return number === null ? null : hintWord(number);
  }
  if (name === mnemonic && operands.length > 0) return null;
  return Object.hasOwn(HINTS, name) ? hintWord(HINTS[name]) : null;
}

/** Number of a general register; sp counts only where `allowSp`, the zero register only where not. */
export function general(
  operand: Resolved | undefined,
  file: 'x' | 'w',
  allowSp = false,
): number | null {
  if (operand?.kind !== 'register' || operand.lane !== null) return null;
  const register = registerOf(operand.name);
  if (register === null || register.file !== file) return null;
  if (register.number === 31 && register.isStackPointer !== allowSp) return null;
  return register.number;
}

/** `[x0]`, `[sp]`, also with `#0`. */
function plainAddress(operand: Resolved | undefined): number | null {
  if (operand?.kind !== 'memory' || operand.writeback) return null;
  const [base, offset] = operand.parts;
  const isPlain =
    operand.parts.length === 1 ||
    (operand.parts.length === 2 && offset.kind === 'value' && offset.value === 0n);
  return isPlain ? general(base, 'x', true) : null;
}

function smallNumber(operand: Resolved | undefined, most: number): number | null {
  if (operand?.kind !== 'value' || operand.value < 0n || operand.value > BigInt(most)) return null;
  return Number(operand.value);
}

/** Size field and register file of an instruction with a `b` or `h` suffix, or decided by its register. */
export function sized(suffix: string, register: Resolved | undefined): ['x' | 'w', number] | null {
  if (suffix === 'b') return ['w', 0];
  if (suffix === 'h') return ['w', 1];
  const file = register?.kind === 'register' ? registerOf(register.name)?.file : undefined;
  return file === 'x' ? ['x', 3] : file === 'w' ? ['w', 2] : null;
}

const word = (value: number) => value >>> 0;

/** LDADD and kin, their ST aliases, SWP (C4.1.88, Atomic memory operations). */
function encodeAtomic(mnemonic: string, operands: Operands): number | null {
  const found =
    /^(ld|st)(add|clr|eor|set|smax|smin|umax|umin)(a?)(l?)([bh]?)$/.exec(mnemonic) ??
    /^(sw)(p)(a?)(l?)([bh]?)$/.exec(mnemonic);
  if (found === null) return null;
  const [, kind, operation, acquire, release, suffix] = found;
  const isStore = kind === 'st';
  if (isStore && acquire !== '') return null;
  const size = sized(suffix, operands[0]);
  if (size === null || operands.length !== (isStore ? 2 : 3)) return null;
  const rs = general(operands[0], size[0]);
  const rt = isStore ? 31 : general(operands[1], size[0]);
  const rn = plainAddress(operands[isStore ? 1 : 2]);
  if (rs === null || rt === null || rn === null) return null;
  const opcode = kind === 'sw' ? 0x8000 : NAMED_OPERATIONS.indexOf(operation) << 12;
  return word(
    0x3820_0000 +
      size[1] * 0x4000_0000 +
      (acquire ? 1 << 23 : 0) +
      (release ? 1 << 22 : 0) +
      (rs << 16) +
      opcode +
      (rn << 5) +
      rt,
  );
}

/** CAS, CASB, CASH, CASP (C4.1.88, Compare and swap; Compare and swap pair: even registers and their successors). */
function encodeCompareAndSwap(mnemonic: string, operands: Operands): number | null {
  const found = /^cas(p?)(a?)(l?)([bh]?)$/.exec(mnemonic);
  if (found === null) return null;
  const [, pair, acquire, release, suffix] = found;
  const size = sized(suffix, operands[0]);
  if (size === null || operands.length !== (pair ? 5 : 3) || (pair && suffix)) return null;
  const rs = general(operands[0], size[0]);
  const rt = general(operands[pair ? 2 : 1], size[0]);
  const rn = plainAddress(operands[pair ? 4 : 2]);
  if (rs === null || rt === null || rn === null) return null;
  if (pair) {
    const isNext = (at: number, n: number) =>
      n % 2 === 0 && (general(operands[at], size[0]) ?? -1) === n + 1;
    const highest = (at: number, n: number) => n === 30 && general(operands[at], size[0]) === 31;
    if (!(isNext(1, rs) || highest(1, rs)) || !(isNext(3, rt) || highest(3, rt))) return null;
  }
  const base = pair ? 0x0820_7c00 : 0x08a0_7c00;
  const sizeField = pair ? size[1] - 2 : size[1];
  return word(
    base +
      sizeField * 0x4000_0000 +
      (acquire ? 1 << 22 : 0) +
      (rs << 16) +
      (release ? 1 << 15 : 0) +
      (rn << 5) +
      rt,
  );
}

/** LDAPR, LDAPRB, LDAPRH. */
function encodeAcquire(mnemonic: string, operands: Operands): number | null {
  const found = /^ldapr([bh]?)$/.exec(mnemonic);
  if (found === null || operands.length !== 2) return null;
  const size = sized(found[1], operands[0]);
  if (size === null) return null;
  const rt = general(operands[0], size[0]);
  const rn = plainAddress(operands[1]);
  if (rt === null || rn === null) return null;
  return word(0x38bf_c000 + size[1] * 0x4000_0000 + (rn << 5) + rt);
}

const PAC_OPERATIONS = 'pacia pacib pacda pacdb autia autib autda autdb'.split(' ');

/** C4.1.90, Data-processing (1 source), and C4.1.65, Unconditional branch (register). */
function encodePointerAuth(mnemonic: string, operands: Operands): number | null {
  const rd = general(operands[0], 'x');
  if (rd === null) return null;
  const signed = PAC_OPERATIONS.indexOf(mnemonic);
  if (signed >= 0 && operands.length === 2) {
    const rn = general(operands[1], 'x', true);
    return rn === null ? null : word(0xdac1_0000 + (signed << 10) + (rn << 5) + rd);
  }
  const zero = PAC_OPERATIONS.map((name) => name.replace(/(.)$/, 'z$1')).indexOf(mnemonic);
  if (zero >= 0 && operands.length === 1) return word(0xdac1_23e0 + (zero << 10) + rd);
  if (mnemonic === 'xpaci' && operands.length === 1) return word(0xdac1_43e0 + rd);
  if (mnemonic === 'xpacd' && operands.length === 1) return word(0xdac1_47e0 + rd);
  if (mnemonic === 'pacga' && operands.length === 3) {
    const rn = general(operands[1], 'x');
    const rm = general(operands[2], 'x', true);
    if (rn === null || rm === null) return null;
    return word(0x9ac0_3000 + (rm << 16) + (rn << 5) + rd);
  }
  const branch = /^(bl?r)a([ab])(z?)$/.exec(mnemonic);
  if (branch === null || operands.length !== (branch[3] ? 1 : 2)) return null;
  const rm = branch[3] ? 31 : general(operands[1], 'x', true);
  if (rm === null) return null;
  const base = (branch[3] ? 0xd61f_0800 : 0xd71f_0800) + (branch[1] === 'blr' ? 0x20_0000 : 0);
  return word(base + (branch[2] === 'b' ? 0x400 : 0) + (rd << 5) + rm);
}

/** FEAT_FlagM, FEAT_WFxT, and the permanently undefined instruction. */
function encodeFlags(mnemonic: string, operands: Operands): number | null {
  if (mnemonic === 'udf' && operands.length === 1) return smallNumber(operands[0], 0xffff);
  if (mnemonic === 'setf8' || mnemonic === 'setf16') {
    const rn = operands.length === 1 ? general(operands[0], 'w') : null;
    return rn === null
      ? null
      : word((mnemonic === 'setf8' ? 0x3a00_080d : 0x3a00_480d) + (rn << 5));
  }
  if (mnemonic === 'rmif' && operands.length === 3) {
    const rn = general(operands[0], 'x');
    const rotate = smallNumber(operands[1], 63);
    const mask = smallNumber(operands[2], 15);
    if (rn === null || rotate === null || mask === null) return null;
    return word(0xba00_0400 + rotate * 0x8000 + (rn << 5) + mask);
  }
  if (mnemonic === 'wfet' || mnemonic === 'wfit') {
    const rt = operands.length === 1 ? general(operands[0], 'x') : null;
    return rt === null ? null : word((mnemonic === 'wfet' ? 0xd503_1000 : 0xd503_1020) + rt);
  }
  return null;
}
