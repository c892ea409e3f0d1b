// Whole accesses of AArch64 instructions: what one load, store, atomic, fetch, cache maintenance or address translation
// instruction makes of the paging unit, page by page, and the exception it takes to EL1 (ESR_EL1, FAR_EL1). After Mem[],
// AArch64.MemSingle[] and AArch64.CheckAlignment() (DDI 0487, J1.1.3), DC ZVA and AT (J1.1.5).
// Left out: traps of DC and IC at EL0 (SCTLR_EL1.UCI, DZE), SP alignment, undefined instructions, the exclusives monitor
// (a Store-Exclusive is taken to hold it), MTE, watchpoints. Order between the pages of one access: the first is first.
import { hi32, lo32, u64 } from '../../emulator/bits.ts';
import { type AccessKind, FETCH, READ, WRITE } from '../../emulator/engine.ts';
import {
  type AccessType,
  ATOMIC,
  DC_CLEAN,
  DC_INVALIDATE,
  DC_ZERO,
  IFETCH,
  LOAD,
  STORE,
  UNPRIVILEGED_LOAD,
  UNPRIVILEGED_STORE,
} from './access-type.ts';
import { type AtOperation, addressTranslate } from './address-translate.ts';
import { dataAbort, FSC_ALIGNMENT, pcAlignmentFault } from './fault-code.ts';
import { type Arm64Paging, SCTLR_A } from './paging.ts';

/** How an instruction's address must be aligned. */
export const SCTLR = 0;
/** Whatever SCTLR_EL1.A says: atomics, exclusives and acquire/release without FEAT_LSE2 (DDI 0487, B2.8.2). */
export const ALWAYS = 1;

/** What a load, store or atomic asks of the paging unit. */
export interface DataInstruction {
  readonly how: 'data';
  /** Accesses in order: two for a Load-Exclusive with its Store-Exclusive. */
  readonly types: readonly AccessType[];
  readonly alignment: typeof SCTLR | typeof ALWAYS;
  /** Elements that are aligned each for itself: 2 for LDP and STP. */
  readonly elements: number;
}

/** What an instruction does with its address. A hint translates nothing and never faults. */
type Action =
  | DataInstruction
  | { readonly how: 'block'; readonly type: AccessType }
  | { readonly how: 'fetch' | 'hint' }
  | { readonly how: 'at'; readonly operation: AtOperation };

const data = (
  types: readonly AccessType[],
  alignment: DataInstruction['alignment'] = SCTLR,
  elements = 1,
): Action => ({ how: 'data', types, alignment, elements });
const block = (type: AccessType): Action => ({ how: 'block', type });
const at = (operation: AtOperation): Action => ({ how: 'at', operation });

/** Instructions by mnemonic; `br` is the fetch of its target, `s1e1r` to `s1e1wp` are AT. */
const INSTRUCTIONS = {
  ldr: data([LOAD]),
  str: data([STORE]),
  ldp: data([LOAD], SCTLR, 2),
  stp: data([STORE], SCTLR, 2),
  ldtr: data([UNPRIVILEGED_LOAD]),
  sttr: data([UNPRIVILEGED_STORE]),
  cas: data([ATOMIC], ALWAYS),
  casp: data([ATOMIC], ALWAYS),
  ldadd: data([ATOMIC], ALWAYS),
  swp: data([ATOMIC], ALWAYS),
  ldxr: data([LOAD], ALWAYS),
  stxr: data([STORE], ALWAYS),
  ldxr_stxr: data([LOAD, STORE], ALWAYS),
  ldxp_stxp: data([LOAD, STORE], ALWAYS),
  ldar: data([LOAD], ALWAYS),
  stlr: data([STORE], ALWAYS),
  dc_zva: block(DC_ZERO),
  dc_cvac: block(DC_CLEAN),
  dc_cvap: block(DC_CLEAN),
  dc_cvau: block(DC_CLEAN),
  dc_civac: block(DC_CLEAN),
  dc_ivac: block(DC_INVALIDATE),
  // IC IVAU reports and checks what DC CVAU does (DDI 0487, D7.5.9).
  ic_ivau: block(DC_CLEAN),
  br: { how: 'fetch' },
  prfm_pld: { how: 'hint' },
  prfm_pst: { how: 'hint' },
  s1e1r: at('s1e1r'),
  s1e1w: at('s1e1w'),
  s1e0r: at('s1e0r'),
  s1e0w: at('s1e0w'),
  s1e1rp: at('s1e1rp'),
  s1e1wp: at('s1e1wp'),
} as const satisfies Record<string, Action>;

export type Arm64Instruction = keyof typeof INSTRUCTIONS;

/** An exception taken to EL1. */
export interface Arm64Fault {
  /** ESR_EL1, 32 bits unsigned. */
  readonly esr: number;
  /** FAR_EL1, with the tag of the address that the instruction used. */
  readonly far: bigint;
}

export type Arm64Outcome =
  | { readonly fault: Arm64Fault }
  | {
      readonly fault: null;
      /** Physical address of the first byte; of a hint, none. */
      readonly pa?: number;
      /** Physical address of the first byte on the second page, if the access crosses. */
      readonly pa2?: number;
      /** PAR_EL1 of an AT. */
      readonly par?: bigint;
    };

/** Who translates one page of an access: the paging unit itself, or a TLB in front of it. */
export interface PageTranslator {
  translate(hi: number, lo: number, kind: AccessKind): boolean;
  /** Physical address of the 4 KiB frame, after a translation that succeeded. */
  readonly pa: number;
}

/** One access of an instruction. */
export interface Arm64Access {
  readonly insn: Arm64Instruction;
  /** The address given to the instruction, with its tag. */
  readonly va: bigint;
  /** Bytes, a power of two up to 64; of a pair both registers together. Not used by AT, DC, fetches and hints. */
  readonly size: number;
}

/**
 * Makes one access at the present state of the paging unit, through TLB and tables. Of two pages the lower is translated
 * first; if the second faults, the first keeps its access flag and dirty state.
 * @param pages an Mmu of which `paging` is the paging unit
 */
export function performAccess(
  pages: PageTranslator,
  paging: Arm64Paging,
  access: Arm64Access,
): Arm64Outcome {
  const { va, size } = access;
  const action: Action = INSTRUCTIONS[access.insn];
  switch (action.how) {
    case 'data':
      return dataAccess(pages, paging, action, va, size);
    case 'block':
      return onePage(pages, paging, action.type, va);
    case 'fetch':
      return fetch(pages, paging, va);
    case 'hint':
      return { fault: null };
    case 'at':
      return { fault: null, par: addressTranslate(paging, action.operation, va) };
  }
}

/** {@link performAccess} of a load, store or atomic that no mnemonic of {@link Arm64Instruction} stands for. */
export function dataAccess(
  pages: PageTranslator,
  paging: Arm64Paging,
  insn: DataInstruction,
  va: bigint,
  size: number,
): Arm64Outcome {
  const unaligned = va % BigInt(size / insn.elements) !== 0n;
  const checked = insn.alignment === ALWAYS || (paging.state.sctlr & SCTLR_A) !== 0n;
  let outcome: Arm64Outcome = { fault: null };
  for (const type of insn.types) {
    if (unaligned && checked) return alignmentFault(paging, type, va);
    paging.unaligned = unaligned;
    outcome = crossing(pages, paging, type, va, size);
    paging.unaligned = false;
    if (outcome.fault) return outcome;
  }
  return outcome;
}

/** An access of any length below a page: one translation, or two if it crosses into the next page. */
function crossing(
  pages: PageTranslator,
  paging: Arm64Paging,
  type: AccessType,
  va: bigint,
  size: number,
): Arm64Outcome {
  const first = onePage(pages, paging, type, va);
  const page = 1n << BigInt(paging.halfOf(hi32(va)).granuleShift);
  const inFirst = page - (va % page);
  if (first.fault || BigInt(size) <= inFirst) return first;
  const second = onePage(pages, paging, type, u64(va + inFirst));
  return second.fault ? second : { ...first, pa2: second.pa };
}

/** One translation. FAR_EL1 holds the address as given, though DC ZVA works on the whole block. */
function onePage(
  pages: PageTranslator,
  paging: Arm64Paging,
  type: AccessType,
  va: bigint,
): Arm64Outcome {
  const kind = type.fetch ? FETCH : type.dirties ? WRITE : READ;
  paging.access = type;
  const ok = pages.translate(hi32(va), lo32(va), kind);
  paging.access = null;
  if (!ok) return { fault: { esr: paging.faultCode, far: va } };
  return { fault: null, pa: pages.pa + Number(va % 4096n) };
}

/** AArch64.BranchAddr(): the tag of a target is replaced by copies of VA[55] before it reaches the PC. */
function fetch(pages: PageTranslator, paging: Arm64Paging, target: bigint): Arm64Outcome {
  const pc = (BigInt(paging.untag(hi32(target), FETCH)) << 32n) | BigInt(lo32(target));
  // AArch64.CheckPCAlignment() comes before the fetch.
  if (pc % 4n !== 0n) return { fault: { esr: pcAlignmentFault(), far: pc } };
  return onePage(pages, paging, IFETCH, pc);
}

function alignmentFault(paging: Arm64Paging, type: AccessType, va: bigint): Arm64Outcome {
  const esr = dataAbort(paging.state.el === 0, FSC_ALIGNMENT, type.WnR, false);
  return { fault: { esr, far: va } };
}
