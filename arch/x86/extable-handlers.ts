// What becomes of an instruction that the exception table fixes up: the handlers of arch/x86/mm/extable.c, and
// ex_handler_bpf() of arch/x86/net/bpf_jit_comp.c. Left out: the FPU state that FPU_RESTORE resets.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { lo32 } from '../../emulator/bits.ts';
import { type Activity, KernelStuck } from '../../mm/context.ts';
import type { ExtableEntry, FaultContext, FaultOutcome, FaultPath } from '../arch.ts';
import { type CompiledArgument, compiledNow } from '../compiled-path.ts';
import { formatBacktrace } from '../oops.ts';
import { FIXED_UP } from '../path.ts';
import { DONT_CLEAR, FIXUP_ARENA_ACCESS, FLAG_CLEAR_AX, FLAG_CLEAR_DX } from './extable-entry.ts';
import { VECTOR_GP } from './fault-code.ts';
import { RAX, RDX, type X86PtRegs } from './registers.ts';
import { loadZeropad } from './zeropad.ts';

const SGX_ENCLS_FAULT_FLAG = 0x4000_0000n;

/** What a handler comes to: null where it declines. */
export type Handled = FaultPath | null;

/** A handler in compiled code. @returns undefined where the model does it */
export function compiledHandler(
  context: FaultContext,
  fn: string,
  ...args: readonly CompiledArgument[]
): FaultOutcome | null | undefined {
  if (context.compiled === null) return undefined;
  const result = compiledNow(context, fn, ...args);
  if (result === null) return undefined;
  return (result & 0xffn) === 0n ? null : FIXED_UP;
}

/** @kernel ex_handler_default arch/x86/mm/extable.c read */
export function exHandlerDefault(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
): Handled {
  const compiled = compiledHandler(context, 'ex_handler_default', entry, regs);
  if (compiled !== undefined) return compiled;
  if (entry.data & FLAG_CLEAR_AX) regs.words[RAX] = 0n;
  if (entry.data & FLAG_CLEAR_DX) regs.words[RDX] = 0n;
  regs.ip = entry.fixup;
  return FIXED_UP;
}

/** @kernel ex_handler_fault arch/x86/mm/extable.c read */
export function exHandlerFault(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  trapnr: number,
): Handled {
  const compiled = compiledHandler(context, 'ex_handler_fault', entry, regs, BigInt(trapnr));
  if (compiled !== undefined) return compiled;
  regs.words[RAX] = BigInt(trapnr);
  return exHandlerDefault(context, entry, regs);
}

/**
 * ex_handler_sgx(): rax tells that it was a fault, and which.
 * @kernel ex_handler_sgx arch/x86/mm/extable.c read
 */
export function exHandlerSgx(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  trapnr: number,
): Handled {
  const compiled = compiledHandler(context, 'ex_handler_sgx', entry, regs, BigInt(trapnr));
  if (compiled !== undefined) return compiled;
  regs.words[RAX] = BigInt(trapnr) | SGX_ENCLS_FAULT_FLAG;
  return exHandlerDefault(context, entry, regs);
}

/** USER_PTR_MAX of valid_user_address(): the lower half, and with it one page of slop at its end. */
const USER_PTR_MAX = 0x0000_7fff_ffff_f000n;

/**
 * ex_handler_uaccess(): a #GP at an address beyond user space and its non-canonical border tells of a missing check.
 * @kernel ex_handler_uaccess arch/x86/mm/extable.c read
 */
export function exHandlerUaccess(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  trapnr: number,
  addr: VirtAddr,
): Handled {
  const compiled = compiledHandler(
    context,
    'ex_handler_uaccess',
    entry,
    regs,
    BigInt(trapnr),
    addr,
  );
  if (compiled !== undefined) return compiled;
  if (trapnr === VECTOR_GP && addr > USER_PTR_MAX && virtAddr(addr - 4096n) > USER_PTR_MAX) {
    const text = 'General protection fault in user access. Non-canonical address?';
    printOnce(context, text, 'ex_handler_uaccess');
  }
  return exHandlerDefault(context, entry, regs);
}

/** @kernel ex_handler_fprestore arch/x86/mm/extable.c read */
export function exHandlerFprestore(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
): Handled {
  const compiled = compiledHandler(context, 'ex_handler_fprestore', entry, regs);
  if (compiled !== undefined) return compiled;
  const at = formatBacktrace(context, regs.ip);
  const text = `Bad FPU state detected at ${at}, reinitializing FPU registers.`;
  printOnce(context, text, 'ex_handler_fprestore');
  return exHandlerDefault(context, entry, regs);
}

/** @kernel ex_handler_imm_reg arch/x86/mm/extable.c read */
export function exHandlerImmReg(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  reg: number,
  imm: bigint,
): Handled {
  const compiled = compiledHandler(context, 'ex_handler_imm_reg', entry, regs, BigInt(reg), imm);
  if (compiled !== undefined) return compiled;
  regs.setByNumber(reg, imm);
  return exHandlerDefault(context, entry, regs);
}

/** @kernel ex_handler_zeropad arch/x86/mm/extable.c read */
export function exHandlerZeropad(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  faultAddr: VirtAddr,
): Handled {
  const compiled = compiledHandler(context, 'ex_handler_zeropad', entry, regs, faultAddr);
  if (compiled !== undefined) return compiled;
  if (!loadZeropad(context, entry, regs, faultAddr)) return null;
  return exHandlerDefault(context, entry, regs);
}

/**
 * ex_handler_bpf(): reports an access to an arena, then clears the destination of a load and goes on behind the
 * instruction. Nothing is mapped, so the next access reports again.
 * @kernel ex_handler_bpf arch/x86/net/bpf_jit_comp.c read
 */
export function* exHandlerBpf(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
): Activity<FaultOutcome> {
  const compiled = context.compiled?.calls.ex_handler_bpf?.(entry, regs);
  if (compiled) {
    if ((lo32(yield* compiled) & 0xff) === 0) throw new KernelStuck('ex_handler_bpf declines');
    return FIXED_UP;
  }
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

/** WARN_ONCE() of `by` with a text; its register dump is left out. */
function printOnce(context: FaultContext, text: string, by: string): void {
  if (!context.kernel.log.includes(text)) context.kernel.printk(text, by);
}
