// Which of an AArch64 instruction's registers it reads and which it writes, and the flags. For costing: the flags are
// one value, and a write to a part of a register counts as a write to all of it.
import type { Operands, Register } from './cost-operands.ts';
import { FLAGS } from './cost-operands.ts';

export interface Roles {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

const SETS_FLAGS = /^(add|sub|and|bic|adc|sbc|neg|ngc)s$|^(cmp|cmn|tst|ccmp|ccmn|fcmpe?|fccmpe?)$/;
const READS_FLAGS =
  /^(adcs?|sbcs?|ngcs?|csel|csinc|csinv|csneg|csetm?|cinc|cinv|cneg|ccmp|ccmn|fcsel|fccmpe?|b\..+)$/;
/** All registers are read: comparisons, branches, system operations. */
const READS_ALL =
  /^(cmp|cmn|tst|ccmp|ccmn|fcmpe?|fccmpe?|b|br|bl|blr|ret|cbn?z|tbn?z|b\..+|msr|tlbi|at|dc|ic|sys|prf.*)$/;
/** The destination is an operand too. */
const ACCUMULATES = new RegExp(
  [
    'movk|bfi|bfxil|bfc|bfm|ins|bsl|bit|bif|sri|sli|tbx|aes[ed]|suqadd|usqadd',
    'fml[as]l?2?|ml[as]|[su]ml[as]l2?|sqdml[as]l2?|sqrdml[as]h|[su]dot',
    '[su]abal?2?|[su]r?sra|[su]adalp|sha1[cmp]|sha1su.|sha256.*',
    // Narrowing into the upper half.
    '[su]?q?r?xtu?n2|[su]?q?r?shru?n2|r?(add|sub)hn2|fcvtx?n2',
  ]
    .map((names) => `^(?:${names})$`)
    .join('|'),
);

/** The return address gets a signature, or loses it. */
const SIGNS_LINK = /^(pac|aut)i[ab](sp|z)$/;
const LINK = 30;

const values = (registers: readonly Register[]) =>
  registers.map(({ value }) => value).filter((value) => value >= 0);

/** A lane, or an immediate that is combined with what is there: the rest of the vector stays. */
const keeps = (mnemonic: string, { registers, immediate }: Operands) =>
  /^[bhsd]$/.test(registers[0]?.shape ?? '') ||
  ((mnemonic === 'orr' || mnemonic === 'bic') && registers.length === 1 && immediate !== null);

export function rolesOf(mnemonic: string, operands: Operands): Roles {
  const { registers, system } = operands;
  const all = READS_ALL.test(mnemonic);
  const targets = all ? [] : values(registers.slice(0, 1));
  const reads = values(all ? registers : registers.slice(1));
  if (ACCUMULATES.test(mnemonic) || keeps(mnemonic, operands)) reads.push(...targets);
  const writes = [...targets];
  if (SIGNS_LINK.test(mnemonic)) {
    reads.push(LINK);
    writes.push(LINK);
  }
  if (READS_FLAGS.test(mnemonic) || (mnemonic === 'mrs' && system === 'nzcv')) reads.push(FLAGS);
  if (SETS_FLAGS.test(mnemonic) || (mnemonic === 'msr' && system === 'nzcv')) writes.push(FLAGS);
  return { reads, writes };
}

/** Registers that an access fills, and those whose contents it stores or combines. */
export interface AccessRoles {
  readonly filled: readonly number[];
  readonly stored: readonly number[];
  readonly loads: boolean;
  readonly stores: boolean;
}

const ATOMIC = /^(swp|cas|(ld|st)(add|clr|set|eor|[su]max|[su]min))/;

export function accessRoles(mnemonic: string, operands: Operands): AccessRoles {
  const { registers } = operands;
  const plain = { loads: !mnemonic.startsWith('st'), stores: mnemonic.startsWith('st') };
  const all = values(registers);
  if (ATOMIC.test(mnemonic)) {
    const roles = { loads: true, stores: true };
    if (mnemonic.startsWith('casp')) {
      return { ...roles, filled: values(registers.slice(0, 2)), stored: all };
    }
    if (mnemonic.startsWith('cas')) {
      return { ...roles, filled: values(registers.slice(0, 1)), stored: all };
    }
    return { ...roles, filled: values(registers.slice(1)), stored: values(registers.slice(0, 1)) };
  }
  if (/^stl?x/.test(mnemonic)) {
    return { ...plain, filled: values(registers.slice(0, 1)), stored: values(registers.slice(1)) };
  }
  if (plain.stores) return { ...plain, filled: [], stored: all };
  return { ...plain, filled: all, stored: keeps(mnemonic, operands) ? all : [] };
}
