// A race with everybody who watches it: the invariants after each step, and, for whoever reduces schedules, what the step
// touched.
import type { VirtAddr } from '../emulator/address.ts';
import { WRITE } from '../emulator/engine.ts';
import { Footprints } from './footprints.ts';
import { InsnAccesses, type PageAccess } from './insn-access.ts';
import { Invariants, type Violation } from './invariants.ts';
import { Race } from './race.ts';
import type { WorldRun } from './run.ts';
import { drains, type StoreBuffers } from './store-buffers.ts';

const NONE: readonly PageAccess[] = [];
/** Tells a buffer's move from the CPU's own, where a CPU stands. */
const DRAINS = 0xd7a1;

export class WatchedRace {
  readonly race: Race;
  readonly footprints: Footprints;
  private readonly invariants: Invariants;
  private readonly accesses: InsnAccesses;

  /** @throws as {@link Race} */
  constructor(run: WorldRun) {
    const { kernel } = run;
    this.race = new Race(run);
    this.accesses = new InsnAccesses(kernel);
    this.invariants = new Invariants(this.race);
    this.footprints = new Footprints(
      kernel.ram,
      kernel.cpus.length,
      () => this.accesses.tlbEntries,
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
    const { race, footprints, accesses } = this;
    if (cpu >= race.cpuCount) return this.drain(cpu - race.cpuCount);
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
    this.invariants.before(cpu, next ?? NONE);
    if (race.buffers === null) race.step(cpu);
    else this.stepBuffered(race.buffers, cpu, next ?? NONE);
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
