// Calls of compiled code by the kernel model, on the vCPU that the model runs for: on its task's stack below whatever was
// interrupted, with the TLB, the page tables and the faults that kernel code has there. Calls that the code makes of
// modelled functions come back here. What the code does to page tables is told as what the model does is.

import type { BpfArena } from '../../bpf/arena.ts';
import type { FindUnmapped } from '../../bpf/compiled-maps.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { lo32, u64 } from '../../emulator/bits.ts';
import type { Stop } from '../../emulator/engine.ts';
import { type Activity, type InjectionPoint, KernelStuck, onward } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import { endOf, type OtherStop, type Vcpu } from '../vcpu.ts';
import { CompiledEnd } from './compiled-end.ts';
import type { ExceptionFrame } from './exception-frame.ts';
import type { Loans } from './loans.ts';
import {
  type EntryInHand,
  type Frame,
  WatchedAccesses,
  type WatchedParts,
} from './watched-accesses.ts';

/** A register as C's _Bool, of which only the low byte counts. */
export const bool = (value: bigint): boolean => (value & 0xffn) !== 0n;

/** A register as C's int. */
export const s32 = (value: bigint): number => lo32(value) | 0;

/**
 * A modelled function that compiled code calls.
 * @param argument reads an integer argument by its number
 * @param returnsTo where it returns to
 */
export type Callee = (
  argument: (index: number) => bigint,
  returnsTo: () => VirtAddr,
) => Activity<bigint | null>;

export interface HowToCall {
  /** False: entries of page tables are read without a step, and whoever calls tells of them. */
  readonly readsAreSteps?: boolean;
  /** Instructions that it may retire beyond the limit. */
  readonly extra?: number;
}

/** Addresses to return to, by who called: whoever unwinds goes on by them. */
export interface ReturnTraps {
  /** The model, at work on an exception, whose registers lie above. */
  readonly exception: VirtAddr;
  /** A modelled function that compiled code called: the word above is the stack pointer of its call. */
  readonly callee: VirtAddr;
  /** The model, on an empty stack. */
  readonly idle: VirtAddr;
}

export interface GuestCallsParts extends WatchedParts {
  /** Puts what the object's own variables must hold into them, before each call. */
  prepare(): void;
  /** What an exception leaves on the stack. */
  readonly frame: ExceptionFrame;
  /** Where compiled code returns to. */
  readonly returnTraps: ReturnTraps;
  /** Code that pushes a register. */
  readonly push: VirtAddr;
  /** By the addresses that stand for them. */
  readonly callees: ReadonlyMap<bigint, Callee>;
  /** Instructions that one call may retire. */
  readonly limit: number;
  /** What of the model lies in memory for the code. */
  readonly loans: Loans;
  /** The name that an address stands for which neither the object nor the model has; null for any other address. */
  missing(va: bigint): string | null;
  /** A trap of the code at `ip` that is a warning. @returns the length of its instruction, or null */
  warn(ip: VirtAddr): number | null;
}

export class GuestCalls {
  private readonly parts: GuestCallsParts;
  private readonly accesses: WatchedAccesses;

  constructor(parts: GuestCallsParts) {
    this.parts = parts;
    this.accesses = new WatchedAccesses(parts);
  }

  /**
   * Calls a function and runs it to its end.
   * @returns the 64 bits of the return register
   * @throws CompiledEnd if it does not return
   */
  *call(
    name: string,
    function_: VirtAddr,
    args: readonly bigint[],
    entry: EntryInHand | null = null,
    { readsAreSteps = true, extra = 0 }: HowToCall = {},
  ): Activity<bigint> {
    const { kernel, limit, loans, prepare } = this.parts;
    prepare();
    const vcpu = kernel.cpus[kernel.context.cpu];
    const { cpu, regs } = vcpu;
    const watch = vcpu.watch!;
    const state = cpu.save();
    const interrupted = regs.words.slice();
    const progress = vcpu.saveProgress();
    const { below, inCallee } = vcpu;
    const depth = vcpu.interrupted.length;
    const { on: wasOn, seesReads: saw } = watch;
    const told = kernel.context.stepping || kernel.context.access !== null;
    const before = cpu.retired;
    watch.on = true;
    watch.seesReads = told && readsAreSteps;
    // What the core remembers of page tables was granted to code that is not watched, or less.
    if (watch.seesReads && !(wasOn && saw)) cpu.flushTlb();
    try {
      this.enter(vcpu, function_, args);
      const result = yield* this.run({ vcpu, name, entry }, limit + extra);
      if (!wasOn) loans.settle();
      this.tellEnd(name, cpu.retired - before);
      return result;
    } catch (error) {
      if (error instanceof CompiledEnd) this.tellEnd(name, cpu.retired - before);
      throw error;
    } finally {
      if (!wasOn) loans.drop();
      if (wasOn && saw && !watch.seesReads) cpu.flushTlb();
      watch.on = wasOn;
      watch.seesReads = saw;
      cpu.restore(state);
      regs.words.set(interrupted);
      vcpu.below = below;
      vcpu.inCallee = inCallee;
      vcpu.interrupted.length = depth;
      progress();
    }
  }

  private tellEnd(name: string, instructions: number): void {
    const { events, context } = this.parts.kernel;
    if (events.on) context.decide(name, `compiled: ${instructions} instructions`);
  }

  /** Registers and stack as a caller in the kernel leaves them. */
  private enter(vcpu: Vcpu, entry: VirtAddr, args: readonly bigint[]): void {
    const { kernel, push } = this.parts;
    const { arch } = kernel;
    const { cpu, task } = vcpu;
    const regs = arch.createRegs();
    cpu.readGeneral(regs.words);
    args.forEach((value, i) => {
      regs.set(arch.argumentRegisters[i], u64(value));
    });
    const framePointer = this.parts.frame.lay(vcpu);
    if (framePointer !== null) regs.set(arch.framePointer, framePointer);
    // Outside of a call the stack is empty; what is left on it there must not lie above later frames.
    const idle = task.stackEnd - (task.stackEnd - task.stack) / 4n;
    let sp = (vcpu.below ?? idle) & ~0xfn;
    regs.ip = entry;
    const returnTrap = this.returnTrap(vcpu);
    const outer = vcpu.inCallee ? vcpu.below : null;
    if (arch.linkRegister !== null) regs.set(arch.linkRegister, returnTrap);
    else {
      if (outer !== null) {
        sp -= 16n;
        kernel.memory.writeWord(virtAddr(sp), outer);
      }
      sp -= 8n;
    }
    // A full stack ends where something is pushed, as it would before the function is reached.
    const fits = kernel.memory.physOf(virtAddr(sp - 16n)) !== null;
    if (!fits) regs.ip = push;
    else if (arch.linkRegister === null) kernel.memory.writeWord(virtAddr(sp), returnTrap);
    regs.set(arch.description.stackPointer, sp);
    kernel.environment.enter(vcpu);
    cpu.writeGeneral(regs.words);
    cpu.setExits(kernel.exits(vcpu.returnsTo));
  }

  private returnTrap({ inCallee, exception }: Vcpu): VirtAddr {
    const { returnTraps } = this.parts;
    if (inCallee) return returnTraps.callee;
    return exception === null ? returnTraps.idle : returnTraps.exception;
  }

  private *run(frame: Frame, limit: number): Activity<bigint> {
    const { vcpu, name } = frame;
    const { callees, kernel, warn } = this.parts;
    const { cpu } = vcpu;
    const end = cpu.retired + limit;
    for (;;) {
      let stop: Stop | null = this.go(vcpu, end - cpu.retired);
      const caught = stop.reason === 'fault' ? vcpu.watch!.take(stop.va, stop.kind) : null;
      if (caught !== null) stop = yield* this.accesses.letThrough(frame, caught);
      if (stop === null) continue;
      if (stop.reason === 'exit') {
        if (kernel.returnTraps.includes(stop.ip))
          return cpu.readRegister(kernel.arch.returnRegister);
        const callee = callees.get(stop.ip);
        if (callee === undefined) throw new CompiledEnd(name, endOf(stop));
        yield* this.callModel(frame, callee);
        continue;
      }
      const length = stop.reason === 'exception' ? warn(stop.ip) : null;
      if (length !== null) {
        const { instructionPointer } = kernel.arch.description;
        cpu.writeRegister(instructionPointer, stop.ip + BigInt(length));
        continue;
      }
      yield* this.fault(vcpu, name, stop);
    }
  }

  private go(vcpu: Vcpu, limit: number): Stop {
    const { cpu } = vcpu;
    const { kernel } = this.parts;
    if (!vcpu.traceInstructions || !kernel.events.on) return cpu.run(limit);
    const end = cpu.retired + limit;
    for (;;) {
      const ip = cpu.readRegister(kernel.arch.description.instructionPointer) as VirtAddr;
      kernel.events.emit({ type: 'insn', cpu: vcpu.id, ip });
      const stop = cpu.run(Math.min(1, end - cpu.retired));
      if (stop.reason !== 'limit' || cpu.retired >= end) return stop;
    }
  }

  /** By CPU: the arena whose pages are being allocated; null: the kernel's. */
  readonly pagesFor: (BpfArena | null)[] = [];

  /** By CPU: where the area that is wanted is to lie; undefined: anywhere. */
  readonly wishes: (VirtAddr | undefined)[] = [];

  /** By CPU: which failure of a scenario's the next request for memory can be; null or none: it does not fail. */
  readonly allocates: (InjectionPoint | null)[] = [];

  /** By CPU: errno that its last attempt to take a lock must fail with, or 0. */
  get lockErrors(): readonly number[] {
    return this.accesses.lockErrors;
  }

  /** By CPU: how the mmap() that is under way looks for addresses. */
  readonly finds: (FindUnmapped | null)[] = [];

  /** A call of a modelled function: done, and returned from. */
  private *callModel({ vcpu, name }: Frame, callee: Callee): Activity<void> {
    const { arch, memory } = this.parts.kernel;
    const { cpu } = vcpu;
    const sp = cpu.readRegister(arch.description.stackPointer);
    vcpu.below = sp;
    vcpu.inCallee = true;
    const onStack = arch.linkRegister === null ? 8n : 0n;
    const argument = (i: number): bigint => {
      const name = arch.argumentRegisters[i];
      if (name !== undefined) return cpu.readRegister(name);
      const at = sp + onStack + BigInt(8 * (i - arch.argumentRegisters.length));
      return memory.readWord(virtAddr(at)) ?? 0n;
    };
    const returnsTo = () =>
      virtAddr(
        arch.linkRegister === null
          ? (memory.readWord(virtAddr(sp)) ?? 0n)
          : cpu.readRegister(arch.linkRegister),
      );
    const from = returnsTo();
    let result: bigint | null;
    try {
      result = yield* callee(argument, returnsTo);
    } catch (error) {
      // Where a fault is being handled nobody else ends what the code has come to.
      if (!(error instanceof KernelStuck) || error instanceof CompiledEnd) throw error;
      if (vcpu.exception === null) throw error;
      throw new CompiledEnd(name, { outcome: 'halted', why: error.message, ip: from });
    }
    vcpu.inCallee = false;
    if (result !== null) cpu.writeRegister(arch.returnRegister, u64(result));
    const { instructionPointer, stackPointer } = arch.description;
    cpu.writeRegister(instructionPointer, returnsTo());
    if (arch.linkRegister === null) cpu.writeRegister(stackPointer, sp + onStack);
  }

  /** @throws CallError for an access to a name, or a variable of this CPU, that nothing is bound to */
  private checkBound({ id }: Vcpu, by: string, va: bigint): void {
    const { kernel, missing } = this.parts;
    const name = missing(va) ?? missing(u64(va - kernel.environment.offset(id)));
    if (name === null) return;
    throw new CallError(
      `${by}: undefined: ${name}, which its code comes to use`,
      'the model offers no such function or variable: define it in the object, if only as a stub',
    );
  }

  /** A fault of the code itself: it goes the way of every kernel fault. */
  private *fault(
    vcpu: Vcpu,
    name: string,
    stop: Exclude<Stop, { reason: 'exit' }>,
  ): Activity<void> {
    if (stop.reason === 'fault') this.checkBound(vcpu, name, stop.va);
    const taken = vcpu.takenBy(stop);
    if (taken === null) throw new CompiledEnd(name, endOf(stop as OtherStop));
    const outer = vcpu.regs.words.slice();
    // Where no exception was under way, the registers are of one that is over.
    if (vcpu.below !== null) vcpu.interrupted.push(outer);
    const path = vcpu.enter(taken);
    if ('outcome' in path) throw new CompiledEnd(name, path);
    const done = vcpu.conclude(taken, yield* onward(path));
    if (done === 'resume') vcpu.resume();
    else if (done !== 'retry') throw new CompiledEnd(name, done);
    if (vcpu.below !== null) vcpu.interrupted.pop();
    vcpu.regs.words.set(outer);
  }
}
