// Exception-table entries of x86-64 and their handlers: arch/x86/mm/extable.c, asm/extable_fixup_types.h, and
// ex_handler_bpf() of arch/x86/net/bpf_jit_comp.c. Left out: ERETU (no FRED here, so it is an unknown type, as in a
// kernel built without), the FPU state that FPU_RESTORE resets, and FS that CLEAR_FS clears.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { Activity } from '../../mm/context.ts';
import type { ExtableEntry, FaultContext, FaultOutcome, FaultPath } from '../arch.ts';
import { buildExtable, type DecodeTail, type ExtableSource, searchExtable } from '../extable.ts';
import { oops } from '../oops.ts';
import { FIXED_UP } from '../path.ts';
import { exHandlerMsr, exHandlerMsrMce } from './extable-msr.ts';
import { VECTOR_GP } from './fault-code.ts';
import { die, oopsEnd } from './oops.ts';
import { ptRegsOffset, RAX, RCX, RDX, RSP, registerNumber, type X86PtRegs } from './registers.ts';
import { loadZeropad } from './zeropad.ts';

/** EX_TYPE_ numbers by name. Type 4 is unused. */
export const X86_EX_TYPE = {
  none: 0,
  default: 1,
  fault: 2,
  uaccess: 3,
  clear_fs: 5,
  fpu_restore: 6,
  bpf: 7,
  wrmsr: 8,
  rdmsr: 9,
  wrmsr_safe: 10,
  rdmsr_safe: 11,
  wrmsr_in_mce: 12,
  rdmsr_in_mce: 13,
  default_mce_safe: 14,
  fault_mce_safe: 15,
  pop_reg: 16,
  imm_reg: 17,
  fault_sgx: 18,
  ucopy_len: 19,
  zeropad: 20,
  eretu: 21,
} as const;

export type X86ExTypeName = keyof typeof X86_EX_TYPE;

/** EX_FLAG_CLEAR_AX and EX_FLAG_CLEAR_DX, in bits 15:12 of the data. */
const FLAG_CLEAR_AX = 1 << 12;
const FLAG_CLEAR_DX = 2 << 12;

/** FIXUP_ARENA_ACCESS of a BPF entry's fixup word. */
const FIXUP_ARENA_ACCESS = 0x8000_0000;
/** In place of a register's offset: a store, which clears none. */
const DONT_CLEAR = 1;

const SGX_ENCLS_FAULT_FLAG = 0x4000_0000n;
const EFAULT = 14;

/** An entry in words. Registers are named in lower case, 64 bits wide. */
export interface X86ExtableSource {
  readonly insn: VirtAddr;
  /** Where to go on. A BPF entry goes on behind the instruction: its length is fixup - insn. */
  readonly fixup: VirtAddr;
  readonly type: X86ExTypeName;
  /** imm_reg, pop_reg, ucopy_len, *msr_safe: the register written or added. */
  readonly reg?: string;
  /** imm_reg, pop_reg: the value; ucopy_len: the factor of rcx. -32768 to 32767; -EFAULT unless given. */
  readonly imm?: number;
  readonly clearAx?: boolean;
  readonly clearDx?: boolean;
  /** bpf: the register that a load clears; null for a store. */
  readonly dst?: string | null;
  /** bpf: the register that holds the arena offset; null or absent for an access that is no arena's. */
  readonly arenaReg?: string | null;
  /** bpf: the displacement, -32768 to 32767. */
  readonly offset?: number;
}

/** The third word of an entry: type, register, flags and immediate. */
const decodeTail: DecodeTail = (tail) => ({ type: tail & 0xff, data: tail });

/** Builds a table that will lie at `at`. @throws RangeError for a value that does not fit its field */
export function buildX86Extable(sources: readonly X86ExtableSource[], at: VirtAddr): Uint8Array {
  return buildExtable(sources.map(encode), at);
}

/**
 * search_extable() in a table at `at`.
 * @kernel search_extable lib/extable.c read
 */
export const searchX86Extable = (
  bytes: Uint8Array,
  at: VirtAddr,
  ip: VirtAddr,
): ExtableEntry | null => searchExtable(bytes, at, ip, decodeTail);

function encode(source: X86ExtableSource): ExtableSource {
  if (source.type === 'bpf') return encodeBpf(source);
  const reg = source.reg === undefined ? 0 : registerNumber(source.reg);
  const flags =
    (source.clearAx === true ? FLAG_CLEAR_AX : 0) | (source.clearDx === true ? FLAG_CLEAR_DX : 0);
  const imm = s16(source.imm ?? (source.type === 'imm_reg' ? -EFAULT : 0));
  return {
    insn: source.insn,
    fixup: source.fixup,
    tail: X86_EX_TYPE[source.type] | (reg << 8) | flags | (imm << 16),
  };
}

/** The packed words that the JIT writes for a BPF load or store. */
function encodeBpf({ insn, fixup, dst, arenaReg, offset }: X86ExtableSource): ExtableSource {
  const length = Number(fixup - insn);
  if (!(length >= 1 && length <= 15)) {
    throw new RangeError(`a BPF entry's fixup must follow its instruction: ${hex(insn)}`);
  }
  const cleared = dst === undefined || dst === null ? DONT_CLEAR : ptRegsOffset(dst);
  const arena =
    arenaReg === undefined || arenaReg === null
      ? 0
      : FIXUP_ARENA_ACCESS | (ptRegsOffset(arenaReg) << 16);
  return {
    insn,
    fixup: { word: (length | (cleared << 8) | arena) >>> 0 },
    tail: X86_EX_TYPE.bpf | (s16(offset ?? 0) << 16),
  };
}

function s16(value: number): number {
  if (!Number.isInteger(value) || value < -32768 || value > 32767) {
    throw new RangeError(`does not fit 16 bits: ${value}`);
  }
  return value & 0xffff;
}

/**
 * fixup_exception(): the handler of the entry for the interrupted instruction.
 * @param trapnr vector of the exception: 14 for a page fault, 13 for #GP
 * @param faultAddr CR2, or the address of a #GP where it is known
 * @returns the path of the handler, or null where there is no entry or it declines
 * @kernel fixup_exception arch/x86/mm/extable.c read
 */
export function fixupException(
  context: FaultContext,
  regs: X86PtRegs,
  trapnr: number,
  faultAddr: VirtAddr,
): FaultPath | null {
  if (context.kernel.events.on) context.kernel.enter('fixup_exception', { ip: hex(regs.ip) });
  const entry = context.searchExceptionTables(regs.ip);
  if (entry === null) return null;
  const reg = (entry.data >> 8) & 15;
  const imm = BigInt(entry.data >> 16);
  switch (entry.type) {
    case X86_EX_TYPE.default:
    case X86_EX_TYPE.default_mce_safe:
      return exHandlerDefault(entry, regs);
    case X86_EX_TYPE.fault:
    case X86_EX_TYPE.fault_mce_safe:
      return exHandlerFault(entry, regs, BigInt(trapnr));
    case X86_EX_TYPE.uaccess:
      return exHandlerUaccess(context, entry, regs, trapnr, faultAddr);
    case X86_EX_TYPE.clear_fs:
      return exHandlerDefault(entry, regs);
    case X86_EX_TYPE.fpu_restore:
      return exHandlerFprestore(context, entry, regs);
    case X86_EX_TYPE.bpf:
      return exHandlerBpf(context, entry, regs);
    case X86_EX_TYPE.wrmsr:
      exHandlerMsr(context, regs, true, null);
      return exHandlerDefault(entry, regs);
    case X86_EX_TYPE.rdmsr:
      exHandlerMsr(context, regs, false, null);
      return exHandlerDefault(entry, regs);
    case X86_EX_TYPE.wrmsr_safe:
      exHandlerMsr(context, regs, true, reg);
      return exHandlerDefault(entry, regs);
    case X86_EX_TYPE.rdmsr_safe:
      exHandlerMsr(context, regs, false, reg);
      return exHandlerDefault(entry, regs);
    case X86_EX_TYPE.wrmsr_in_mce:
      return exHandlerMsrMce(context, regs, true);
    case X86_EX_TYPE.rdmsr_in_mce:
      return exHandlerMsrMce(context, regs, false);
    case X86_EX_TYPE.pop_reg:
      regs.words[RSP] += 8n;
      return exHandlerImmReg(entry, regs, reg, imm);
    case X86_EX_TYPE.imm_reg:
      return exHandlerImmReg(entry, regs, reg, imm);
    case X86_EX_TYPE.fault_sgx:
      return exHandlerFault(entry, regs, BigInt(trapnr) | SGX_ENCLS_FAULT_FLAG);
    case X86_EX_TYPE.ucopy_len:
      regs.words[RCX] = imm * regs.words[RCX] + regs.byNumber(reg);
      return exHandlerUaccess(context, entry, regs, trapnr, faultAddr);
    case X86_EX_TYPE.zeropad:
      return loadZeropad(context, entry, regs, faultAddr) ? exHandlerDefault(entry, regs) : null;
    default:
      return bug(context, regs, faultAddr);
  }
}

/** @kernel ex_handler_default arch/x86/mm/extable.c read */
function exHandlerDefault(entry: ExtableEntry, regs: X86PtRegs): FaultPath {
  if (entry.data & FLAG_CLEAR_AX) regs.words[RAX] = 0n;
  if (entry.data & FLAG_CLEAR_DX) regs.words[RDX] = 0n;
  regs.ip = entry.fixup;
  return FIXED_UP;
}

/**
 * ex_handler_fault(), ex_handler_sgx(): rax tells what happened.
 * @kernel ex_handler_fault, ex_handler_sgx arch/x86/mm/extable.c read
 */
function exHandlerFault(entry: ExtableEntry, regs: X86PtRegs, what: bigint): FaultPath {
  regs.words[RAX] = what;
  return exHandlerDefault(entry, regs);
}

/** USER_PTR_MAX of valid_user_address(): the lower half, and with it one page of slop at its end. */
const USER_PTR_MAX = 0x0000_7fff_ffff_f000n;

/**
 * ex_handler_uaccess(): a #GP at an address beyond user space and its non-canonical border tells of a missing check.
 * @kernel ex_handler_uaccess arch/x86/mm/extable.c read
 */
function exHandlerUaccess(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  trapnr: number,
  addr: VirtAddr,
): FaultPath {
  if (trapnr === VECTOR_GP && addr > USER_PTR_MAX && virtAddr(addr - 4096n) > USER_PTR_MAX) {
    const text = 'General protection fault in user access. Non-canonical address?';
    printOnce(context, text, 'ex_handler_uaccess');
  }
  return exHandlerDefault(entry, regs);
}

/** @kernel ex_handler_fprestore arch/x86/mm/extable.c read */
function exHandlerFprestore(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
): FaultPath {
  const at = context.formatSymbol(regs.ip);
  const text = `Bad FPU state detected at ${at}, reinitializing FPU registers.`;
  printOnce(context, text, 'ex_handler_fprestore');
  return exHandlerDefault(entry, regs);
}

/** @kernel ex_handler_imm_reg arch/x86/mm/extable.c read */
function exHandlerImmReg(
  entry: ExtableEntry,
  regs: X86PtRegs,
  reg: number,
  imm: bigint,
): FaultPath {
  regs.setByNumber(reg, imm);
  return exHandlerDefault(entry, regs);
}

/**
 * ex_handler_bpf(): reports an access to an arena, then clears the destination of a load and goes on behind the
 * instruction. Nothing is mapped, so the next access reports again.
 * @kernel ex_handler_bpf arch/x86/net/bpf_jit_comp.c read
 */
function* exHandlerBpf(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
): Activity<FaultOutcome> {
  const word = entry.fixupWord;
  const cleared = (word >> 8) & 0xff;
  const isWrite = cleared === DONT_CLEAR;
  if (word & FIXUP_ARENA_ACCESS) {
    // The offset is a signed 16-bit number in the data's upper half.
    const addr = virtAddr(regs.atOffset((word >> 16) & 0x7f) + BigInt(entry.data >> 16));
    yield* context.reportArenaViolation(isWrite, addr, regs.ip);
  }
  if (!isWrite) regs.setAtOffset(cleared, 0n);
  regs.ip = virtAddr(regs.ip + BigInt(word & 0xff));
  return FIXED_UP;
}

/** BUG() of fixup_exception(): ud2 in the handler, which the invalid-opcode handler reports. */
function bug(context: FaultContext, regs: X86PtRegs, addr: VirtAddr): FaultOutcome {
  return oops(context, () => {
    context.kernel.printk('------------[ cut here ]------------', 'fixup_exception');
    context.kernel.printk(
      'Kernel BUG at fixup_exception [verbose debug info unavailable]',
      'fixup_exception',
    );
    die(context, 'invalid opcode', regs, 0, addr);
    oopsEnd(context, addr);
  });
}

/** WARN_ONCE() of `by` with a text; its register dump is left out. */
function printOnce(context: FaultContext, text: string, by: string): void {
  if (!context.kernel.log.includes(text)) context.kernel.printk(text, by);
}
