import { bpfArenaAllocPagesSleepable } from '../bpf/kfuncs.ts';
import type { BpfProg } from '../bpf/prog.ts';
import { byteLength } from '../bpf/stream.ts';
import { virtAddr } from '../emulator/address.ts';
import { hex, u64 } from '../emulator/bits.ts';
import { finish, KernelStuck } from '../mm/context.ts';
import { type Boot, giveBoot, outsideOf, type RunHost, type RunOptions, takeBoot } from './boot.ts';
import { Call, CallError, type CallSeen } from './call.ts';
import { ContractWatch } from './contract.ts';
import { checkStep, type Failure } from './expect.ts';
import type { Images } from './images.ts';
import type { Kernel } from './kernel.ts';
import type { Observed, StepObserved } from './observed.ts';
import { type ArenaPlace, resolveValue } from './places.ts';
import type { ArenaOptions, CallStep, Contents, Step, World } from './scenario.ts';
import { DEFAULT_PROGRAM } from './scenario-load-call.ts';
import { WorldState } from './snapshot.ts';
import { type PlainStep, Steps } from './steps.ts';

export { ARCHITECTURES, type RunHost, type RunOptions } from './boot.ts';

/** A step that was done. */
export interface StepRun {
  readonly step: Step;
  readonly seen: StepObserved;
  readonly failures: readonly Failure[];
}

/** Compiled code in the model's place may go wrong where arenas are filled. @throws CallError */
function settingUp<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof KernelStuck)) throw error;
    throw new CallError(
      `before the first step: ${error.message}`,
      'mend the code that stands in the model’s place, or do without it',
    );
  }
}

/** One world being run. */
export class WorldRun {
  readonly world: World;
  readonly kernel: Kernel;
  readonly places: readonly ArenaPlace[];
  readonly images: Images;
  readonly steps: readonly Step[];
  /** Look at every access of the calls, and count as a failure what breaks the kfuncs' contract. */
  checkContract = false;
  private readonly host: RunHost;
  private readonly plain: Steps;
  private readonly boot: Boot;
  /** Program whose streams a step means that names none. */
  private innermost: BpfProg | null = null;

  /** Sets the kernel and the arenas up. @throws CallError for a world that cannot be */
  constructor(host: RunHost, world: World, options: RunOptions = {}) {
    this.host = host;
    this.world = world;
    this.steps = world.cpus[0];
    this.boot = takeBoot(host, world, options);
    this.kernel = this.boot.kernel;
    this.images = this.boot.images;
    this.places = this.boot.places;
    this.plain = new Steps(this.kernel, (name) => this.program(name));
    try {
      settingUp(() => {
        for (const [i, arena] of world.arenas.entries()) this.fill(arena, this.places[i]);
      });
    } catch (error) {
      this.close();
      throw error;
    }
    // From here on the scenario's own steps are counted.
    for (const { at, nth, errno } of world.injections) this.kernel.context.inject(at, nth, errno);
  }

  /** Does one step to its end and compares. @throws AssemblyError, CallError */
  runStep(step: Step): StepRun {
    if (step.kind === 'call') {
      const call = this.startCall(step);
      return this.checkContract ? this.runWatched(call) : this.runPlainly(call);
    }
    return this.endStep(step);
  }

  private runPlainly(call: Call): StepRun {
    return this.endCall(call, call.vcpu.runCall(call.limit));
  }

  private runWatched(call: Call): StepRun {
    const { vcpu } = call;
    const watch = new ContractWatch(this.kernel, vcpu, call.argumentValues);
    vcpu.beforeInstruction = watch.look;
    try {
      const done = this.runPlainly(call);
      return { ...done, failures: [...done.failures, ...watch.failures()] };
    } finally {
      vcpu.beforeInstruction = null;
    }
  }

  /** Loads and enters a call without running it. */
  startCall(step: CallStep): Call {
    const { kernel, images, places, world } = this;
    const [innermost] = step.caller.frames;
    for (const { arena } of step.caller.frames) if (arena !== null) this.plain.checkAlive(arena);
    if (innermost) this.innermost = images.program(innermost.prog, innermost.arena);
    this.mark();
    const parts = { kernel, images, assembler: this.host.assembler, places, world };
    return new Call(parts, step, kernel.cpus[0]);
  }

  /** The report of a call that ended, compared. */
  endCall(call: Call, end: Parameters<Call['finish']>[0]): StepRun {
    const seen: CallSeen = call.finish(end, this.streams());
    return { step: call.step, seen, failures: checkStep(call.step, seen, this.places) };
  }

  /** The main program a step means: by name, or the innermost of the last call. */
  program(name: string | null): BpfProg {
    if (name !== null) {
      const [arena] = this.world.arenas;
      return this.images.loaded(name) ?? this.images.program(name, arena.name);
    }
    this.innermost ??= this.images.program(DEFAULT_PROGRAM, this.world.arenas[0].name);
    return this.innermost;
  }

  /**
   * The state of the world, to come back to: between two instructions or steps, not within a kernel path. It costs what
   * changed since the last one, and the model's few hundred objects.
   * @param others objects beside the run that are to go back with it
   */
  save(others: readonly object[] = []): WorldState {
    return new WorldState(this, outsideOf(this.host, this.world, this.boot), others);
  }

  /** Goes to a saved state, earlier or later or on another branch. @throws RangeError for another run's */
  restore(state: WorldState): void {
    if (state.run !== this) throw new RangeError('the state is of another run');
    state.restore();
  }

  /** Does something on a branch and comes back: nothing that it does to the world stays. */
  fork<T>(branch: () => T): T {
    const here = this.save();
    try {
      return branch();
    } finally {
      this.restore(here);
    }
  }

  /** The steps other than calls, for whoever runs them in its own order. */
  get plainSteps(): Steps {
    return this.plain;
  }

  /** Loads a call for one of several CPUs; it is entered again when its turn comes. @throws as {@link startCall} */
  loadCall(step: CallStep, cpu: number): Call {
    const { kernel, images, places, world } = this;
    const [innermost] = step.caller.frames;
    if (innermost && cpu === 0) this.innermost ??= images.program(innermost.prog, innermost.arena);
    const parts = { kernel, images, assembler: this.host.assembler, places, world };
    return new Call(parts, step, kernel.cpus[cpu]);
  }

  /** Gives the machine back. Nothing of the run may be used afterwards. */
  close(): void {
    giveBoot(this.host, this.boot);
  }

  private endStep(step: PlainStep): StepRun {
    const seen = { ...this.tryStep(step), ...this.streams() } as StepObserved;
    return { step, seen, failures: checkStep(step, seen, this.places) };
  }

  private tryStep(step: PlainStep): ReturnType<Steps['run']> | { kind: 'stuck'; why: string } {
    try {
      return this.plain.run(step);
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      return { kind: 'stuck', why: error.message };
    }
  }

  // What the innermost program's stderr held before the step.
  private before = '';

  private mark(): void {
    this.before = this.stderrText();
  }

  private stderrText(): string {
    return this.innermost === null ? '' : this.innermost.mainProg.streams[1].peek();
  }

  private streams(): Observed {
    const text = this.stderrText();
    const added = text.startsWith(this.before) ? text.slice(this.before.length) : '';
    this.before = text;
    return { stderr: added, stderrBytes: byteLength(text) };
  }

  private fill(options: ArenaOptions, place: ArenaPlace): void {
    const arena = this.kernel.arenas.get(options.name)!;
    for (const { page, count } of options.alloc) {
      const hint = u64(place.userVmStart + BigInt(page) * BigInt(place.pageSize));
      if (finish(bpfArenaAllocPagesSleepable(arena, hint, count)) === 0n) {
        throw new CallError(
          `${this.world.name}: arena ${options.name}: alloc [${page}, ${count}] fails`,
          this.world.kernel.replace.size > 0
            ? `the compiled functions must be built for pages of ${place.pageSize} bytes and series ${this.world.series}; the pages must be free and within the arena`
            : 'the pages must be free and within the arena, and fit into the modelled memory',
        );
      }
    }
    for (const { offset, contents } of options.init) {
      const at = virtAddr(place.kbase + offset);
      if (!this.kernel.memory.write(at, this.bytesOf(contents))) {
        throw new CallError(
          `${this.world.name}: arena ${options.name}: init at ${hex(offset)} is not in allocated pages`,
          'allocate the pages with `alloc:` first',
        );
      }
    }
  }

  private bytesOf(contents: Contents): Uint8Array {
    if (contents.kind === 'bytes') return contents.bytes;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, resolveValue(contents.value, this.places), true);
    return bytes;
  }
}
