// Whole instructions for tests, on top of the slow walker of test-pseudocode.ts: Mem[], AArch64.MemSingle[] and
// AArch64.CheckAlignment() (DDI 0487, J1.1.3), byte by byte as the pseudocode goes, and what they come to in ESR_EL1 and
// FAR_EL1. It shares no code with access.ts.
import type { Ram } from '../../emulator/ram.ts';
import type { Arm64PagingState } from './paging-state.ts';
import { type AccDesc, type Reference, s1Translate } from './test-pseudocode.ts';

type Part = Omit<AccDesc, 'el' | 'aligned'>;

interface Rule {
  readonly accesses: readonly Part[];
  /** Faults if unaligned whatever SCTLR_EL1.A says. */
  readonly ordered?: boolean;
  readonly pair?: boolean;
  readonly unprivileged?: boolean;
  readonly at?: 0 | 1;
}

const part = (more: Partial<Part>): Part => ({
  acctype: 'GPR',
  read: false,
  write: false,
  atomicRW: false,
  pan: true,
  invalidate: false,
  ...more,
});
const read = part({ read: true });
const write = part({ write: true });
const atomic: Rule = {
  accesses: [part({ read: true, write: true, atomicRW: true })],
  ordered: true,
};
const dc = part({ acctype: 'DC', pan: false, write: true });
const at = (el: 0 | 1, more: Partial<Part>, pan = false): Rule => ({
  accesses: [part({ acctype: 'AT', pan, ...more })],
  at: el,
});

export const RULES: Readonly<Record<string, Rule>> = {
  ldr: { accesses: [read] },
  str: { accesses: [write] },
  ldp: { accesses: [read], pair: true },
  stp: { accesses: [write], pair: true },
  ldtr: { accesses: [read], unprivileged: true },
  sttr: { accesses: [write], unprivileged: true },
  cas: atomic,
  casp: atomic,
  ldadd: atomic,
  swp: atomic,
  ldxr: { accesses: [read], ordered: true },
  ldxr_stxr: { accesses: [read, write], ordered: true },
  ldxp_stxp: { accesses: [read, write], ordered: true },
  ldar: { accesses: [read], ordered: true },
  stlr: { accesses: [write], ordered: true },
  dc_zva: { accesses: [part({ acctype: 'DCZero', write: true })] },
  dc_cvac: { accesses: [dc] },
  dc_cvau: { accesses: [dc] },
  dc_civac: { accesses: [dc] },
  dc_ivac: { accesses: [{ ...dc, invalidate: true }] },
  br: { accesses: [part({ acctype: 'IFETCH', pan: false })] },
  s1e1r: at(1, { read: true }),
  s1e1w: at(1, { write: true }),
  s1e0r: at(0, { read: true }),
  s1e0w: at(0, { write: true }),
  s1e1rp: at(1, { read: true }, true),
  s1e1wp: at(1, { write: true }, true),
};

/** Where every byte of the access lies, or what it ends in. `made`: bytes accessed before it. */
export type Ending =
  | { readonly esr: number; readonly far: bigint; readonly made: readonly bigint[] }
  | { readonly bytes: readonly bigint[]; readonly attr: number; readonly sh: number }
  | { readonly fst: number };

const STATUS = { AddressSize: 0, Translation: 4, AccessFlag: 8, Permission: 12 } as const;

/** EncodeLDFSC() */
function fscOf({ status, level }: Extract<Reference, { level: number }>): number {
  if (status === 'Alignment') return 0x21;
  if (status === 'Abort') return level < 0 ? 0x13 : 0x14 + level;
  if (level < 0) return status === 'AddressSize' ? 0x29 : 0x2b;
  return STATUS[status] + level;
}

/** One instruction at the present state. Descriptors in `ram` are updated as hardware does. */
export function instruction(
  ram: Ram,
  state: Arm64PagingState,
  insn: string,
  va: bigint,
  size: number,
): Ending {
  const rule = RULES[insn];
  const el = elOf(rule, state);
  const cm = insn.startsWith('dc_') && insn !== 'dc_zva';
  const abort = (ec: number, wnr: boolean, fsc: number, far: bigint): Ending => ({
    esr: ((ec << 26) | (1 << 25) | (cm ? 1 << 8 : 0) | (wnr || cm ? 1 << 6 : 0) | fsc) >>> 0,
    far,
    made,
  });
  const made: bigint[] = [];
  let address = va;
  if (insn === 'br') {
    address = branchAddr(state, va);
    if (address % 4n !== 0n) {
      return { esr: ((0x22 << 26) | (1 << 25)) >>> 0, far: address, made };
    }
  }
  const plain = rule.accesses[0].acctype === 'GPR';
  const aligned = address % BigInt(rule.pair ? size / 2 : size) === 0n;
  let ending: Ending = { fst: 0 };
  for (const access of rule.accesses) {
    if (plain && !aligned && (rule.ordered || (state.sctlr & 2n) !== 0n)) {
      return abort(0x24 + state.el, access.write && !access.atomicRW, 0x21, va);
    }
    const bytes: bigint[] = [];
    let [attr, sh] = [0, 0];
    // An access that is not aligned is made byte by byte; one that is lies within a page.
    for (let i = 0; i < (plain || insn === 'br' ? size : 1); i++) {
      const byte = BigInt.asUintN(64, address + BigInt(i));
      const got = s1Translate(ram, state, byte, { ...access, el, aligned });
      if (got.status !== null) {
        if (rule.at !== undefined) return { fst: fscOf(got) };
        const ec = (insn === 'br' ? 0x20 : 0x24) + state.el;
        return abort(ec, insn !== 'br' && got.write, fscOf(got), byte);
      }
      if (got.descaddr >= 0n) ram.write64(Number(got.descaddr), got.newDesc);
      bytes.push(got.pa);
      made.push(got.pa);
      [attr, sh] = [got.attr, got.sh];
    }
    ending = { bytes, attr, sh };
  }
  return ending;
}

function elOf(rule: Rule, { el, uao, features }: Arm64PagingState): 0 | 1 {
  if (rule.at !== undefined) return rule.at;
  return rule.unprivileged && !(features.uao && uao) ? 0 : (el as 0 | 1);
}

/** AArch64.BranchAddr(): with TBI the top byte becomes copies of bit 55. */
function branchAddr({ tcr, features }: Arm64PagingState, va: bigint): bigint {
  const upper = ((va >> 55n) & 1n) === 1n;
  const tbi = ((tcr >> (upper ? 38n : 37n)) & 1n) === 1n;
  const tbid = features.pauth && ((tcr >> (upper ? 52n : 51n)) & 1n) === 1n;
  return tbi && !tbid ? BigInt.asUintN(64, BigInt.asIntN(56, va)) : va;
}
