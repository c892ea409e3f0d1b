// struct unwind_state of x86's ORC unwinder in memory: how compiled code that walks a stack, and the model's unwinder, go on
// from each other's frames. Of the stacks there is the task's alone.
import { UnwindState } from '../../arch/x86/unwind.ts';
import type { CompiledSymbols } from '../../bpf/compiled-symbols.ts';
import { virtAddr } from '../../emulator/address.ts';
import type { StructMember } from '../../emulator/elf/layouts.ts';
import { ERRNO, KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Structures } from './structures.ts';
import { clearAt, readMember, writeMember } from './words.ts';

/** STACK_TYPE_TASK; 0 is that of a walk that is over. */
const TASK = 1n;

/** Members that the ORC unwinder of every kernel has; those of struct stack_info with its name in front. */
const NEEDED = ['sp', 'bp', 'ip', 'signal', 'stack_info.type'] as const;
const OTHERS = ['full_regs', 'task', 'regs', 'stack_info.begin', 'stack_info.end'] as const;

type Name = (typeof NEEDED)[number] | (typeof OTHERS)[number];

export class UnwindStates {
  private readonly kernel: Kernel;
  private readonly structures: Structures;
  private known: ReadonlyMap<string, StructMember> | null = null;

  constructor(kernel: Kernel, structures: Structures) {
    this.kernel = kernel;
    this.structures = structures;
  }

  // Each by whoever does it: compiled code, or the model.

  startBy(at: bigint, task: bigint, regs: bigint, firstFrame: bigint): void {
    const { unwindStart } = this.compiled;
    if (unwindStart) unwindStart(at, task, regs, firstFrame);
    else this.start(at, task);
  }

  nextBy(at: bigint): boolean {
    return this.compiled.unwindNextFrame?.(at) ?? this.next(at);
  }

  returnAddressBy(at: bigint): bigint {
    return this.compiled.unwindGetReturnAddress?.(at) ?? this.returnAddress(at);
  }

  returnAddressPtrBy(at: bigint): bigint {
    return this.compiled.unwindGetReturnAddressPtr?.(at) ?? this.returnAddressPtr(at);
  }

  stackInfoBy(stack: bigint, task: bigint, info: bigint, visitMask: bigint): number {
    const { getStackInfo } = this.compiled;
    return getStackInfo?.(stack, task, info, visitMask) ?? this.stackInfo(stack, info, visitMask);
  }

  /** The frame that a walk has come to; null: it is over. */
  frame(at: bigint): { readonly sp: bigint; readonly bp: bigint } | null {
    return this.get(at, this.vcpu(), 'unwind_next_frame');
  }

  private get compiled(): CompiledSymbols {
    return this.kernel.bpf.compiled ?? {};
  }

  /** get_stack_info(): the task's stack, once. */
  private stackInfo(stack: bigint, info: bigint, visitMask: bigint): number {
    const fn = 'get_stack_info';
    const { task } = this.vcpu();
    const { members } = this.structures.layout('stack_info');
    const put = (name: string, value: bigint) => {
      const member = members.get(name);
      if (member !== undefined) writeMember(this.kernel, info, member, value, fn);
    };
    const visited =
      visitMask === 0n ? 0n : readMember(this.kernel, visitMask, { offset: 0, size: 8 }, fn);
    const bit = 1n << TASK;
    const isOn = stack >= task.stack && stack < task.stackEnd && (visited & bit) === 0n;
    put('type', isOn ? TASK : 0n);
    put('begin', isOn ? task.stack : 0n);
    put('end', isOn ? task.stackEnd : 0n);
    put('next_sp', 0n);
    if (isOn && visitMask !== 0n)
      writeMember(this.kernel, visitMask, { offset: 0, size: 8 }, visited | bit, fn);
    return isOn ? 0 : ERRNO.EINVAL;
  }

  /** __unwind_start() at the last exception. */
  private start(at: bigint, task: bigint): void {
    const fn = '__unwind_start';
    const vcpu = this.vcpu();
    const { ip, sp, fp } = vcpu.regs;
    const regs = { ip, sp, bp: fp };
    const { size } = this.structures.layout('unwind_state');
    clearAt(this.kernel, at, size, fn);
    const state = this.stateAt(vcpu, regs, true);
    this.write(at, 'task', task, fn);
    this.write(at, 'stack_info.begin', vcpu.task.stack, fn);
    this.write(at, 'stack_info.end', vcpu.task.stackEnd, fn);
    this.put(at, state, fn);
    this.askStackInfo(at, regs.sp, task);
  }

  /** The stack as a compiled get_stack_info() has it; without one the walk is over. */
  private askStackInfo(at: bigint, sp: bigint, task: bigint): void {
    const place = (name: 'stack_info.type' | 'stack_mask') =>
      at + BigInt(this.members.get(name)?.offset ?? 0);
    this.compiled.getStackInfo?.(sp, task, place('stack_info.type'), place('stack_mask'));
  }

  /** unwind_next_frame() */
  private next(at: bigint): boolean {
    const fn = 'unwind_next_frame';
    const vcpu = this.vcpu();
    const state = this.get(at, vcpu, fn);
    if (state === null) return false;
    if (state.next()) this.leaveReplaced(vcpu, state);
    this.put(at, state, fn);
    return !state.done;
  }

  /** unwind_get_return_address() */
  private returnAddress(at: bigint): bigint {
    return this.get(at, this.vcpu(), 'unwind_get_return_address')?.returnAddress() ?? 0n;
  }

  /** unwind_get_return_address_ptr() */
  private returnAddressPtr(at: bigint): bigint {
    return this.get(at, this.vcpu(), 'unwind_get_return_address_ptr')?.returnAddressPtr() ?? 0n;
  }

  /** From where a replaced function was called, which leaves no frames, a walk goes on in the code that it interrupted. */
  private leaveReplaced({ interrupted }: Vcpu, state: UnwindState): void {
    if (!this.kernel.returnTraps.includes(virtAddr(state.ip))) return;
    const regs = this.kernel.arch.createRegs();
    for (const words of interrupted.toReversed()) {
      regs.words.set(words);
      if (regs.sp < state.sp) continue;
      Object.assign(state, { ip: regs.ip, sp: regs.sp, bp: regs.fp, signal: true });
      return;
    }
    state.done = true;
  }

  private vcpu(): Vcpu {
    return this.kernel.cpus[this.kernel.context.cpu];
  }

  private stateAt(
    { faultContext }: Vcpu,
    { ip, sp, bp }: { ip: bigint; sp: bigint; bp: bigint },
    signal: boolean,
  ): UnwindState {
    const [at, frame] = [virtAddr(sp), virtAddr(bp)];
    const { orcFind } = this.compiled;
    const context = orcFind ? { ...faultContext, orc: { find: orcFind } } : faultContext;
    const state = new UnwindState(context, { ip, sp: at, bp: frame, userMode: false });
    state.signal = signal;
    return state;
  }

  /** The walk that memory holds; null for one that is over. */
  private get(at: bigint, vcpu: Vcpu, fn: string): UnwindState | null {
    const read = (name: Name) => readMember(this.kernel, at, this.member(name), fn);
    if (read('stack_info.type') === 0n) return null;
    const frame = { ip: read('ip'), sp: read('sp'), bp: read('bp') };
    return this.stateAt(vcpu, frame, read('signal') !== 0n);
  }

  private put(at: bigint, { ip, sp, bp, signal, done }: UnwindState, fn: string): void {
    const values = { ip, sp, bp, signal: signal ? 1n : 0n, 'stack_info.type': done ? 0n : TASK };
    for (const [name, value] of Object.entries(values)) this.write(at, name as Name, value, fn);
  }

  private write(at: bigint, name: Name, value: bigint, fn: string): void {
    const member = this.members.get(name);
    if (member !== undefined) writeMember(this.kernel, at, member, value, fn);
  }

  private member(name: Name): StructMember {
    return this.members.get(name)!;
  }

  private get members(): ReadonlyMap<string, StructMember> {
    if (this.known !== null) return this.known;
    const { members } = this.structures.layout('unwind_state');
    const info = members.get('stack_info');
    const all = new Map(members);
    for (const [name, { offset, size }] of this.structures.layout('stack_info').members) {
      all.set(`stack_info.${name}`, { offset: (info?.offset ?? 0) + offset, size });
    }
    const missing = NEEDED.find((name) => !all.has(name));
    if (missing !== undefined) {
      throw new KernelStuck(
        `struct unwind_state has no member ${missing}: compile it for a kernel with CONFIG_UNWINDER_ORC`,
      );
    }
    this.known = all;
    return all;
  }
}
