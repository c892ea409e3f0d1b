// The general registers of an x86-64 CPU, and struct pt_regs (arch/x86/include/asm/ptrace.h) over them. Left out:
// orig_ax, which is -1 in every exception frame, and the FRED fields. Segments follow from the mode.
import type { VirtAddr } from '../../emulator/address.ts';
import type { CpuDescription } from '../../emulator/engine.ts';
import type { PtRegs } from '../arch.ts';
import { SavedRegisters } from '../pt-regs.ts';
import { x86Instructions } from './insn.ts';

const GENERAL = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
  ...['rip', 'rflags'],
] as const;

export const x86Description: CpuDescription = {
  name: 'x86_64',
  instructionPointer: 'rip',
  stackPointer: 'rsp',
  general: GENERAL,
  instructions: x86Instructions,
};

/** Indices into {@link X86PtRegs.words}. */
export const RAX = 0;
export const RCX = 2;
export const RDX = 3;
export const RSI = 4;
export const RDI = 5;
export const RBP = 6;
export const RSP = 7;
export const RIP = 16;
const RFLAGS = 17;

// SDM Vol. 1, 3.4.3.
export const EFLAGS_IF = 1n << 9n;
const EFLAGS_RF = 1n << 16n;
export const EFLAGS_AC = 1n << 18n;

/** Members of struct pt_regs in memory order, 8 bytes each from offset 0. */
const PT_REGS_ORDER = [
  ...['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10'],
  ...['r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi'],
];

/** struct pt_regs: the register that each of its members holds. */
export const X86_PT_REGS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(PT_REGS_ORDER.map((name) => [name.replace(/^r(?=[a-ds])/, ''), [name]])),
  ip: ['rip'],
  flags: ['rflags'],
  sp: ['rsp'],
};

/** Register numbers of instruction encodings: SDM Vol. 2A, table 2-2, extended by REX. */
const ENCODING_ORDER = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];

const INDEX = new Map<string, number>(GENERAL.map((name, at) => [name, at]));
const indexOf = (name: string): number => INDEX.get(name) ?? -1;
const BY_OFFSET = PT_REGS_ORDER.map(indexOf);
const BY_ENCODING = ENCODING_ORDER.map(indexOf);

/** Index into {@link X86PtRegs.words} of a register's number in encodings, 0 to 15. */
export const generalIndex = (number: number): number => BY_ENCODING[number];

/** Byte offset of a 64-bit register in struct pt_regs, 0 (r15) to 112 (rdi). @throws RangeError for any other name */
export function ptRegsOffset(name: string): number {
  const at = PT_REGS_ORDER.indexOf(name);
  if (at < 0) throw new RangeError(`no member of pt_regs: ${name}`);
  return at * 8;
}

/** Number of a register in an instruction's encoding, 0 to 15. @throws RangeError for any other name */
export function registerNumber(name: string): number {
  const at = ENCODING_ORDER.indexOf(name);
  if (at < 0) throw new RangeError(`no general register: ${name}`);
  return at;
}

/** The interrupted registers of an exception. */
export class X86PtRegs extends SavedRegisters implements PtRegs {
  readonly userMode: boolean;
  /**
   * The exception was a fault: the flags it pushed have RF set, so that the instruction runs past its own breakpoint
   * (SDM Vol. 3B, 17.3.1.1). It is not in {@link words}, which the vCPU takes back.
   */
  resumeFlag = false;

  /** @param words registers in the order of {@link x86Description}. @param userMode CPL 3 */
  constructor(words = new BigUint64Array(GENERAL.length), userMode = false) {
    super(words, GENERAL, 'rflags', { ip: RIP, sp: RSP, fp: RBP });
    this.userMode = userMode;
  }

  /** @throws RangeError for an unknown name */
  get(name: string): bigint {
    const at = this.index(name);
    return at === RFLAGS ? this.words[at] : this.saved[at];
  }

  /** Keeps the low 64 bits. @throws RangeError for an unknown name */
  set(name: string, value: bigint): void {
    this.words[this.index(name)] = value;
  }

  get ip(): VirtAddr {
    return this.saved[RIP] as VirtAddr;
  }

  set ip(value: VirtAddr) {
    this.saved[RIP] = value;
  }

  get sp(): VirtAddr {
    return this.saved[RSP] as VirtAddr;
  }

  get bp(): VirtAddr {
    return this.saved[RBP] as VirtAddr;
  }

  get fp(): bigint {
    return this.saved[RBP];
  }

  /** RFLAGS as the exception pushed them. */
  get flags(): bigint {
    return this.resumeFlag ? this.words[RFLAGS] | EFLAGS_RF : this.words[RFLAGS];
  }

  /** __KERNEL_CS or __USER_CS with its RPL. */
  get cs(): number {
    return this.userMode ? 0x33 : 0x10;
  }

  get ss(): number {
    return this.userMode ? 0x2b : 0x18;
  }

  /**
   * The word at a byte offset of struct pt_regs, as BPF's exception-table entries name registers. The JIT names general
   * ones alone; behind those, where damaged tables lead, it is 0 and stays so.
   */
  atOffset(offset: number): bigint {
    return this.words[BY_OFFSET[offset >> 3]] ?? 0n;
  }

  setAtOffset(offset: number, value: bigint): void {
    const at = BY_OFFSET[offset >> 3];
    if (at !== undefined) this.words[at] = value;
  }

  /**
   * pt_regs_nr(): the register with encoding `nr`, 0 to 15.
   * @kernel pt_regs_nr arch/x86/mm/extable.c read
   */
  byNumber(nr: number): bigint {
    return this.words[BY_ENCODING[nr]];
  }

  setByNumber(nr: number, value: bigint): void {
    this.words[BY_ENCODING[nr]] = value;
  }

  /** A copy that later changes do not reach. */
  clone(): X86PtRegs {
    const copy = new X86PtRegs(this.words.slice(), this.userMode);
    copy.resumeFlag = this.resumeFlag;
    return copy;
  }

  private index(name: string): number {
    const at = INDEX.get(name);
    if (at === undefined) throw new RangeError(`no general register of x86_64: ${name}`);
    return at;
  }
}
