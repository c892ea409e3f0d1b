// What the model asks of compiled code that looks programs up: their symbols, and stacks. Nothing of it is a step that
// another CPU could see, so that each answers at once. What is absent the model does itself.
import type { ExtableEntry } from '../arch/arch.ts';
import type { OrcEntry, StackFrame } from '../arch/unwind.ts';
import type { VirtAddr } from '../emulator/address.ts';
import type { BpfKsym, BpfProg } from './prog.ts';

export interface CompiledSymbols {
  /** @returns the symbols that the tree then holds, by start */
  bpfKsymAdd?(ksym: BpfKsym): BpfKsym[];
  /** @returns the same */
  bpfKsymDel?(ksym: BpfKsym): BpfKsym[];
  bpfKsymFind?(ip: VirtAddr): BpfKsym | null;
  bpfProgKsymFind?(ip: VirtAddr): BpfProg | null;
  searchBpfExtables?(ip: VirtAddr): ExtableEntry | null;
  /** @returns what it offers from the last exception on, innermost first */
  archBpfStackWalk?(): StackFrame[];
  /** Called for each frame until it wants no more. @returns what it then has found */
  findFromStackCb?(frames: readonly StackFrame[]): BpfProg | null;
  /** arch_bpf_stack_walk() of the model with parts of the unwinder in compiled code. */
  unwindWalk?(): StackFrame[];
  // x86's ORC unwinder, on struct unwind_state in memory. Arguments and results are registers.
  unwindStart?(state: bigint, task: bigint, regs: bigint, firstFrame: bigint): void;
  unwindNextFrame?(state: bigint): boolean;
  unwindGetReturnAddress?(state: bigint): bigint;
  unwindGetReturnAddressPtr?(state: bigint): bigint;
  orcFind?(ip: bigint): OrcEntry | null;
  getStackInfo?(stack: bigint, task: bigint, info: bigint, visitMask: bigint): number;
}
