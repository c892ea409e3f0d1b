// System instructions of a program that reach the paging unit or the TLB, executed there: MSR to the translation registers,
// TLBI, AT, and cache maintenance by address, which translates and can fault (DDI 0487, C5.3 to C5.5). PSTATE.PAN is not
// here: the paging unit asks for it. Left out: TLBI by range and of other regimes, which the core refuses, DC by set and
// way and IC IALLU, which translate nothing, the caches themselves, and what SCTLR_EL1 switches beside translation.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { type Cpu, type Intercepted, READ, WRITE } from '../../emulator/engine.ts';
import type { Mmu } from '../../mm/mmu.ts';
import { type Arm64Fault, type Arm64Instruction, performAccess } from './access.ts';
import type { AtOperation } from './address-translate.ts';
import { Arm64Paging, type Arm64PagingState } from './paging.ts';
import { changeRegisters, type TlbiOperation, tlbi } from './tlb.ts';

/** TCR_EL1.TBID0 and TBID1: RES0 without FEAT_PAuth, which the core always has. */
export const TCR_TBID = 3n << 51n;

/** Gives the core a translation register. What it makes of TCR_EL1 itself are the tags of branch targets. */
export function writeToCore(cpu: Cpu, paging: Arm64Paging, register: TranslationRegister): void {
  const value = paging.state[register];
  const seen = register === 'tcr' && !paging.state.features.pauth ? value & ~TCR_TBID : value;
  cpu.writeRegister(`${register}_el1`, seen);
}

/** What one of them does. */
export type SystemOperation =
  | { readonly how: 'msr'; readonly register: TranslationRegister }
  | { readonly how: 'tlbi'; readonly operation: TlbiOperation; readonly broadcast: boolean }
  | { readonly how: 'at'; readonly operation: AtOperation }
  | { readonly how: 'cache'; readonly insn: Arm64Instruction };

type TranslationRegister = keyof Pick<
  Arm64PagingState,
  'sctlr' | 'tcr' | 'mair' | 'ttbr0' | 'ttbr1'
>;

/** The key of an encoding: op1, CRn, CRm, op2 as digits of base 16. */
const key = (op1: number, crn: number, crm: number, op2: number): number =>
  (op1 << 12) | (crn << 8) | (crm << 4) | op2;

/** op0 = 3. */
const REGISTERS: ReadonlyMap<number, TranslationRegister> = new Map([
  [key(0, 1, 0, 0), 'sctlr'],
  [key(0, 2, 0, 0), 'ttbr0'],
  [key(0, 2, 0, 1), 'ttbr1'],
  [key(0, 2, 0, 2), 'tcr'],
  [key(0, 10, 2, 0), 'mair'],
]);

const TLBI_BY_OP2: readonly (TlbiOperation | null)[] = [
  ...(['vmalle1', 'vae1', 'aside1', 'vaae1'] as const),
  ...([null, 'vale1', null, 'vaale1'] as const),
];
/** CRm: this CPU, the Inner Shareable domain, the Outer Shareable domain. */
const LOCAL = 7;
const INNER = 3;
const OUTER = 1;

/** op0 = 1. */
function sysOperations(): Map<number, SystemOperation> {
  const map = new Map<number, SystemOperation>();
  for (const [op2, operation] of TLBI_BY_OP2.entries()) {
    if (operation === null) continue;
    for (const crm of [LOCAL, INNER, OUTER]) {
      // CRn 8, and 9 for the nXS forms.
      for (const crn of [8, 9]) {
        map.set(key(0, crn, crm, op2), { how: 'tlbi', operation, broadcast: crm !== LOCAL });
      }
    }
  }
  const at: readonly AtOperation[] = ['s1e1r', 's1e1w', 's1e0r', 's1e0w'];
  for (const [op2, operation] of at.entries()) map.set(key(0, 7, 8, op2), { how: 'at', operation });
  map.set(key(0, 7, 9, 0), { how: 'at', operation: 's1e1rp' });
  map.set(key(0, 7, 9, 1), { how: 'at', operation: 's1e1wp' });
  const cache = (op1: number, crm: number, insn: Arm64Instruction) =>
    map.set(key(op1, 7, crm, 1), { how: 'cache', insn });
  cache(0, 6, 'dc_ivac');
  cache(3, 10, 'dc_cvac');
  cache(3, 11, 'dc_cvau');
  cache(3, 12, 'dc_cvap');
  cache(3, 14, 'dc_civac');
  cache(3, 5, 'ic_ivau');
  return map;
}

const SYS = sysOperations();
const DC_ZVA = key(3, 7, 4, 1);

const keyOf = (w: number): number =>
  key((w >>> 16) & 7, (w >>> 12) & 15, (w >>> 8) & 15, (w >>> 5) & 7);

/** What the instruction word stands for; null for all that does not belong here. C4.1.63 (System instructions). */
export function systemOperation(w: number): SystemOperation | null {
  const group = (w & 0xfff8_0000) >>> 0;
  if (group === 0xd508_0000) return SYS.get(keyOf(w)) ?? null;
  if (group !== 0xd518_0000) return null;
  const register = REGISTERS.get(keyOf(w));
  return register === undefined ? null : { how: 'msr', register };
}

/** DC ZVA stores, and the core does that; only Device memory refuses what it allows. */
export const isDcZva = (w: number): boolean =>
  (w & 0xfff8_0000) >>> 0 === 0xd508_0000 && keyOf(w) === DC_ZVA;

const DONE: Intercepted = { action: 'done' };
const RUN: Intercepted = { action: 'run' };

/** SCTLR_EL1.UCI: EL0 may use cache maintenance by address. DDI 0487, D24.2.175. */
const SCTLR_UCI = 1n << 26n;

/** A fault of an instruction as the engine is told of it. */
export const faultOf = ({ esr, far }: Arm64Fault): Intercepted => ({
  action: 'fault',
  va: virtAddr(far),
  kind: (esr >>> 6) & 1 ? WRITE : READ,
});

/** Executes them for one vCPU. */
export class Arm64System {
  private readonly mmu: Mmu;
  private readonly paging: Arm64Paging;
  private readonly cpu: Cpu;
  private readonly all: () => Iterable<Mmu>;

  /** @param all MMUs of every CPU, for broadcast TLBI */
  constructor(mmu: Mmu, paging: Arm64Paging, cpu: Cpu, all: () => Iterable<Mmu>) {
    this.mmu = mmu;
    this.paging = paging;
    this.cpu = cpu;
    this.all = all;
  }

  /**
   * @param xt value of the register that the instruction names
   * @param fault told of a fault, before it is returned
   */
  execute(operation: SystemOperation, xt: bigint, fault: (fault: Arm64Fault) => void): Intercepted {
    const { state } = this.paging;
    // The core raises the exception that EL0 gets.
    if (state.el === 0 && (operation.how !== 'cache' || !(state.sctlr & SCTLR_UCI))) return RUN;
    if (state.el === 0 && operation.how === 'cache' && operation.insn === 'dc_ivac') return RUN;
    switch (operation.how) {
      case 'msr':
        changeRegisters({ mmu: this.mmu, paging: this.paging }, { [operation.register]: xt });
        writeToCore(this.cpu, this.paging, operation.register);
        return DONE;
      case 'tlbi':
        this.tlbi(operation.operation, operation.broadcast, xt);
        return DONE;
      case 'at':
        this.cpu.writeRegister('par_el1', this.perform(operation.operation, xt).par ?? 0n);
        return DONE;
      case 'cache': {
        const outcome = this.perform(operation.insn, xt);
        if (!outcome.fault) return DONE;
        fault(outcome.fault);
        return faultOf(outcome.fault);
      }
    }
  }

  private perform(insn: Arm64Instruction, va: bigint): { fault: Arm64Fault | null; par?: bigint } {
    return performAccess(this.mmu, this.paging, { insn, va: va as VirtAddr, size: 1 });
  }

  private tlbi(operation: TlbiOperation, broadcast: boolean, operand: bigint): void {
    for (const mmu of broadcast ? this.all() : [this.mmu]) {
      if (mmu.paging instanceof Arm64Paging) tlbi({ mmu, paging: mmu.paging }, operation, operand);
    }
  }
}
