// The general registers of an AArch64 CPU, and struct pt_regs (arch/arm64/include/asm/ptrace.h) over them. Left out:
// orig_x0, syscallno, pmr and the frame record that the entry code appends.
import type { VirtAddr } from '../../emulator/address.ts';
import type { CpuDescription } from '../../emulator/engine.ts';
import type { PtRegs } from '../arch.ts';
import { SavedRegisters } from '../pt-regs.ts';
import { arm64Instructions } from './insn.ts';

const GENERAL: readonly string[] = [
  ...Array.from({ length: 31 }, (_, n) => `x${n}`),
  ...['sp', 'pc', 'pstate'],
];

export const arm64Description: CpuDescription = {
  name: 'arm64',
  instructionPointer: 'pc',
  stackPointer: 'sp',
  general: GENERAL,
  instructions: arm64Instructions,
};

/** Indices into {@link Arm64PtRegs.words}; x0 to x30 have their own number. */
export const X29 = 29;
const X30 = 30;
const SP = 31;
export const PC = 32;
const PSTATE = 33;

/** Number of xzr in a load's or an exception-table entry's register field: writes vanish, reads give 0. */
export const XZR = 31;

/** sizeof(struct pt_regs): what the entry code takes from the stack. */
export const PT_REGS_SIZE = 0x150;
/** offsetof(struct pt_regs, stackframe): the frame record of an exception. */
export const PT_REGS_STACKFRAME = 0x128;

const INDEX = new Map<string, number>(GENERAL.map((name, at) => [name, at]));

/** struct pt_regs: the registers that each of its members holds, in order. */
export const ARM64_PT_REGS: Readonly<Record<string, readonly string[]>> = {
  regs: GENERAL.slice(0, SP),
  sp: ['sp'],
  pc: ['pc'],
  pstate: ['pstate'],
};

/** Number of a register by name, `x0` to `x30` or `xzr`. @throws RangeError for any other name */
export function registerNumber(name: string): number {
  if (name === 'xzr') return XZR;
  const at = INDEX.get(name);
  if (at === undefined || at > X30) throw new RangeError(`no general register: ${name}`);
  return at;
}

/** The interrupted registers of an exception. */
export class Arm64PtRegs extends SavedRegisters implements PtRegs {
  readonly userMode: boolean;

  /** @param words registers in the order of {@link arm64Description}. @param userMode EL0 */
  constructor(words = new BigUint64Array(GENERAL.length), userMode = false) {
    super(words, GENERAL, 'pstate', { ip: PC, sp: SP, fp: X29 });
    this.userMode = userMode;
  }

  /** @throws RangeError for an unknown name */
  get(name: string): bigint {
    const at = this.index(name);
    return at === PSTATE ? this.words[at] : this.saved[at];
  }

  /** Keeps the low 64 bits. @throws RangeError for an unknown name */
  set(name: string, value: bigint): void {
    this.words[this.index(name)] = value;
  }

  get ip(): VirtAddr {
    return this.saved[PC] as VirtAddr;
  }

  set ip(value: VirtAddr) {
    this.saved[PC] = value;
  }

  get sp(): VirtAddr {
    return this.saved[SP] as VirtAddr;
  }

  get fp(): bigint {
    return this.saved[X29];
  }

  get lr(): bigint {
    return this.saved[X30];
  }

  get pstate(): bigint {
    return this.words[PSTATE];
  }

  /**
   * pt_regs_read_reg(): register `n`, 0 to 31; 31 reads as zero.
   * @kernel pt_regs_read_reg arch/arm64/include/asm/ptrace.h read
   */
  readReg(n: number): bigint {
    return n === XZR ? 0n : this.words[n];
  }

  /**
   * pt_regs_write_reg(): register `n`, 0 to 31; 31 discards.
   * @kernel pt_regs_write_reg arch/arm64/include/asm/ptrace.h read
   */
  writeReg(n: number, value: bigint): void {
    if (n !== XZR) this.words[n] = value;
  }

  private index(name: string): number {
    const at = INDEX.get(name);
    if (at === undefined) throw new RangeError(`no general register of arm64: ${name}`);
    return at;
  }
}
