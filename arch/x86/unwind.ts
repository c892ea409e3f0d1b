// Stack walks of x86-64: the ORC unwinder (arch/x86/kernel/unwind_orc.c) with its frame-pointer fallback for generated
// code, and the rbp chain of CONFIG_UNWINDER_FRAME_POINTER. Left out: other stacks than the task's, nested exception
// frames, frames of user mode, and the return trampolines of ftrace and kretprobes.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { type ConsumeEntry, type OrcEntry, onStack, type UnwindContext } from '../unwind.ts';
import type { X86PtRegs } from './registers.ts';

/** orc_fp_entry: the guess for code without ORC data. The caller's rbp lies right below the return address. */
const FRAME_POINTER: OrcEntry = { base: 'bp', offset: 16n, bpSlot: 16n };

/** null_orc_entry: a call through a null pointer pushed a return address and nothing else. */
const CALLED_NULL: OrcEntry = { base: 'sp', offset: 8n, bpSlot: null };

/** struct unwind_state: one frame, and the way to the next. */
export class UnwindState {
  ip: bigint;
  sp: bigint;
  bp: bigint;
  /** unwind_done() */
  done = false;
  /** At an exception frame `ip` is the instruction itself; elsewhere it follows a call. */
  signal = true;
  private readonly context: UnwindContext;
  private readonly orc: boolean;

  /**
   * unwind_start() at an exception frame, or any other frame that is known.
   * @kernel unwind_start arch/x86/kernel/unwind_orc.c read
   */
  constructor(
    context: UnwindContext,
    regs: Pick<X86PtRegs, 'sp' | 'bp' | 'userMode'> & { readonly ip: bigint },
  ) {
    this.context = context;
    this.ip = regs.ip;
    this.sp = regs.sp;
    this.bp = regs.bp;
    this.orc = context.kernel.config.unwinder === 'orc';
    if (regs.userMode || context.kernel.config.unwinder === 'none') this.done = true;
  }

  /**
   * unwind_next_frame(). @returns false if the walk ended
   * @kernel unwind_next_frame arch/x86/kernel/unwind_orc.c read
   */
  next(): boolean {
    const task = this.context.current;
    const entry = this.entry();
    const cfa = BigInt.asUintN(64, (entry.base === 'sp' ? this.sp : this.bp) + entry.offset);
    const slot = cfa - 8n;
    const ip = onStack(task, slot) ? this.context.readWord(slot) : null;
    if (ip === null) return this.end();
    if (entry.bpSlot !== null) {
      const saved = cfa - entry.bpSlot;
      const bp = onStack(task, saved) ? this.context.readWord(saved) : null;
      if (bp === null) return this.end();
      this.bp = bp;
    }
    // A walk that does not go up would go round for ever.
    if (cfa <= this.sp) return this.end();
    this.ip = ip;
    this.sp = cfa;
    this.signal = false;
    return true;
  }

  /**
   * unwind_get_return_address(): 0 if the walk ended or `ip` is no kernel text.
   * @kernel unwind_get_return_address arch/x86/kernel/unwind_orc.c read
   */
  returnAddress(): bigint {
    return this.done || !this.context.kernelTextAddress(this.ip) ? 0n : this.ip;
  }

  /**
   * unwind_get_return_address_ptr(): the slot `ip` was read from; 0 at the exception frame or if the walk ended.
   * @kernel unwind_get_return_address_ptr arch/x86/kernel/unwind_orc.c read
   */
  returnAddressPtr(): bigint {
    return this.done || this.signal ? 0n : this.sp - 8n;
  }

  private entry(): OrcEntry {
    const at = this.signal ? this.ip : this.ip - 1n;
    // The rbp chain knows a null pointer only at its start.
    if (at === 0n && (this.orc || this.signal)) return CALLED_NULL;
    if (!this.orc) return FRAME_POINTER;
    return this.context.orc?.find(at) ?? FRAME_POINTER;
  }

  private end(): false {
    this.done = true;
    return false;
  }
}

/**
 * arch_bpf_stack_walk() from a fault handler: offers the interrupted instruction, then return addresses. It offers
 * nothing unless CONFIG_UNWINDER_ORC is set, and stops at the first address that is not kernel text, which after a
 * jump into data is already the interrupted one.
 * @kernel arch_bpf_stack_walk arch/x86/net/bpf_jit_comp.c read
 */
export function archBpfStackWalk(
  context: UnwindContext,
  regs: X86PtRegs,
  consume: ConsumeEntry,
): void {
  if (context.kernel.config.unwinder !== 'orc') return;
  const state = new UnwindState(context, regs);
  while (!state.done) {
    const ip = state.returnAddress();
    if (ip === 0n) return;
    if (!consume(virtAddr(ip), state.sp as VirtAddr, state.bp as VirtAddr)) return;
    state.next();
  }
}
