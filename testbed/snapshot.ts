// A snapshot of a world that is being run: the machine and everything of the kernel model, the scenario's own state
// included. What a world is made from (the scenario, the architecture, the tools) is no part of it, nor is who reads its
// events. Left out: a kernel path that is under way, since a generator cannot be copied; a snapshot is taken between two
// instructions or two steps of the scenario.
import { type Restore, SAVE, saveObjects } from '../emulator/snapshot.ts';
import type { WorldRun } from './run.ts';

/** A state to come back to, any number of times, until the run is closed. */
export class WorldState {
  readonly run: WorldRun;
  private readonly machine: Restore;
  private readonly model: Restore;

  /** @param others objects beside the run that are to be saved with it */
  constructor(run: WorldRun, outside: readonly object[], others: readonly object[]) {
    const { context } = run.kernel;
    if (context.stepping) throw new Error('a kernel path is under way: the world cannot be saved');
    this.run = run;
    this.model = saveObjects([run, ...others], outside);
    this.machine = run.kernel.machine[SAVE]();
  }

  restore(): void {
    this.machine();
    this.model();
  }
}
