// Exception-table entries of x86-64 (arch/x86/mm/extable.c, asm/extable_fixup_types.h) and who handles which. Left out:
// ERETU (no FRED here, so it is an unknown type, as in a kernel built without), and FS that CLEAR_FS clears.
import type { VirtAddr } from '../../emulator/address.ts';
import { hex, lo32 } from '../../emulator/bits.ts';
import type { ExtableEntry, FaultContext, FaultOutcome, FaultPath } from '../arch.ts';
import { compiledNow } from '../compiled-path.ts';
import { buildExtable, type DecodeTail, type ExtableSource, searchExtable } from '../extable.ts';
import { oops } from '../oops.ts';
import { FIXED_UP } from '../path.ts';
import { DONT_CLEAR, FIXUP_ARENA_ACCESS, FLAG_CLEAR_AX, FLAG_CLEAR_DX } from './extable-entry.ts';
import {
  exHandlerBpf,
  exHandlerDefault,
  exHandlerFault,
  exHandlerFprestore,
  exHandlerImmReg,
  exHandlerSgx,
  exHandlerUaccess,
  exHandlerZeropad,
} from './extable-handlers.ts';
import { exHandlerMsr, exHandlerMsrMce } from './extable-msr.ts';
import { die, oopsEnd } from './oops.ts';
import { ptRegsOffset, RCX, RSP, registerNumber, type X86PtRegs } from './registers.ts';

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
  // Every fault comes by: without compiled code no arguments are made for it.
  if (context.compiled !== null) {
    const [trap, code] = [BigInt(trapnr), 0n];
    const compiled = compiledNow(context, 'fixup_exception', regs, trap, code, faultAddr);
    if (compiled !== null) return lo32(compiled) === 0 ? null : FIXED_UP;
  }
  const entry = context.searchExceptionTables(regs.ip);
  return entry === null ? null : handle(context, entry, regs, trapnr, faultAddr);
}

function handle(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  trapnr: number,
  faultAddr: VirtAddr,
): FaultPath | null {
  const reg = (entry.data >> 8) & 15;
  const imm = BigInt(entry.data >> 16);
  switch (entry.type) {
    case X86_EX_TYPE.default:
    case X86_EX_TYPE.default_mce_safe:
      return exHandlerDefault(context, entry, regs);
    case X86_EX_TYPE.fault:
    case X86_EX_TYPE.fault_mce_safe:
      return exHandlerFault(context, entry, regs, trapnr);
    case X86_EX_TYPE.uaccess:
      return exHandlerUaccess(context, entry, regs, trapnr, faultAddr);
    case X86_EX_TYPE.clear_fs:
      return exHandlerDefault(context, entry, regs);
    case X86_EX_TYPE.fpu_restore:
      return exHandlerFprestore(context, entry, regs);
    case X86_EX_TYPE.bpf:
      return exHandlerBpf(context, entry, regs);
    case X86_EX_TYPE.wrmsr:
      return exHandlerMsr(context, entry, regs, true, null);
    case X86_EX_TYPE.rdmsr:
      return exHandlerMsr(context, entry, regs, false, null);
    case X86_EX_TYPE.wrmsr_safe:
      return exHandlerMsr(context, entry, regs, true, reg);
    case X86_EX_TYPE.rdmsr_safe:
      return exHandlerMsr(context, entry, regs, false, reg);
    case X86_EX_TYPE.wrmsr_in_mce:
      return exHandlerMsrMce(context, regs, true);
    case X86_EX_TYPE.rdmsr_in_mce:
      return exHandlerMsrMce(context, regs, false);
    case X86_EX_TYPE.pop_reg:
      regs.words[RSP] += 8n;
      return exHandlerImmReg(context, entry, regs, reg, imm);
    case X86_EX_TYPE.imm_reg:
      return exHandlerImmReg(context, entry, regs, reg, imm);
    case X86_EX_TYPE.fault_sgx:
      return exHandlerSgx(context, entry, regs, trapnr);
    case X86_EX_TYPE.ucopy_len:
      regs.words[RCX] = imm * regs.words[RCX] + regs.byNumber(reg);
      return exHandlerUaccess(context, entry, regs, trapnr, faultAddr);
    case X86_EX_TYPE.zeropad:
      return exHandlerZeropad(context, entry, regs, faultAddr);
    default:
      return bug(context, regs, faultAddr);
  }
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
    oopsEnd(context, regs, addr);
  });
}
