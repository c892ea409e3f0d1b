// A run under a debugger's hand: instruction by instruction, to breakpoints, or through a fault step by step. It says
// what happened; `cli/debug.ts` has the words.
import type { TakenFault } from '../arch/processor.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { Stop } from '../emulator/engine.ts';
import type { Event } from '../emulator/events.ts';
import { onward } from '../mm/context.ts';
import type { Call } from './call.ts';
import { type FaultStep, told } from './fault-steps.ts';
import { History } from './history.ts';
import type { StepRun, WorldRun } from './run.ts';
import type { Step } from './scenario.ts';
import type { WorldState } from './snapshot.ts';
import { type CallEnd, endOf, type Vcpu } from './vcpu.ts';

export interface Breakpoint {
  readonly id: number;
  readonly addr: VirtAddr;
  /** As the user wrote it. */
  readonly text: string;
  hits: number;
}

/** Why the debugger has the word again. */
export type DebugStop =
  | { readonly kind: 'stepped' }
  | { readonly kind: 'breakpoint'; readonly breakpoint: Breakpoint }
  | { readonly kind: 'ended'; readonly result: StepRun }
  /** The way back ends at the entry of the first call. */
  | { readonly kind: 'start' }
  /** Every step of the scenario is done. */
  | { readonly kind: 'over' };

export class Debugger {
  readonly run: WorldRun;
  readonly breakpoints: Breakpoint[] = [];
  /** The way back. */
  readonly history: History;
  /** Where the debugger stands; it goes back with the world. */
  private readonly now = {
    done: [] as StepRun[],
    step: null as Step | null,
    call: null as Call | null,
    faultAddr: null as VirtAddr | null,
    /** Index of the step to be done next. */
    next: 0,
  };
  private nextId = 1;
  private fault: Generator<FaultStep, CallEnd | null, void> | null = null;

  constructor(run: WorldRun) {
    this.run = run;
    this.history = new History(this);
  }

  /** Results of the steps done so far. */
  get done(): readonly StepRun[] {
    return this.now.done;
  }

  /** The step that is being done, or was last; null before the first. */
  get step(): Step | null {
    return this.now.step;
  }

  /** The call that is running, or null between calls. */
  get call(): Call | null {
    return this.now.call;
  }

  /** Address of the fault that is being stepped through, or was last; null before the first. */
  get faultAddr(): VirtAddr | null {
    return this.now.faultAddr;
  }

  /** Steps of the scenario that are done or begun. */
  get stepsBegun(): number {
    return this.now.next;
  }

  get vcpu(): Vcpu {
    return this.run.kernel.cpus[0];
  }

  get ip(): VirtAddr {
    const { description } = this.run.kernel.arch;
    return this.vcpu.cpu.readRegister(description.instructionPointer) as VirtAddr;
  }

  /** True while a fault is being stepped through. */
  get inFault(): boolean {
    return this.fault !== null;
  }

  /** Does plain steps up to the next call and enters that. @returns the steps done, the call's excluded */
  start(): StepRun[] {
    const done: StepRun[] = [];
    while (this.call === null && this.now.next < this.run.steps.length) {
      const step = this.run.steps[this.now.next++];
      this.now.step = step;
      if (step.kind === 'call') {
        this.now.call = this.run.startCall(step);
        this.setExits();
        this.history.mark();
      } else {
        const result = this.run.runStep(step);
        this.now.done.push(result);
        done.push(result);
      }
    }
    return done;
  }

  addBreakpoint(addr: VirtAddr, text: string): Breakpoint {
    const breakpoint = { id: this.nextId++, addr, text, hits: 0 };
    this.breakpoints.push(breakpoint);
    this.setExits();
    return breakpoint;
  }

  /** @returns false if there is no such breakpoint */
  deleteBreakpoint(id: number): boolean {
    const at = this.breakpoints.findIndex((breakpoint) => breakpoint.id === id);
    if (at >= 0) this.breakpoints.splice(at, 1);
    this.setExits();
    return at >= 0;
  }

  /** Retires one instruction, its faults included. */
  stepInstruction(): DebugStop {
    const pending = this.finishFault();
    if (pending !== null) return pending;
    if (this.call === null) return { kind: 'over' };
    return this.advance(1) ?? { kind: 'stepped' };
  }

  /** Runs to a breakpoint or to the end of the call. */
  continue(): DebugStop {
    const pending = this.finishFault();
    if (pending !== null) return pending;
    const { call } = this;
    if (call === null) return { kind: 'over' };
    // Off the breakpoint that we stand on.
    return this.advance(1) ?? this.advance(call.limit - call.retired) ?? { kind: 'stepped' };
  }

  /**
   * Goes one stop further on the way of a fault; runs to the next fault if there is none.
   * @returns the stop, or why there is none
   */
  stepFault(): FaultStep | DebugStop {
    if (this.call === null) return { kind: 'over' };
    if (this.fault === null) {
      const found = this.toFault();
      if (!('va' in found)) return found;
      this.now.faultAddr = found.va;
      this.fault = this.tellFault(found);
    }
    const step = this.fault.next();
    if (!step.done) return step.value;
    this.fault = null;
    return step.value === null ? { kind: 'stepped' } : this.end(step.value);
  }

  // ---- For the way back ----

  /** The state, to come back to. A fault that is being stepped through must have ended. */
  save(): WorldState {
    return this.run.save([this.now]);
  }

  /** Drops what is under way and goes to a saved state. */
  restore(state: WorldState): void {
    this.fault?.return(null);
    this.fault = null;
    this.run.restore(state);
    this.setExits();
  }

  /** Runs the call until it has retired `retired` instructions in all, past breakpoints. */
  runTo(retired: number): void {
    if (retired <= this.vcpu.cpu.retired) return;
    const kept = this.breakpoints.splice(0);
    try {
      this.setExits();
      this.advance(retired - this.vcpu.cpu.retired);
    } finally {
      this.breakpoints.push(...kept);
      this.setExits();
    }
  }

  /** Takes a fault that is being stepped through to its end. */
  private finishFault(): DebugStop | null {
    if (this.fault === null) return null;
    for (;;) {
      const step = this.fault.next();
      if (!step.done) continue;
      this.fault = null;
      return step.value === null ? null : this.end(step.value);
    }
  }

  /** Retires up to `count` instructions. @returns null if they all retired and nothing stopped us */
  advance(count: number): DebugStop | null {
    const { cpu } = this.vcpu;
    const end = cpu.retired + count;
    // A breakpoint that we stand on does not stop its own instruction.
    if (count === 1) this.setExits(this.ip);
    for (;;) {
      const stop = cpu.run(end - cpu.retired, this.vcpu.recoverInPlace);
      const done = this.after(stop);
      if (done === 'again') continue;
      this.setExits();
      return done;
    }
  }

  private after(stop: Stop): DebugStop | null | 'again' {
    if (stop.reason === 'fault' || stop.reason === 'exception') {
      const end = this.vcpu.resolve(stop);
      return end === null ? 'again' : this.end(end);
    }
    if (stop.reason === 'limit') return this.overBudget() ? this.end(endOf(stop)) : null;
    if (stop.reason === 'exit') {
      const breakpoint = this.breakpoints.find(({ addr }) => addr === stop.ip);
      if (breakpoint && stop.ip !== this.call?.returnAddress) {
        breakpoint.hits++;
        return { kind: 'breakpoint', breakpoint };
      }
    }
    return this.end(endOf(stop));
  }

  private overBudget(): boolean {
    return this.call !== null && this.call.retired >= this.call.limit;
  }

  private end(end: CallEnd): DebugStop {
    const { call } = this;
    if (call === null) return { kind: 'over' };
    const result = this.run.endCall(call, end);
    this.history.ended(end.outcome === 'returned' || end.outcome === 'budget');
    this.now.done.push(result);
    this.now.call = null;
    return { kind: 'ended', result };
  }

  /** Runs, without recovery, until an access faults. */
  private toFault(): TakenFault | DebugStop {
    const { cpu } = this.vcpu;
    const call = this.call!;
    this.setExits(this.ip);
    const stop = cpu.run(call.limit - call.retired);
    this.setExits();
    const fault = this.vcpu.takenBy(stop);
    if (fault !== null) return fault;
    return (this.after(stop) as DebugStop | null) ?? { kind: 'stepped' };
  }

  /** The way of one fault: access, walk, delivery, each function and step of the kernel, and the retry. */
  private *tellFault(fault: TakenFault): Generator<FaultStep, CallEnd | null, void> {
    const { vcpu, run } = this;
    const { kernel } = run;
    const names = ['read', 'write', 'fetch'];
    const where = kernel.symbols.format(fault.ip);
    const insn = kernel.instructionAt(fault.ip)?.text ?? '?';
    yield {
      title: 'access',
      detail: `${names[fault.kind]} of ${hex(fault.va)} by ${where}: ${insn}`,
    };
    const report = vcpu.paging.inspect(fault.va, fault.kind);
    if (vcpu.mmu.hit && vcpu.mmu.faultCodeWord === fault.code) {
      const stale = report.code === fault.code ? '' : ', a stale one: the tables say otherwise';
      yield { title: 'tlb', detail: `refused by an entry${stale}` };
    } else {
      for (const { level, table, index, entry, bits, verdict } of report.levels) {
        const what = `${verdict}${bits === '' ? '' : ` (${bits})`}`;
        yield {
          title: 'walk',
          detail: `${level} ${hex(table)}[${index}] = ${hex(entry)}  ${what}`,
        };
      }
    }
    yield { title: 'fault', detail: kernel.arch.describeCode(fault.code) };
    const events: Event[] = [];
    const unread = kernel.events.read((event) => void events.push(event));
    kernel.context.stepping = true;
    try {
      const path = vcpu.enter(fault);
      yield* told(events);
      if ('outcome' in path) return path;
      const steps = onward(path);
      for (;;) {
        const step = steps.next();
        yield* told(events);
        if (!step.done) continue;
        const outcome = vcpu.conclude(fault, step.value);
        if (outcome === 'resume') vcpu.resume();
        yield* told(events);
        return outcome === 'resume' || outcome === 'retry' ? null : outcome;
      }
    } finally {
      kernel.context.stepping = false;
      unread();
    }
  }

  /** The call's exit and the breakpoints, except one that we stand on. */
  private setExits(standing: VirtAddr | null = null): void {
    if (this.call === null) return;
    const addrs = this.breakpoints.map(({ addr }) => addr).filter((addr) => addr !== standing);
    this.vcpu.cpu.setExits([this.call.returnAddress, ...addrs]);
  }
}
