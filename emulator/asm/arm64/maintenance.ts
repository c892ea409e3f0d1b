// Cache, TLB and address-translation instructions by name, which all are SYS underneath, and barriers' and prefetches'
// operand names. The encoder knows those of Armv8.0; here are the later ones. Encodings: Arm ARM C5.3 to C5.5 (system
// instructions), C6.2 DMB, C6.2 PRFM.

import { registerOf } from './registers.ts';
import type { Resolved } from './resolve.ts';

/** `op1 CRn CRm op2`, hexadecimal digits. */
const OPERATIONS: Readonly<Record<string, string>> = {
  'dc cvap': '37c1',
  'dc cvadp': '37d1',
  'at s1e1rp': '0790',
  'at s1e1wp': '0791',
  ...tlbi(),
};

/** TLBI of the outer shareable domain (FEAT_TLBIOS) and by range (FEAT_TLBIRANGE), at EL1. */
function tlbi(): Record<string, string> {
  const found: Record<string, string> = {};
  const single = { vmalle1: 0, vae1: 1, aside1: 2, vaae1: 3, vale1: 5, vaale1: 7 };
  for (const [name, op2] of Object.entries(single)) found[`tlbi ${name}os`] = `081${op2}`;
  const range = { rvae1: 1, rvaae1: 3, rvale1: 5, rvaale1: 7 };
  for (const [name, op2] of Object.entries(range)) {
    found[`tlbi ${name}is`] = `082${op2}`;
    found[`tlbi ${name}os`] = `085${op2}`;
    found[`tlbi ${name}`] = `086${op2}`;
  }
  return found;
}

const numberOf = (operand: Resolved | undefined, most: number): number | null =>
  operand?.kind === 'value' && operand.value >= 0n && operand.value <= BigInt(most)
    ? Number(operand.value)
    : null;

const controlNumber = (operand: Resolved | undefined): number | null => {
  const digits = operand?.kind === 'name' ? /^c(\d+)$/.exec(operand.text)?.[1] : undefined;
  return digits === undefined || Number(digits) > 15 ? null : Number(digits);
};

function generalX(operand: Resolved | undefined): number | null {
  if (operand?.kind !== 'register' || operand.lane !== null) return null;
  const register = registerOf(operand.name);
  return register?.file === 'x' && !register.isStackPointer ? register.number : null;
}

/** @returns the word, or null if the encoder should be asked */
export function encodeMaintenance(mnemonic: string, operands: readonly Resolved[]): number | null {
  if (mnemonic === 'sys') return encodeSys(0xd508_0000, operands, operands[4]);
  if (mnemonic === 'sysl') return encodeSys(0xd528_0000, operands.slice(1), operands[0]);
  const [operation, target] = operands;
  if (operation?.kind !== 'name') return null;
  const name = `${mnemonic} ${operation.text}`;
  if (!Object.hasOwn(OPERATIONS, name)) return null;
  const [op1, crn, crm, op2] = [...OPERATIONS[name]].map((digit) => Number.parseInt(digit, 16));
  const takesRegister = !operation.text.startsWith('vmall');
  const rt = operands.length === 1 ? 31 : generalX(target);
  if (rt === null || operands.length > 2 || takesRegister !== (operands.length === 2)) return null;
  return 0xd508_0000 + op1 * 0x1_0000 + crn * 0x1000 + crm * 0x100 + op2 * 0x20 + rt;
}

/** `sys #op1, Cn, Cm, #op2{, xt}`; the register is named first in `sysl`. */
function encodeSys(
  base: number,
  operands: readonly Resolved[],
  target: Resolved | undefined,
): number | null {
  const op1 = numberOf(operands[0], 7);
  const crn = controlNumber(operands[1]);
  const crm = controlNumber(operands[2]);
  const op2 = numberOf(operands[3], 7);
  const rt = target === undefined ? 31 : generalX(target);
  if (op1 === null || crn === null || crm === null || op2 === null || rt === null) return null;
  if (operands.length > 5) return null;
  return base + op1 * 0x1_0000 + crn * 0x1000 + crm * 0x100 + op2 * 0x20 + rt;
}

/** CRm of the barriers' options. */
const BARRIERS: Readonly<Record<string, number>> = {
  sy: 15,
  st: 14,
  ld: 13,
  ish: 11,
  ishst: 10,
  ishld: 9,
  nsh: 7,
  nshst: 6,
  nshld: 5,
  osh: 3,
  oshst: 2,
  oshld: 1,
};

/** The number that a barrier option or prefetch operation stands for, null for other names. */
export function optionNumber(mnemonic: string, name: string): bigint | null {
  if (/^(dmb|dsb|isb)$/.test(mnemonic)) {
    return Object.hasOwn(BARRIERS, name) ? BigInt(BARRIERS[name]) : null;
  }
  const prefetch = /^prfu?m$/.test(mnemonic)
    ? /^(pld|pli|pst)l([123])(keep|strm)$/.exec(name)
    : null;
  if (prefetch === null) return null;
  const [, type, level, policy] = prefetch;
  const number = ['pld', 'pli', 'pst'].indexOf(type) * 8 + (Number(level) - 1) * 2;
  return BigInt(number + (policy === 'strm' ? 1 : 0));
}
