// A race with everybody who watches it: the invariants after each step, and, for whoever reduces schedules, what the step
// touched.
import { Footprints } from './footprints.ts';
import { InsnAccesses, type PageAccess } from './insn-access.ts';
import { Invariants, type Violation } from './invariants.ts';
import { Race } from './race.ts';
import type { WorldRun } from './run.ts';

const NONE: readonly PageAccess[] = [];

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
    race.step(cpu);
    const broken = this.invariants.after(cpu);
    context.access = null;
    footprints.end();
    return broken;
  }

  /** @returns what is broken now that nobody can move any more */
  end(): Violation | null {
    return this.invariants.atEnd();
  }
}
