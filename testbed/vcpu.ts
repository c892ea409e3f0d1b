// One vCPU with its MMU, and what happens when an access faults: the fault is given to the architecture's entry, and
// the instruction is run again, goes on elsewhere, or the kernel is dead.
import type {
  FaultContext,
  FaultOutcome,
  FaultPath,
  HardwareFault,
  PtRegs,
  Task,
} from '../arch/arch.ts';
import type { Processor, TakenFault } from '../arch/processor.ts';
import type { X86PtRegs } from '../arch/x86/registers.ts';
import { canDeliver } from '../arch/x86/stack-guard.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { AccessKind, Cpu, Stop, Translator } from '../emulator/engine.ts';
import type { AccessName } from '../emulator/events.ts';
import { type Activity, finish, KernelStuck, onward } from '../mm/context.ts';
import { Mmu } from '../mm/mmu.ts';
import type { Paging } from '../mm/paging.ts';
import type { Costing } from './costing.ts';
import { EventCosts } from './event-costs.ts';
import { ExactCosts } from './exact-costs.ts';
import { FaultLog } from './fault-log.ts';
import type { Kernel } from './kernel.ts';
import type { Machine } from './machines.ts';
import { CompiledEnd } from './replace/compiled-end.ts';
import type { Exception } from './replace/exception.ts';
import { GuestWatch } from './replace/watch.ts';

const KIND_NAME: readonly AccessName[] = ['read', 'write', 'fetch'];

/** Faults at one instruction and address without progress between them, after which the run is given up. */
const FAULTS_WITHOUT_PROGRESS = 64;

/** struct pt_regs and the frames of the fault path above a handler, in bytes: about what both architectures' take. */
export const EXCEPTION_FRAME = 0x200n;

/** Why a call ended. */
export type CallEnd =
  /** The code returned to its caller. */
  | { readonly outcome: 'returned' }
  /** The kernel died; its report. */
  | { readonly outcome: 'oops'; readonly lines: readonly string[] }
  | { readonly outcome: 'budget'; readonly why: string; readonly ip: VirtAddr }
  | { readonly outcome: 'halted'; readonly why: string; readonly ip: VirtAddr }
  | {
      readonly outcome: 'engine';
      readonly why: string;
      readonly ip: VirtAddr;
      readonly bytes: Uint8Array;
    };

export class Vcpu {
  readonly id: number;
  /** The task that runs here. */
  readonly task: Task;
  readonly cpu: Cpu;
  readonly mmu: Mmu;
  readonly paging: Paging;
  /** Registers as the last exception entry saved them. */
  readonly regs: PtRegs;
  readonly faults = new FaultLog();
  readonly faultContext: FaultContext;
  /** Run instruction by instruction and tell each. */
  traceInstructions = false;
  /** Run instruction by instruction and show each before it runs; null: nobody looks. */
  beforeInstruction: ((ip: VirtAddr) => void) | null = null;
  /** Runs the CPU in the place of {@link Cpu.run}, if set. */
  drive: ((cpu: Cpu, limit: number) => Stop) | null = null;
  /** Charges what happens beside instructions; null if nobody asks what a call costs. */
  readonly costs: EventCosts | null;
  /** Stands between compiled code in the model's place and memory; null: there is none. */
  readonly watch: GuestWatch | null = null;
  /** Where the code under test returns to; null before there is any. */
  returnsTo: VirtAddr | null = null;
  /** Below which address the stack of the task is free while the kernel runs; null: all of it is. */
  below: bigint | null = null;
  /** What the kernel works on, where compiled code may run meanwhile; null: nothing. */
  exception: Exception | null = null;
  /** A modelled function runs that compiled code called. */
  inCallee = false;
  /** x86: compiled code runs on the stack of the double fault's handler. */
  onDoubleFaultStack = false;
  /** Registers of the exceptions that faults of replaced functions interrupted, the outermost first. */
  readonly interrupted: BigUint64Array[] = [];
  private readonly processor: Processor;
  private readonly kernel: Kernel;
  private readonly ipName: string;

  // A fault taken inside the engine's callback whose outcome cannot be applied there.
  private pending: CallEnd | 'resume' | null = null;
  private lastIp = -1n;
  private lastVa = -1n;
  private lastRetired = -1;
  private repeats = 0;

  constructor(kernel: Kernel, machine: Machine, id: number, task: Task) {
    const { arch, config, ram, mm, events } = kernel;
    this.kernel = kernel;
    this.id = id;
    this.task = task;
    this.regs = arch.createRegs();
    this.ipName = arch.description.instructionPointer;
    this.paging = arch.createPaging(ram, config, mm.swapperPgDir);
    this.mmu = new Mmu({
      paging: this.paging,
      tlb: arch.tlb,
      policy: kernel.tlbPolicy,
      events,
      cpu: id,
      listener: {
        onEvict: (va, shift) => {
          if (shift === 12) this.cpu.flushTlbPage(va);
          else this.cpu.flushTlb();
        },
        onEvictAll: () => this.cpu.flushTlb(),
      },
    });
    const all = () => kernel.cpus.map((cpu) => cpu.mmu);
    this.processor = arch.createProcessor({ ram, mmu: this.mmu, all });
    const { costing } = kernel;
    this.costs = costing === null ? null : this.observe(costing);
    const translator = this.translator();
    if (kernel.replacing) this.watch = new GuestWatch(translator);
    this.cpu = machine.takeCpu(this.watch ?? translator);
    this.processor.attach(this.cpu);
    if (this.costs instanceof ExactCosts) this.cpu.accessSink = this.costs.access;
    this.faultContext = kernel.createFaultContext(this.mmu, task);
  }

  private translator(): Translator {
    const { translator } = this.processor;
    return this.costs instanceof ExactCosts
      ? this.costs.watch(translator, () => this.cpu)
      : translator;
  }

  private observe(costing: Costing): EventCosts {
    const { work } = this.kernel.context;
    const costs =
      costing.grain === 'exact'
        ? new ExactCosts(costing.values, work, this.paging)
        : new EventCosts(costing.values, work);
    this.mmu.observer = {
      walked: (hi, lo) => costs.walk(hi, lo, this.paging.record),
      invalidated: () => costs.invalidated(),
    };
    return costs;
  }

  /** Runs until the code returns to an exit or cannot go on. @param limit instructions to retire at most */
  runCall(limit: number): CallEnd {
    const { cpu } = this;
    const end = cpu.retired + limit;
    this.lastIp = -1n;
    for (;;) {
      const left = end - cpu.retired;
      const stop =
        this.traceInstructions || this.beforeInstruction !== null
          ? this.runTold(left)
          : (this.drive?.(cpu, left) ?? cpu.run(left, this.recoverInPlace));
      const done = this.resolve(stop);
      if (done !== null) return done;
    }
  }

  /** The fault that a stop of the engine stands for, as the hardware delivers it; null for any other stop. */
  takenBy(stop: Stop): TakenFault | null {
    if (stop.reason === 'fault') return this.processor.taken(stop.va, stop.kind, stop.ip);
    return stop.reason === 'exception' ? this.processor.takenException(stop) : null;
  }

  /** Saves the registers and enters the kernel's fault path. @returns the path, or how the call ended */
  enter(fault: TakenFault): FaultPath | CallEnd {
    const { arch, events } = this.kernel;
    this.regs.load(this.cpu);
    this.kernel.context.cpu = this.id;
    this.kernel.context.tables?.synchronized();
    const access = KIND_NAME[fault.kind];
    const hardware = { addr: fault.va, access, code: fault.code };
    if (!arch.isTranslationAbort(fault.vector)) {
      const fix = () => arch.fixupException(this.faultContext, this.regs, fault.vector, fault.va);
      const fixed = this.watch === null ? fix() : this.fixWithCompiled(hardware, fix);
      if (fixed !== null) return fixed;
      const why = `${arch.exceptionName(fault.vector)} at ${hex(fault.va)}`;
      return { outcome: 'halted', why, ip: fault.ip };
    }
    if (events.on) {
      const { ip, va, code } = fault;
      events.emit({ type: 'fault', cpu: this.id, ip, va, access, code });
    }
    if (this.onDoubleFaultStack && !canDeliver(this.faultContext, this.regs as X86PtRegs)) {
      // SDM Vol. 3A, 6.15: a third exception shuts the processor down.
      return { outcome: 'halted', why: 'triple fault', ip: fault.ip };
    }
    const deliver = () => arch.deliverFault(this.faultContext, this.regs, hardware);
    return this.watch === null ? deliver() : this.withCompiled(hardware, deliver);
  }

  // How a replaced function ended that the path called and that did not return.
  private ended: CallEnd | null = null;

  /** A search for a fix-up that may run compiled code, and the path that it leads to. */
  private fixWithCompiled(
    fault: HardwareFault,
    fix: () => FaultPath | null,
  ): FaultPath | CallEnd | null {
    const { below, exception, inCallee, regs } = this;
    this.inCallee = false;
    this.exception = { regs, fault, cameTo: null };
    this.below = this.regs.sp - EXCEPTION_FRAME;
    try {
      const path = fix();
      return path === null ? null : this.withCompiled(fault, () => path);
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      return endOfPath(error, this.regs.ip);
    } finally {
      this.below = below;
      this.exception = exception;
      this.inCallee = inCallee;
    }
  }

  /** A path that may run compiled code, below the frame that the exception pushed. */
  private *withCompiled(fault: HardwareFault, deliver: () => FaultPath): Activity<FaultOutcome> {
    const { below, exception, inCallee, regs } = this;
    this.inCallee = false;
    this.exception = { regs, fault, cameTo: null };
    this.kernel.context.reportInInterrupt = false;
    this.below = this.regs.sp - EXCEPTION_FRAME;
    if (this.kernel.arch.linkRegister === null) this.cpu.writeRegister('cr2', fault.addr);
    try {
      return yield* onward(deliver());
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      const end = endOfPath(error, this.regs.ip);
      const lines = end.outcome === 'oops' ? end.lines : [];
      const halted = this.kernel.context.reportHalted;
      this.kernel.context.reportHalted = null;
      if (halted !== null && end.outcome === 'oops') return { resolution: 'oops', lines, halted };
      this.ended = end;
      return { resolution: 'oops', lines };
    } finally {
      this.below = below;
      this.exception = exception;
      this.inCallee = inCallee;
    }
  }

  /**
   * Takes the outcome of a fault path and logs it. A call that makes no progress ends here.
   * @returns `retry`: run the instruction again; `resume`: go on with the registers in `regs`; or how the call ended
   */
  conclude(fault: TakenFault, outcome: FaultOutcome): CallEnd | 'retry' | 'resume' {
    this.log(fault, outcome);
    // The path looked at what others did and branched on it; ERET synchronizes.
    this.kernel.context.tables?.branched();
    this.kernel.context.tables?.synchronized();
    const { ended } = this;
    this.ended = null;
    if (ended !== null) return ended;
    switch (outcome.resolution) {
      case 'oops':
        if (outcome.halted !== undefined) {
          return { outcome: 'halted', why: outcome.halted, ip: fault.ip };
        }
        return { outcome: 'oops', lines: outcome.lines };
      case 'extable':
        return this.stuck(fault) ?? 'resume';
      default:
        return this.stuck(fault) ?? 'retry';
    }
  }

  /** Gives the saved registers back to the CPU. */
  resume(): void {
    this.cpu.writeGeneral(this.regs.words);
  }

  /** What is known of faults at one place. @returns a function that brings it back */
  saveProgress(): () => void {
    const { lastIp, lastVa, lastRetired, repeats } = this;
    return () => Object.assign(this, { lastIp, lastVa, lastRetired, repeats });
  }

  /** Counts faults at one place. @returns the end of a call that makes no progress */
  private stuck(fault: TakenFault): CallEnd | null {
    const { retired } = this.cpu;
    const same =
      fault.ip === this.lastIp && fault.va === this.lastVa && retired === this.lastRetired;
    this.repeats = same ? this.repeats + 1 : 1;
    this.lastIp = fault.ip;
    this.lastVa = fault.va;
    this.lastRetired = retired;
    if (this.repeats < FAULTS_WITHOUT_PROGRESS) return null;
    const why = `faults for ever: ${this.repeats} times at one instruction and address`;
    return { outcome: 'budget', why, ip: fault.ip };
  }

  /** Runs instruction by instruction and tells each before it runs. */
  private runTold(limit: number): Stop {
    const { cpu, id, ipName } = this;
    const end = cpu.retired + limit;
    for (;;) {
      const ip = cpu.readRegister(ipName) as VirtAddr;
      this.beforeInstruction?.(ip);
      if (this.traceInstructions && this.kernel.events.on) {
        this.kernel.events.emit({ type: 'insn', cpu: id, ip });
      }
      const stop = cpu.run(Math.min(1, end - cpu.retired));
      if (stop.reason !== 'limit' || cpu.retired >= end) return stop;
    }
  }

  /** Hand it to {@link Cpu.run}: the engine asks it about a fault before it stops, and a repaired one costs no restart. */
  readonly recoverInPlace = (va: VirtAddr, kind: AccessKind): boolean => {
    const ip = this.cpu.readRegister(this.ipName) as VirtAddr;
    // The core cannot run a replaced function while it waits here.
    if (this.watch !== null) return false;
    // At the same place again: the stop tells exactly how many instructions have retired since.
    if (ip === this.lastIp && va === this.lastVa) return false;
    const done = this.handle(this.processor.taken(va, kind, ip));
    if (done === 'retry') return true;
    this.pending = done;
    return false;
  };

  /** Takes a stop of the engine through the kernel, if it is a fault. @returns how the call ended, or null to go on */
  resolve(stop: Stop): CallEnd | null {
    const { pending } = this;
    this.pending = null;
    const done = pending ?? this.handleStop(stop);
    if (done === 'resume') this.resume();
    return done === 'retry' || done === 'resume' ? null : done;
  }

  private handleStop(stop: Stop): CallEnd | 'retry' | 'resume' {
    const fault = this.takenBy(stop);
    if (fault !== null) return this.handle(fault);
    return endOf(stop as OtherStop);
  }

  /** Runs the fault path to its end. `resume`: go on with the registers in `regs`. */
  private handle(fault: TakenFault): CallEnd | 'retry' | 'resume' {
    const path = this.enter(fault);
    if ('outcome' in path) return path;
    return this.conclude(fault, finish(path));
  }

  private log(fault: TakenFault, outcome: FaultOutcome): void {
    const { arch, events } = this.kernel;
    const { ip, va: addr, code, kind } = fault;
    const { resolution } = outcome;
    this.costs?.fault({ resolution, userAddress: addr >> 63n === 0n });
    if (arch.isTranslationAbort(fault.vector)) {
      this.faults.push({ cpu: this.id, ip, addr, access: KIND_NAME[kind], code, resolution });
    }
    if (!events.on) return;
    if (outcome.resolution === 'oops') {
      events.emit({ type: 'oops', cpu: this.id, lines: outcome.lines });
    } else {
      const at = resolution === 'extable' ? this.regs.ip : ip;
      events.emit({ type: 'retry', cpu: this.id, ip: at, resolution });
    }
  }
}

/** A stop that is no fault of an access. */
export type OtherStop = Exclude<Stop, { reason: 'fault' }>;

/** How a call ends in whose fault path compiled code went wrong. */
const endOfPath = (error: KernelStuck, ip: VirtAddr): CallEnd =>
  error instanceof CompiledEnd ? error.end : { outcome: 'halted', why: error.message, ip };

/** What a stop other than a fault means for the call. */
export function endOf(stop: OtherStop): CallEnd {
  switch (stop.reason) {
    case 'exit':
      return { outcome: 'returned' };
    case 'limit':
      return { outcome: 'budget', why: 'ran past its instruction limit', ip: stop.ip };
    case 'halt':
    case 'exception':
      return { outcome: 'halted', why: stop.name, ip: stop.ip };
    case 'engine':
      return { outcome: 'engine', why: stop.why, ip: stop.ip, bytes: stop.bytes };
  }
}
