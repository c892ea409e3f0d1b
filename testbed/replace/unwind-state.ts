// struct unwind_state of x86's ORC unwinder in memory: how compiled code that walks a stack, and the model's unwinder, go on
// from each other's frames. Of the stacks there is the task's alone.
import { UnwindState } from '../../arch/x86/unwind.ts';
import { virtAddr } from '../../emulator/address.ts';
import type { StructMember } from '../../emulator/elf/layouts.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Structures } from './structures.ts';
import { readMember, writeMember } from './words.ts';

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

  /** __unwind_start() at the last exception, or at given registers. @param fn that does it, for messages */
  start(at: bigint, task: bigint, from: { ip: bigint; sp: bigint; bp: bigint } | null): void {
    const fn = '__unwind_start';
    const vcpu = this.vcpu();
    const { ip, sp, fp } = vcpu.regs;
    const regs = from ?? { ip, sp, bp: fp };
    const { size } = this.structures.layout('unwind_state');
    this.kernel.memory.write(virtAddr(at), new Uint8Array(size));
    const state = this.stateAt(vcpu, regs, true);
    this.write(at, 'task', task, fn);
    this.write(at, 'stack_info.begin', vcpu.task.stack, fn);
    this.write(at, 'stack_info.end', vcpu.task.stackEnd, fn);
    this.put(at, state, fn);
  }

  /** unwind_next_frame() */
  next(at: bigint): boolean {
    const fn = 'unwind_next_frame';
    const vcpu = this.vcpu();
    const state = this.get(at, vcpu, fn);
    if (state === null) return false;
    if (state.next()) this.leaveReplaced(vcpu, state);
    this.put(at, state, fn);
    return !state.done;
  }

  /** unwind_get_return_address() */
  returnAddress(at: bigint): bigint {
    return this.get(at, this.vcpu(), 'unwind_get_return_address')?.returnAddress() ?? 0n;
  }

  /** unwind_get_return_address_ptr() */
  returnAddressPtr(at: bigint): bigint {
    return this.get(at, this.vcpu(), 'unwind_get_return_address_ptr')?.returnAddressPtr() ?? 0n;
  }

  /** From where a replaced function was called, which leaves no frames, a walk goes on in the code that it interrupted. */
  private leaveReplaced({ interrupted }: Vcpu, state: UnwindState): void {
    if (state.ip !== this.kernel.traps[0]) return;
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
    const state = new UnwindState(faultContext, { ip, sp: at, bp: frame, userMode: false });
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
