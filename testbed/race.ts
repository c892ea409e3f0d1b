// A scenario of several CPUs: one way for each through its list of steps, moved a step at a time by whoever holds the
// schedule, and begun again from the same start as often as wanted. Everything that is common - arenas, code, stacks,
// user mappings - is set up once, before the first step.
import { byteLength } from '../bpf/stream.ts';
import { KernelStuck } from '../mm/context.ts';
import type { Call } from './call.ts';
import { type CpuStep, cpuWay } from './cpu-way.ts';
import { checkStep, type Failure } from './expect.ts';
import { InsnAccesses } from './insn-access.ts';
import { LateWalks } from './late-walks.ts';
import type { Observed, StepObserved } from './observed.ts';
import type { StepRun, WorldRun } from './run.ts';
import type { CallStep, Step, World } from './scenario.ts';
import { actorsOfCpu } from './scenario-model.ts';
import type { WorldState } from './snapshot.ts';
import type { PlainStep } from './steps.ts';
import { StoreBuffers } from './store-buffers.ts';

/** What is said of the streams where no step expects anything of them. */
const NOT_ASKED: Observed = { stderr: '', stderrBytes: 0 };

const isVmsa = (memory: World['memory']): boolean => memory === 'vmsa' || memory === 'vmsa-ets2';

/** One CPU between two of its steps. */
interface Mover {
  readonly way: Generator<CpuStep, void, void>;
  /** What it does next; null once it has ended. */
  pending: CpuStep | null;
}

export class Race {
  readonly run: WorldRun;
  /** Steps that were done, by CPU, in order. */
  readonly done: StepRun[][] = [];
  private readonly calls: (Call | null)[][];
  private readonly start: WorldState;
  /** What plain stores wait in; null: they do not. */
  readonly buffers: StoreBuffers | null;
  /** What walkers and TLBs may answer beside what is in memory; null: nothing. */
  readonly walks: LateWalks | null;
  readonly accesses: InsnAccesses;
  private movers: Mover[] = [];
  /** Index of the step that each CPU is at. */
  private readonly at: number[] = [];

  /** Loads every call and maps every arena that user space touches. @throws AssemblyError, CallError, OutOfMemory */
  constructor(run: WorldRun) {
    this.run = run;
    const { kernel, world } = run;
    this.accesses = new InsnAccesses(kernel);
    this.buffers = world.memory === 'tso' ? new StoreBuffers(kernel.ram, world.cpus.length) : null;
    this.walks = isVmsa(world.memory) ? this.lateWalks(world.memory === 'vmsa-ets2') : null;
    this.calls = world.cpus.map((steps, cpu) =>
      steps.map((step) => (step.kind === 'call' ? run.loadCall(step, cpu) : null)),
    );
    for (const step of world.cpus.flat()) {
      const arena = step.kind === 'user' ? kernel.arenas.get(step.arena) : undefined;
      if (arena) run.plainSteps.mmOf(arena);
    }
    run.program(null);
    this.start = run.save();
    this.begin();
  }

  /** Back to the start. */
  restart(): void {
    this.run.restore(this.start);
    this.buffers?.restart();
    this.walks?.restart();
    this.begin();
  }

  private lateWalks(ets2: boolean): LateWalks {
    const pending = (cpu: number) => this.movers[cpu].pending;
    return new LateWalks({ kernel: this.run.kernel, accesses: this.accesses, ets2, pending });
  }

  get cpuCount(): number {
    return this.movers.length;
  }

  /** CPUs, and one more for each CPU that has a store buffer, or a walker with a choice: number {@link cpuCount} + n. */
  get actorCount(): number {
    return this.movers.length * actorsOfCpu(this.run.world.memory);
  }

  /** CPU whose turn a move is: a walker's belongs to the step of its CPU. null: a buffer's is nobody's. */
  cpuOf(actor: number): number | null {
    if (actor < this.cpuCount) return actor;
    return this.walks === null ? null : actor - this.cpuCount;
  }

  /** What a CPU does next; null if it has ended. */
  pending(cpu: number): CpuStep | null {
    return this.movers[cpu].pending;
  }

  /** False for a CPU that has ended or waits for another, and for a buffer that is empty. */
  isReady(cpu: number): boolean {
    const bound = this.walks?.bound ?? null;
    if (bound !== null && this.cpuOf(cpu) !== bound) return false;
    if (cpu >= this.cpuCount) return this.isExtraReady(cpu - this.cpuCount);
    const { pending } = this.movers[cpu];
    return pending !== null && (pending.ready === undefined || pending.ready());
  }

  private isExtraReady(cpu: number): boolean {
    return this.walks === null ? !this.buffers!.isEmpty(cpu) : this.walks.isReady(cpu);
  }

  /**
   * CPUs that can move, in ascending order, then buffers that hold something and walkers that have a choice. Empty: all have ended, or those that have
   * not wait for each other.
   */
  ready(): number[] {
    const ready: number[] = [];
    for (let cpu = 0; cpu < this.actorCount; cpu++) if (this.isReady(cpu)) ready.push(cpu);
    return ready;
  }

  /** The scenario's step that a CPU is at; null if it has done them all. */
  current(cpu: number): Step | null {
    return this.movers[cpu].pending === null ? null : this.run.world.cpus[cpu][this.at[cpu]];
  }

  /** CPUs that have not ended. */
  unfinished(): number[] {
    return [...this.movers.keys()].filter((cpu) => this.movers[cpu].pending !== null);
  }

  /** Does the next step of a CPU, which must be ready. */
  step(cpu: number): void {
    const { context } = this.run.kernel;
    context.cpu = cpu;
    context.stepping = true;
    context.tables = this.walks?.history ?? null;
    try {
      this.move(this.movers[cpu]);
    } finally {
      context.stepping = false;
      context.tables = null;
    }
  }

  private begin(): void {
    const { context } = this.run.kernel;
    this.movers = this.calls.map((_, cpu) => ({ way: this.wayOf(cpu), pending: null }));
    for (const cpu of this.movers.keys()) this.done[cpu] = [];
    context.stepping = true;
    context.tables = this.walks?.history ?? null;
    for (const [cpu, mover] of this.movers.entries()) {
      context.cpu = cpu;
      this.move(mover);
    }
    context.stepping = false;
    context.tables = null;
    context.cpu = 0;
  }

  private move(mover: Mover): void {
    const next = mover.way.next();
    mover.pending = next.done ? null : next.value;
  }

  /** A CPU's way ends with its last step, or with the call that kills it. */
  private *wayOf(cpu: number): Generator<CpuStep, void, void> {
    for (const [i, step] of this.run.world.cpus[cpu].entries()) {
      this.at[cpu] = i;
      const call = this.calls[cpu][i];
      if (call !== null) {
        if ((yield* this.call(cpu, step as CallStep, call)) !== 'returned') return;
      } else yield* this.plain(cpu, step as PlainStep);
    }
  }

  private *call(cpu: number, step: CallStep, call: Call): Generator<CpuStep, string, void> {
    const ipName = this.run.kernel.arch.description.instructionPointer;
    call.enter();
    const end = yield* cpuWay(call.vcpu, ipName, call.limit);
    this.end(cpu, step, call.seen(end, this.streams(step)));
    return end.outcome;
  }

  private *plain(cpu: number, step: PlainStep): Generator<CpuStep, void, void> {
    try {
      const seen = yield* this.run.plainSteps.activity(step);
      this.end(cpu, step, { ...seen, ...this.streams(step) } as StepObserved);
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      this.end(cpu, step, { kind: 'stuck', why: error.message, ...this.streams(step) });
    }
  }

  private end(cpu: number, step: Step, seen: StepObserved): void {
    const failures: readonly Failure[] = checkStep(step, seen, this.run.places);
    this.done[cpu].push({ step, seen, failures });
  }

  /** What the innermost program's stderr holds by now, whoever wrote it. */
  private streams({ expect }: Step): Observed {
    if (expect.stderr === undefined && expect.stderrBytes === undefined) return NOT_ASKED;
    const stderr = this.run.program(null).mainProg.streams[1].peek();
    return { stderr, stderrBytes: byteLength(stderr) };
  }
}
