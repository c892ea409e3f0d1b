// Stack walks of AArch64: the chain of frame records {x29', x30} that x29 heads (arch/arm64/kernel/stacktrace.c). Left
// out: other stacks than the task's, and return addresses that ftrace or kretprobes replaced. The walk reads records
// and no code, so that a function without a record hides its caller: the return address in x30 is not looked at.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { bit } from '../../emulator/bits.ts';
import type { ConsumeEntry, UnwindContext } from '../unwind.ts';
import { type Arm64PtRegs, PC, PT_REGS_SIZE, PT_REGS_STACKFRAME, X29 } from './registers.ts';

/** struct frame_record_meta: {0, 0, type} where a record {fp, lr} is expected (asm/stacktrace/frame.h). */
const META_TYPE_PT_REGS = 2n;
const RECORD_SIZE = 16n;
const META_SIZE = 24n;

/** Where a program counter came from: a record's x30, or the registers of an exception. */
export type UnwindSource = 'frame' | 'regs_pc';

/** struct kunwind_state: one frame, and the way to the next. */
export class KunwindState {
  pc: bigint;
  fp: bigint;
  source: UnwindSource = 'regs_pc';
  private readonly context: UnwindContext;
  /** Records must lie above all that were used before: this ends loops. */
  private low: bigint;

  /** @kernel kunwind_init_from_regs arch/arm64/kernel/stacktrace.c read */
  constructor(context: UnwindContext, regs: Arm64PtRegs) {
    this.context = context;
    this.pc = regs.ip;
    this.fp = regs.fp;
    this.low = context.current.stack;
  }

  /**
   * kunwind_next(). @returns false at the final record and at a bad one
   * @kernel kunwind_next arch/arm64/kernel/stacktrace.c read
   */
  next(): boolean {
    const { fp, context } = this;
    if (fp & 7n || !this.fits(fp, RECORD_SIZE)) return false;
    const nextFp = context.readWord(fp);
    const lr = context.readWord(fp + 8n);
    if (nextFp === null || lr === null) return false;
    if (nextFp === 0n && lr === 0n) return this.nextMeta();
    this.low = fp + RECORD_SIZE;
    this.fp = nextFp;
    this.pc = this.stripPac(lr);
    this.source = 'frame';
    return true;
  }

  /**
   * kunwind_next_frame_record_meta(): only the record of an exception frame leads on.
   * @kernel kunwind_next_frame_record_meta arch/arm64/kernel/stacktrace.c read
   */
  private nextMeta(): boolean {
    const { fp, context } = this;
    if (!this.fits(fp, META_SIZE) || context.readWord(fp + 16n) !== META_TYPE_PT_REGS) return false;
    const regs = fp - BigInt(PT_REGS_STACKFRAME);
    if (!this.fits(regs, BigInt(PT_REGS_SIZE))) return false;
    const pc = context.readWord(regs + BigInt(PC * 8));
    const x29 = context.readWord(regs + BigInt(X29 * 8));
    if (pc === null || x29 === null) return false;
    this.low = regs + BigInt(PT_REGS_SIZE);
    this.fp = x29;
    this.pc = this.stripPac(pc);
    this.source = 'regs_pc';
    return true;
  }

  private fits(addr: bigint, size: bigint): boolean {
    return addr >= this.low && addr + size <= this.context.current.stackEnd;
  }

  private stripPac(addr: bigint): bigint {
    return addr >= LOWEST_CANONICAL ? addr : stripKernelInsnPac(addr);
  }
}

/** With 48-bit addresses, pointers from here on carry no PAC. */
const LOWEST_CANONICAL = 0xffff_0000_0000_0000n;

/**
 * ptrauth_strip_kernel_insn_pac(): puts bit 55 into the bits that hold a PAC. 48-bit addresses keep 54:48 and 63:56.
 * @kernel ptrauth_strip_kernel_insn_pac arch/arm64/include/asm/compiler.h read - of CONFIG_ARM64_PTR_AUTH_KERNEL
 */
export const stripKernelInsnPac = (addr: bigint): bigint =>
  bit(addr, 55) ? addr | LOWEST_CANONICAL : addr & ~LOWEST_CANONICAL;

/**
 * arch_bpf_stack_walk() from a fault handler: offers the interrupted pc, then return addresses; sp is always 0.
 * @kernel arch_bpf_stack_walk arch/arm64/kernel/stacktrace.c read
 */
export function archBpfStackWalk(
  context: UnwindContext,
  regs: Arm64PtRegs,
  consume: ConsumeEntry,
): void {
  if (regs.userMode) return;
  const state = new KunwindState(context, regs);
  do {
    if (!consume(virtAddr(state.pc), 0n as VirtAddr, state.fp as VirtAddr)) return;
  } while (state.next());
}
