// What both architectures' unwinders are handed, and the shape of arch_bpf_stack_walk(). Only the task's own stack is
// modelled: no interrupt, exception or overflow stacks, and no frames of the fault handler itself above the exception
// frame, since the handler is modelled and has no code.
import type { VirtAddr } from '../emulator/address.ts';
import type { KernelContext } from '../mm/context.ts';
import type { Task } from './arch.ts';

/** How a frame of known code is left: the CFA is the value of rsp before the call that entered the function. */
export interface OrcEntry {
  readonly base: 'sp' | 'bp';
  /** CFA minus the base register, in bytes. */
  readonly offset: bigint;
  /** CFA minus the slot that holds the caller's rbp; null while rbp still is the caller's. */
  readonly bpSlot: bigint | null;
}

/** orc_find(): where a function's frame lies at one instruction. `arch/x86/orc.ts` derives it. */
export interface OrcLookup {
  /** @returns null where nothing is known, as for BPF images */
  find(ip: bigint): OrcEntry | null;
}

/** What an unwinder asks of the kernel. */
export interface UnwindContext {
  readonly kernel: KernelContext;
  /** The task whose stack is walked. */
  readonly current: Task;
  /** The 8-byte word at `va`, read without faulting; null where nothing is mapped. Called for every word: keep it fast. */
  readWord(va: bigint): bigint | null;
  /** __kernel_text_address(): kernel or module text, or the image of a BPF program. */
  kernelTextAddress(ip: bigint): boolean;
  /** x86 with CONFIG_UNWINDER_ORC; null where there is no table at all. */
  readonly orc: OrcLookup | null;
}

/**
 * Takes one frame of a stack walk, innermost first.
 * @returns false to stop the walk
 */
export type ConsumeEntry = (ip: VirtAddr, sp: VirtAddr, fp: VirtAddr) => boolean;

/** One frame of a walk, as {@link ConsumeEntry} takes it. */
export interface StackFrame {
  readonly ip: VirtAddr;
  /** 0 on arm64. */
  readonly sp: bigint;
  readonly bp: bigint;
}

/**
 * on_stack(): all of [addr, addr + 8) lies on the task's stack.
 * @kernel on_stack arch/x86/include/asm/stacktrace.h read
 */
export const onStack = (task: Task, addr: bigint): boolean =>
  addr >= task.stack && addr + 8n <= task.stackEnd;
