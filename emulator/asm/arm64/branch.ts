// Instructions that name a place: branches, adr, adrp and literal loads. Encoded here, because only the layout knows the
// distance. Encodings: Arm ARM C4.1.65 (branches), C4.1.86 (PC-relative addressing), C4.1.88 (load register, literal).
import { hex, s64 } from '../../bits.ts';
import type { AssemblyError } from '../error.ts';
import type { Operand } from './operands.ts';
import { registerOf } from './registers.ts';

export const CONDITIONS: Readonly<Record<string, number>> = {
  eq: 0,
  ne: 1,
  cs: 2,
  hs: 2,
  cc: 3,
  lo: 3,
  mi: 4,
  pl: 5,
  vs: 6,
  vc: 7,
  hi: 8,
  ls: 9,
  ge: 10,
  lt: 11,
  gt: 12,
  le: 13,
  al: 14,
  nv: 15,
};

/** How an instruction holds a distance: `bits` bits at `low`, in units of `unit` bytes. */
export interface PlaceForm {
  readonly word: number;
  readonly bits: number;
  readonly low: number;
  readonly unit: number;
  /** Index of the operand that names the place. */
  readonly operand: number;
}

const general = (operand: Operand | undefined, files: string): number | null => {
  if (operand?.kind !== 'register' || operand.lane !== null) return null;
  const register = registerOf(operand.name);
  if (register === null || register.isStackPointer || !files.includes(register.file)) return null;
  return register.number;
};

/**
 * @param bitNumber value of the second operand of tbz and tbnz
 * @returns null if the instruction names no place, or not with these operands
 */
export function placeForm(
  mnemonic: string,
  operands: readonly Operand[],
  bitNumber: bigint | null,
): PlaceForm | null {
  if (mnemonic === 'b' || mnemonic === 'bl') {
    if (operands.length !== 1) return null;
    const word = mnemonic === 'b' ? 0x1400_0000 : 0x9400_0000;
    return { word, bits: 26, low: 0, unit: 4, operand: 0 };
  }
  const condition = conditionOf(mnemonic);
  if (condition !== null && operands.length === 1) {
    return { word: 0x5400_0000 + condition, bits: 19, low: 5, unit: 4, operand: 0 };
  }
  if (mnemonic === 'cbz' || mnemonic === 'cbnz') return compareForm(mnemonic, operands);
  if (mnemonic === 'tbz' || mnemonic === 'tbnz') return testForm(mnemonic, operands, bitNumber);
  if (mnemonic === 'adr' || mnemonic === 'adrp') {
    const rd = general(operands[0], 'x');
    if (rd === null || operands.length !== 2) return null;
    const word = (mnemonic === 'adr' ? 0x1000_0000 : 0x9000_0000) + rd;
    return { word: word >>> 0, bits: 21, low: 0, unit: mnemonic === 'adr' ? 1 : 4096, operand: 1 };
  }
  return literalForm(mnemonic, operands);
}

/** As the disassembler spells them. */
const OTHER_NAMES: Readonly<Record<string, string>> = { cs: 'hs', cc: 'lo' };

/** `b.cc` and `bcc` as `b.lo`; other mnemonics as they are. */
export const branchName = (mnemonic: string): string => {
  if (conditionOf(mnemonic) === null) return mnemonic;
  const name = mnemonic.slice(-2);
  return `b.${Object.hasOwn(OTHER_NAMES, name) ? OTHER_NAMES[name] : name}`;
};

/** `b.eq`, and GNU as's `beq`. */
function conditionOf(mnemonic: string): number | null {
  const name = /^b\.?(\w\w)$/.exec(mnemonic)?.[1];
  return name !== undefined && Object.hasOwn(CONDITIONS, name) ? CONDITIONS[name] : null;
}

function compareForm(mnemonic: string, operands: readonly Operand[]): PlaceForm | null {
  const rt = general(operands[0], 'xw');
  if (rt === null || operands.length !== 2) return null;
  const is64 = (operands[0] as { name: string }).name[0] === 'x';
  const word = (is64 ? 0xb400_0000 : 0x3400_0000) + (mnemonic === 'cbnz' ? 0x0100_0000 : 0) + rt;
  return { word, bits: 19, low: 5, unit: 4, operand: 1 };
}

function testForm(
  mnemonic: string,
  operands: readonly Operand[],
  bitNumber: bigint | null,
): PlaceForm | null {
  const rt = general(operands[0], 'xw');
  if (rt === null || operands.length !== 3 || bitNumber === null) return null;
  const most = (operands[0] as { name: string }).name[0] === 'x' ? 63n : 31n;
  if (bitNumber < 0n || bitNumber > most) return null;
  const n = Number(bitNumber);
  const word = 0x3600_0000 + (mnemonic === 'tbnz' ? 0x0100_0000 : 0) + ((n & 31) << 19) + rt;
  return { word: (word + (n >> 5) * 0x8000_0000) >>> 0, bits: 14, low: 5, unit: 4, operand: 2 };
}

const LITERAL_LOADS: Readonly<Record<string, number>> = {
  w: 0x1800_0000,
  x: 0x5800_0000,
  s: 0x1c00_0000,
  d: 0x5c00_0000,
  q: 0x9c00_0000,
};

function literalForm(mnemonic: string, operands: readonly Operand[]): PlaceForm | null {
  const place = operands[1];
  if (operands.length !== 2 || (place.kind !== 'value' && place.kind !== 'name')) return null;
  const rt = general(operands[0], mnemonic === 'ldrsw' ? 'x' : 'xwsdq');
  if (rt === null || (mnemonic !== 'ldr' && mnemonic !== 'ldrsw')) return null;
  const file = (operands[0] as { name: string }).name;
  const word = mnemonic === 'ldrsw' ? 0x9800_0000 : LITERAL_LOADS[registerOf(file)!.file];
  return { word: (word + rt) >>> 0, bits: 19, low: 5, unit: 4, operand: 1 };
}

/** @throws the error that `fail` makes if the target is out of reach or between instructions */
export function encodePlace(
  form: PlaceForm,
  here: bigint,
  target: bigint,
  fail: (reason: string, remedy: string) => AssemblyError,
): number {
  const unit = BigInt(form.unit);
  // adrp counts pages: from the page of the instruction to the page of the target.
  const distance =
    form.unit === 4096
      ? s64((BigInt.asUintN(64, target) & ~0xfffn) - (here & ~0xfffn))
      : s64(target - here);
  if (distance % unit !== 0n) {
    throw fail(`the target ${hex(target)} is not a multiple of 4 bytes away`, 'align it');
  }
  const count = distance / unit;
  const limit = 1n << BigInt(form.bits - 1);
  if (count < -limit || count >= limit) {
    throw fail(
      `the target ${hex(target)} is ${distance} bytes away, ` +
        `this instruction reaches ${(limit - 1n) * unit}`,
      'load the address into a register (ldr x16, =symbol) and use that',
    );
  }
  const field = Number(BigInt.asUintN(form.bits, count));
  if (form.bits === 21) {
    // adr and adrp keep the two low bits apart (immlo at 29, immhi at 5).
    return (form.word + (field & 3) * 0x2000_0000 + (field >>> 2) * 32) >>> 0;
  }
  return (form.word + field * 2 ** form.low) >>> 0;
}
