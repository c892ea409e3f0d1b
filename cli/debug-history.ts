// The debugger's commands that go back in time, by gdb's names: reverse-stepi, reverse-continue, checkpoint, restart.
import type { Debugger, DebugStop } from '../testbed/debugger.ts';
import type { WorldState } from '../testbed/snapshot.ts';
import { CliError } from './errors.ts';

interface Checkpoint {
  readonly id: number;
  /** In words. */
  readonly place: string;
  readonly state: WorldState;
}

export class HistoryCommands {
  private readonly debug: Debugger;
  private readonly checkpoints: Checkpoint[] = [];
  private nextId = 1;

  constructor(debug: Debugger) {
    this.debug = debug;
  }

  /** @param count how often */
  reverseStepi(count: number): DebugStop {
    let stop: DebugStop = { kind: 'stepped' };
    for (let i = 0; i < count && stop.kind === 'stepped'; i++) stop = this.debug.history.stepBack();
    return stop;
  }

  reverseContinue(): DebugStop {
    return this.debug.history.continueBack();
  }

  /** @param place where it is, in words. @throws CliError within a fault */
  checkpoint(place: string): Checkpoint {
    if (this.debug.inFault) {
      throw new CliError(
        'a fault is being stepped through, whose middle cannot be kept',
        "finish it with 'stepfault all', or go back before it with 'reverse-stepi'",
      );
    }
    const checkpoint = { id: this.nextId++, place, state: this.debug.save() };
    this.checkpoints.push(checkpoint);
    return checkpoint;
  }

  /** @throws CliError for a number that is none */
  restart(text: string): Checkpoint {
    const checkpoint = this.find(text);
    this.debug.restore(checkpoint.state);
    return checkpoint;
  }

  /** @throws CliError for a number that is none */
  delete(text: string): void {
    this.checkpoints.splice(this.checkpoints.indexOf(this.find(text)), 1);
  }

  lines(): string[] {
    if (this.checkpoints.length === 0) return ['No checkpoints.'];
    return this.checkpoints.map(({ id, place }) => `${id}  ${place}`);
  }

  private find(text: string): Checkpoint {
    const found = this.checkpoints.find(({ id }) => text === String(id));
    if (found !== undefined) return found;
    const what = text === '' ? 'the number of a checkpoint is missing' : `no checkpoint ${text}`;
    throw new CliError(what, "'info checkpoints' lists them, 'checkpoint' makes one");
  }
}
