// Exception-table entries of AArch64 and their handlers: arch/arm64/mm/extable.c, asm/asm-extable.h, and
// ex_handler_bpf() of arch/arm64/net/bpf_jit_comp.c.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex, lo32 } from '../../emulator/bits.ts';
import type { Activity } from '../../mm/context.ts';
import type { ExtableEntry, FaultContext, FaultOutcome } from '../arch.ts';
import { compiledBool, type Handled, isTrue } from '../compiled-path.ts';
import { buildExtable, type DecodeTail, type ExtableSource, searchExtable } from '../extable.ts';
import { FIXED_UP } from '../path.ts';
import { esrWnr } from './esr.ts';
import { bug } from './oops.ts';
import { type Arm64PtRegs, registerNumber, XZR } from './registers.ts';

/** EX_TYPE_ numbers by name. `default` is UACCESS_ERR_ZERO with both registers discarded. */
export const ARM64_EX_TYPE = {
  none: 0,
  bpf: 1,
  uaccess_err_zero: 2,
  default: 2,
  kaccess_err_zero: 3,
  uaccess_cpy: 4,
  load_unaligned_zeropad: 5,
} as const;

export type Arm64ExTypeName = keyof typeof ARM64_EX_TYPE;

/** Fields of a BPF entry's fixup word. */
const FIXUP_ARENA_ACCESS = 1 << 21;
/** What JITs of 7.3 say of stores; their handler asks this bit, and older ones the register. */
const FIXUP_ARENA_WRITE = 1 << 22;
/** In place of a register: a store, which clears none. No BPF register is x5. */
const DONT_CLEAR = 5;

const EFAULT = 14n;

/** An entry in words. Registers are `x0` to `x30`, or `xzr` for none. */
export interface Arm64ExtableSource {
  readonly insn: VirtAddr;
  /** Where to go on. BPF entries have no use for it: they go on at the next instruction. */
  readonly fixup: VirtAddr;
  readonly type: Arm64ExTypeName;
  /** *_err_zero: the register that gets -EFAULT. */
  readonly err?: string;
  /** *_err_zero: the register that gets 0. */
  readonly zero?: string;
  /** uaccess_cpy: the user side of the copy is the written one. */
  readonly write?: boolean;
  /** load_unaligned_zeropad: the destination, and the register that holds the address. */
  readonly data?: string;
  readonly addr?: string;
  /** bpf: the register that a load clears; null for a store. */
  readonly dst?: string | null;
  /** bpf: the register that holds the arena offset; null or absent for an access that is no arena's. */
  readonly arenaReg?: string | null;
  /** bpf: the displacement, -32768 to 32767. */
  readonly offset?: number;
}

/** The third word of an entry: type in the lower half, data in the upper. */
const decodeTail: DecodeTail = (tail) => ({ type: tail & 0xffff, data: tail >>> 16 });

/** Builds a table that will lie at `at`. @throws RangeError for a value that does not fit its field */
export function buildArm64Extable(
  sources: readonly Arm64ExtableSource[],
  at: VirtAddr,
): Uint8Array {
  return buildExtable(sources.map(encode), at);
}

/**
 * search_extable() in a table at `at`.
 * @kernel search_extable lib/extable.c read
 */
export const searchArm64Extable = (
  bytes: Uint8Array,
  at: VirtAddr,
  ip: VirtAddr,
): ExtableEntry | null => searchExtable(bytes, at, ip, decodeTail);

function encode(source: Arm64ExtableSource): ExtableSource {
  const { insn, type } = source;
  if (type === 'bpf') return { insn, fixup: { word: bpfWord(source) }, tail: ARM64_EX_TYPE.bpf };
  return { insn, fixup: source.fixup, tail: ARM64_EX_TYPE[type] | (encodeData(source) << 16) };
}

function encodeData(source: Arm64ExtableSource): number {
  const reg = (name: string | undefined) => (name === undefined ? XZR : registerNumber(name));
  switch (source.type) {
    case 'uaccess_cpy':
      return source.write === true ? 1 : 0;
    case 'load_unaligned_zeropad':
      return reg(source.data) | (reg(source.addr) << 5);
    case 'none':
      return 0;
    default:
      return reg(source.err) | (reg(source.zero) << 5);
  }
}

/** The packed word that the JIT writes for a BPF load or store. */
function bpfWord({ dst, arenaReg, offset = 0 }: Arm64ExtableSource): number {
  if (!Number.isInteger(offset) || offset < -32768 || offset > 32767) {
    throw new RangeError(`does not fit 16 bits: ${offset}`);
  }
  const cleared = dst === undefined || dst === null ? DONT_CLEAR : registerNumber(dst);
  const arena =
    arenaReg === undefined || arenaReg === null
      ? 0
      : FIXUP_ARENA_ACCESS |
        (cleared === DONT_CLEAR ? FIXUP_ARENA_WRITE : 0) |
        (registerNumber(arenaReg) << 16);
  return ((cleared << 27) | arena | (offset & 0xffff)) >>> 0;
}

/**
 * fixup_exception(): the handler of the entry for the interrupted instruction.
 * @param code ESR_EL1
 * @returns the path of the handler, or null where there is no entry or it declines
 * @kernel fixup_exception arch/arm64/mm/extable.c read
 */
export function fixupException(context: FaultContext, regs: Arm64PtRegs, code: bigint): Handled {
  const { kernel } = context;
  if (kernel.events.on) kernel.enter('fixup_exception', { pc: hex(regs.ip) });
  const compiled = context.compiled?.calls.fixup_exception;
  if (compiled !== undefined) return byHandler(compiled(regs, code));
  const fixed = byTable(context, regs, code);
  if (kernel.events.on) {
    kernel.decide('fixup_exception', fixed === null ? 'no handler takes it' : 'handled');
  }
  return fixed;
}

function byTable(context: FaultContext, regs: Arm64PtRegs, code: bigint): Handled {
  const entry = context.searchExceptionTables(regs.ip);
  if (entry === null) return null;
  switch (entry.type) {
    case ARM64_EX_TYPE.bpf:
      return exHandlerBpf(context, entry, regs);
    case ARM64_EX_TYPE.uaccess_err_zero:
    case ARM64_EX_TYPE.kaccess_err_zero:
      return exHandlerUaccessErrZero(context, entry, regs);
    case ARM64_EX_TYPE.uaccess_cpy:
      return exHandlerUaccessCpy(context, entry, regs, code);
    case ARM64_EX_TYPE.load_unaligned_zeropad:
      return exHandlerLoadUnalignedZeropad(context, entry, regs);
    default:
      return bug(context, 'fixup_exception', regs);
  }
}

/** A handler in compiled code, which returns whether it took the fault. */
function* byHandler(call: Activity<bigint>): Activity<FaultOutcome | null> {
  return isTrue(yield* call) ? FIXED_UP : null;
}

/**
 * insn_may_access_user(): true if the instruction at `pc` has an entry that allows it user memory: any but that of a
 * copy whose other side faulted.
 * @param code ESR_EL1
 * @kernel insn_may_access_user arch/arm64/mm/extable.c read
 */
export function insnMayAccessUser(context: FaultContext, pc: VirtAddr, code: bigint): boolean {
  const compiled = compiledBool(context, 'insn_may_access_user', pc, code);
  if (compiled !== null) return compiled;
  const entry = context.searchExceptionTables(pc);
  if (entry === null) return false;
  return entry.type !== ARM64_EX_TYPE.uaccess_cpy || cpyFaultedOnUaccess(context, entry, code);
}

/**
 * cpy_faulted_on_uaccess(): the side that faulted is the user's.
 * @kernel cpy_faulted_on_uaccess arch/arm64/mm/extable.c read
 */
const cpyFaultedOnUaccess = (context: FaultContext, entry: ExtableEntry, code: bigint): boolean =>
  compiledBool(context, 'cpy_faulted_on_uaccess', entry, code) ??
  ((entry.data & 1) !== 0) === esrWnr(lo32(code));

function goOnAtFixup(entry: ExtableEntry, regs: Arm64PtRegs): FaultOutcome {
  regs.ip = entry.fixup;
  return FIXED_UP;
}

/** @kernel ex_handler_uaccess_err_zero arch/arm64/mm/extable.c read */
function exHandlerUaccessErrZero(
  context: FaultContext,
  entry: ExtableEntry,
  regs: Arm64PtRegs,
): Handled {
  const compiled = context.compiled?.calls.ex_handler_uaccess_err_zero;
  if (compiled !== undefined) return byHandler(compiled(entry, regs));
  regs.writeReg(entry.data & 31, -EFAULT);
  regs.writeReg((entry.data >> 5) & 31, 0n);
  return goOnAtFixup(entry, regs);
}

/**
 * ex_handler_uaccess_cpy(): declines where the other side faulted.
 * @kernel ex_handler_uaccess_cpy arch/arm64/mm/extable.c read
 */
function exHandlerUaccessCpy(
  context: FaultContext,
  entry: ExtableEntry,
  regs: Arm64PtRegs,
  code: bigint,
): Handled {
  const compiled = context.compiled?.calls.ex_handler_uaccess_cpy;
  if (compiled !== undefined) return byHandler(compiled(entry, regs, code));
  return cpyFaultedOnUaccess(context, entry, code) ? goOnAtFixup(entry, regs) : null;
}

/**
 * ex_handler_load_unaligned_zeropad(): the aligned word that is there, with zeroes for what lies beyond it.
 * @kernel ex_handler_load_unaligned_zeropad arch/arm64/mm/extable.c read
 */
function exHandlerLoadUnalignedZeropad(
  context: FaultContext,
  entry: ExtableEntry,
  regs: Arm64PtRegs,
): Handled {
  const compiled = context.compiled?.calls.ex_handler_load_unaligned_zeropad;
  if (compiled !== undefined) return byHandler(compiled(entry, regs));
  const addr = regs.readReg((entry.data >> 5) & 31);
  const offset = addr & 7n;
  // The kernel would fault for good where even this word is missing.
  const word = context.readWord(addr - offset);
  if (word === null) return bug(context, 'fixup_exception', regs);
  regs.writeReg(entry.data & 31, word >> (offset * 8n));
  return goOnAtFixup(entry, regs);
}

/**
 * ex_handler_bpf(): reports an access to an arena, then clears the destination of a load and goes on behind the
 * instruction. Nothing is mapped, so the next access reports again.
 * @kernel ex_handler_bpf arch/arm64/net/bpf_jit_comp.c read
 */
export function exHandlerBpf(
  context: FaultContext,
  entry: ExtableEntry,
  regs: Arm64PtRegs,
): Handled {
  const compiled = context.compiled?.calls.ex_handler_bpf;
  return compiled === undefined
    ? reportAndClear(context, entry, regs)
    : byHandler(compiled(entry, regs));
}

function* reportAndClear(
  context: FaultContext,
  entry: ExtableEntry,
  regs: Arm64PtRegs,
): Activity<FaultOutcome> {
  const word = entry.fixupWord;
  const cleared = word >>> 27;
  const isWrite = cleared === DONT_CLEAR;
  if (word & FIXUP_ARENA_ACCESS) {
    // The offset is a signed 16-bit number in the lower half.
    const addr = virtAddr(regs.words[(word >> 16) & 31] + BigInt((word << 16) >> 16));
    yield* context.reportArenaViolation(isWrite, addr, regs.ip);
  }
  if (!isWrite) regs.writeReg(cleared, 0n);
  regs.ip = virtAddr(regs.ip + 4n);
  return FIXED_UP;
}
