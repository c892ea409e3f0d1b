// A race with everybody who watches it: the invariants after each step, and, for whoever reduces schedules, what the step
// touched.
import type { VirtAddr } from '../emulator/address.ts';
import { WRITE } from '../emulator/engine.ts';
import type { TableOrder } from '../mm/context.ts';
import { Footprints } from './footprints.ts';
import type { PageAccess } from './insn-access.ts';
import { Invariants, type Violation } from './invariants.ts';
import { watchInstruction } from './order.ts';
import { Race } from './race.ts';
import type { WorldRun } from './run.ts';
import { drains, type StoreBuffers } from './store-buffers.ts';

const NONE: readonly PageAccess[] = [];
/** Tells a buffer's move from the CPU's own, where a CPU stands. */
const DRAINS = 0xd7a1;
/** The same of a walker's. */
const CHOOSES = 0xc4a7;

export class WatchedRace {
  readonly race: Race;
  readonly footprints: Footprints;
  private readonly invariants: Invariants;

  /** @throws as {@link Race} */
  constructor(run: WorldRun) {
    const { kernel } = run;
    this.race = new Race(run);
    this.invariants = new Invariants(this.race);
    this.footprints = new Footprints(
      kernel.ram,
      kernel.cpus.length,
      () => this.race.accesses.tlbEntries,
    );
  }

  /** Back to the start. */
  restart(): void {
    this.race.restart();
    this.footprints.restart();
    this.invariants.restart();
  }

  /** Moves a CPU that is ready. @returns what that broke */
  step(cpu: number): Violation | null {
    const { race, footprints } = this;
    const { accesses, walks } = race;
    if (cpu >= race.cpuCount) {
      return walks === null ? this.drain(cpu - race.cpuCount) : this.choose(cpu - race.cpuCount);
    }
    const { kernel } = race.run;
    const { context } = kernel;
    footprints.begin(cpu);
    context.access = footprints;
    let next: readonly PageAccess[] | null = NONE;
    if (race.pending(cpu)!.kind === 'insn') {
      next = accesses.next(kernel.cpus[cpu]);
      if (next === null) footprints.everything();
      else accesses.note(kernel.cpus[cpu], next, footprints);
    }
    context.cpu = cpu;
    walks?.note(cpu);
    this.invariants.before(cpu, next ?? NONE);
    if (race.buffers !== null) this.stepBuffered(race.buffers, cpu, next ?? NONE);
    else if (walks !== null) this.stepOrdered(walks.history, cpu, next ?? NONE);
    else race.step(cpu);
    walks?.stepped();
    const broken = this.invariants.after(cpu);
    context.access = null;
    footprints.end();
    return broken;
  }

  /** One store of a CPU reaches RAM. */
  private drain(cpu: number): null {
    this.footprints.begin(cpu, DRAINS);
    this.race.buffers!.drain(cpu, this.footprints);
    this.footprints.end();
    return null;
  }

  /** The walker of a CPU takes another answer for the step that comes. */
  private choose(cpu: number): null {
    const { race, footprints } = this;
    const { context } = race.run.kernel;
    footprints.begin(cpu, CHOOSES);
    context.access = footprints;
    context.cpu = cpu;
    race.walks!.move(cpu);
    context.access = null;
    footprints.end();
    return null;
  }

  private stepOrdered(tables: TableOrder, cpu: number, accesses: readonly PageAccess[]): void {
    const { race } = this;
    const { kernel } = race.run;
    const step = race.pending(cpu)!;
    if (step.kind !== 'insn') {
      tables.accessed(true, true);
      race.step(cpu);
      return;
    }
    const vcpu = kernel.cpus[cpu];
    const text = kernel.instructionAt(BigInt(step.what) as VirtAddr)?.text ?? '';
    const done = watchInstruction(kernel, vcpu, text, accesses, tables);
    const before = vcpu.cpu.retired;
    race.step(cpu);
    done(vcpu.cpu.retired > before);
  }

  private stepBuffered(buffers: StoreBuffers, cpu: number, accesses: readonly PageAccess[]): void {
    const { race, footprints } = this;
    const { kernel } = race.run;
    const step = race.pending(cpu)!;
    const text =
      step.kind === 'insn' ? (kernel.instructionAt(BigInt(step.what) as VirtAddr)?.text ?? '') : '';
    if (step.kind !== 'insn' || drains(text)) {
      buffers.empty(cpu, footprints);
      race.step(cpu);
      return;
    }
    const vcpu = kernel.cpus[cpu];
    const before = vcpu.cpu.retired;
    const places = accesses.flatMap(({ kind, pa, size }) =>
      kind === WRITE && pa !== null ? [{ pa, size }] : [],
    );
    const retired = buffers.around(cpu, places, () => {
      race.step(cpu);
      return vcpu.cpu.retired > before;
    });
    if (!retired) buffers.empty(cpu, footprints);
  }

  /** @returns what is broken now that nobody can move any more */
  end(): Violation | null {
    return this.invariants.atEnd();
  }
}
