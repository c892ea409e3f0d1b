// Runs a world: sets the kernel up as the scenario says, does its steps in order and compares each with what is
// expected. With several CPUs it only sets up: their steps are race.ts's.

import type { Architecture } from '../arch/arch.ts';
import { arm64 } from '../arch/arm64/index.ts';
import { x86 } from '../arch/x86/index.ts';
import { arenaMapAlloc, BpfArena, guardSize, kernVmSize } from '../bpf/arena.ts';
import { bpfArenaAllocPages } from '../bpf/kfuncs.ts';
import type { BpfProg } from '../bpf/prog.ts';
import { byteLength } from '../bpf/stream.ts';
import { FRAME_SIZE, type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Assembler } from '../emulator/assembler.ts';
import { hex, u64 } from '../emulator/bits.ts';
import type { Disassembler } from '../emulator/disassembler.ts';
import { EventSink } from '../emulator/events.ts';
import { SAVE, saveObjects } from '../emulator/snapshot.ts';
import { ERRNO, finish, KernelStuck } from '../mm/context.ts';
import type { TlbPolicy } from '../mm/tlb.ts';
import { Call, CallError, type CallSeen } from './call.ts';
import { ContractWatch } from './contract.ts';
import type { Costing } from './costing.ts';
import { formatErrno } from './errno.ts';
import { checkStep, type Failure } from './expect.ts';
import { Images } from './images.ts';
import { Kernel } from './kernel.ts';
import { setUpKfence } from './kfence.ts';
import type { Machine, Machines, SetUp } from './machines.ts';
import { ramSizeFor } from './memory-need.ts';
import type { Observed, StepObserved } from './observed.ts';
import { type ArenaPlace, resolveValue } from './places.ts';
import type { ArchName, ArenaOptions, CallStep, Contents, Step, World } from './scenario.ts';
import { DEFAULT_PROGRAM } from './scenario-load-call.ts';
import { WorldState } from './snapshot.ts';
import { mapFlags, type PlainStep, Steps } from './steps.ts';

/** What a run needs from outside: the core that executes, and the tools that read and write its code. */
export interface RunHost {
  readonly machines: Machines;
  readonly assembler: Assembler;
  readonly disassembler: Disassembler;
}

export const ARCHITECTURES: Readonly<Record<ArchName, Architecture>> = { x86_64: x86, arm64 };

/** How a world is run. */
export interface RunOptions {
  readonly events?: EventSink;
  /** What its calls cost is found with this, of its architecture; by default it is not. */
  readonly costing?: Costing | null;
  /** What the TLBs may keep; the architectures' rule by default. */
  readonly tlbPolicy?: TlbPolicy;
}

/** A step that was done. */
export interface StepRun {
  readonly step: Step;
  readonly seen: StepObserved;
  readonly failures: readonly Failure[];
}

/** A kernel with its arenas, before anything of a scenario was put into it. Scenarios that ask for the same share one. */
interface Boot extends SetUp {
  readonly key: string;
  readonly kernel: Kernel;
  readonly images: Images;
  readonly places: readonly ArenaPlace[];
}

const bootKeys = new WeakMap<World, string>();

/** What of a world its boot depends on. */
function bootKey(world: World): string {
  let key = bootKeys.get(world);
  if (key === undefined) {
    const { arch, series, kernel, arenas, cpus, limits } = world;
    const made = arenas.map(({ name, pages, userVmStart, flags }) => [
      ...[name, pages, userVmStart, flags],
    ]);
    const counting = limits.instructions !== null;
    const parts = [arch, series, kernel, made, cpus.length, counting, ramSizeFor(world)];
    key = JSON.stringify(parts, (_, part) => (typeof part === 'bigint' ? `${part}n` : part));
    bootKeys.set(world, key);
  }
  return key;
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
  private readonly machine: Machine;
  private readonly plain: Steps;
  /** The state before the scenario's own pages, if it is kept for the next run. */
  private readonly boot: Boot | null = null;
  /** Program whose streams a step means that names none. */
  private innermost: BpfProg | null = null;

  /** Sets the kernel and the arenas up. @throws CallError for a world that cannot be */
  constructor(host: RunHost, world: World, { events, costing = null, tlbPolicy }: RunOptions = {}) {
    this.host = host;
    this.world = world;
    this.steps = world.cpus[0];
    // Whoever brings a sink of its own wants to hear of the set-up too.
    const key =
      events === undefined
        ? `${bootKey(world)} ${costing?.key ?? ''} ${tlbPolicy?.negative ?? ''}`
        : null;
    const kept = key === null ? null : (host.machines.takeSetUp(key) as Boot | null);
    const { description } = ARCHITECTURES[world.arch];
    const metering = costing !== null;
    const counting = world.limits.instructions !== null || metering;
    const accesses = costing?.grain === 'exact';
    const counts = { counting, metering, accesses };
    this.machine = kept?.machine ?? host.machines.take(description, ramSizeFor(world), counts);
    try {
      this.kernel =
        kept?.kernel ?? this.createKernel(events ?? new EventSink(), { costing, tlbPolicy });
      this.images = kept?.images ?? new Images(this.kernel);
      this.places = kept?.places ?? this.setUp();
      this.boot = kept ?? (key !== null && host.machines.comesBack(key) ? this.keep(key) : null);
      for (const [i, options] of world.arenas.entries()) this.fill(options, this.places[i]);
      this.plain = new Steps(this.kernel, (name) => this.program(name));
    } catch (error) {
      this.close();
      throw error;
    }
    // From here on the scenario's own steps are counted.
    for (const { at, nth, errno } of world.injections) this.kernel.context.inject(at, nth, errno);
  }

  private setUp(): readonly ArenaPlace[] {
    const { world, kernel } = this;
    const places = world.arenas.map((options, i) => this.createArena(options, i === 0));
    const { kfence } = world.kernel;
    if (kfence !== null) setUpKfence(kernel, resolveValue(kfence.pool, places), kfence.objects);
    return places;
  }

  private keep(key: string): Boot {
    const { machine, kernel, images, places } = this;
    const model = saveObjects([kernel, images], this.outside());
    const memory = machine[SAVE]();
    const restore = () => {
      memory();
      model();
    };
    return { key, machine, kernel, images, places, restore };
  }

  /** What a world is made from and with: no part of its state. */
  private outside(): object[] {
    const { host, world, kernel, machine } = this;
    const fixed = [host, world, ...world.cpus.flat(), kernel.arch, kernel.events];
    const costing = kernel.costing === null ? [] : [kernel.costing];
    return [...fixed, ...costing, machine, machine.ram, host.disassembler, host.assembler];
  }

  private createKernel(events: EventSink, more: Omit<RunOptions, 'events'>): Kernel {
    const { vmStart, scratchPfn, arenaLock, kfence, erms, stack, ...config } = this.world.kernel;
    const kernel = new Kernel({
      arch: ARCHITECTURES[this.world.arch],
      config: { ...config, series: this.world.series },
      machine: this.machine,
      disassembler: this.host.disassembler,
      events,
      stackSize: stack,
      stackAt: this.stackPlace(),
      ...more,
    });
    for (let i = 0; i < this.world.cpus.length; i++) kernel.addCpu();
    return kernel;
  }

  /** The stack's own place, or behind the first arena where a scenario puts that over it. */
  private stackPlace(): VirtAddr | undefined {
    const { vmStart, stack, pageSize } = this.world.kernel;
    if (vmStart === null) return undefined;
    const { layout } = ARCHITECTURES[this.world.arch];
    const { stack: usual } = layout({ ...this.world.kernel, series: this.world.series });
    const guard = BigInt(guardSize(pageSize));
    const end = vmStart + BigInt(kernVmSize(pageSize)) + guard;
    if (usual >= end || usual + BigInt(stack) < vmStart - guard) return undefined;
    const size = BigInt(stack);
    return virtAddr(end + size - (end % size));
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
    return new WorldState(this, this.outside(), others);
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
    const { host, machine, boot } = this;
    if (boot !== null) this.kernel.events.forgetReaders();
    host.machines.give(machine, boot?.key ?? null, boot);
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

  private createArena(options: ArenaOptions, first: boolean): ArenaPlace {
    const { kernel } = this;
    const { vmStart, scratchPfn } = this.world.kernel;
    const attr = {
      maxEntries: options.pages,
      mapFlags: mapFlags(options.flags),
      mapExtra: options.userVmStart,
    };
    const wishes = first
      ? {
          name: options.name,
          kernVmStart: vmStart ?? kernel.layout.arenaBase,
          scratchPfn: (scratchPfn * kernel.pageSize) / FRAME_SIZE,
        }
      : { name: options.name };
    const arena = arenaMapAlloc(kernel.bpf, attr, wishes);
    if (!(arena instanceof BpfArena)) {
      throw new CallError(
        `${this.world.name}: arena ${options.name} cannot be made: ${formatErrno(arena)}`,
        this.remedyFor(arena, first),
      );
    }
    arena.spinlock.raw = this.world.kernel.arenaLock === 'raw_spinlock';
    kernel.arenas.set(options.name, arena);
    return {
      name: options.name,
      kbase: arena.kernVmStart,
      userVmStart: options.userVmStart,
      pageSize: kernel.pageSize,
    };
  }

  /** The loader has checked what arena_map_alloc() checks: what is left is room. */
  private remedyFor(errno: number, first: boolean): string {
    const { vmallocStart, vmallocEnd } = this.kernel.layout;
    if (errno !== ERRNO.ENOMEM || !first) return 'give fewer arenas';
    const range = `${hex(vmallocStart)} to ${hex(vmallocEnd)}`;
    return `kernel.vm_start must leave 4 GiB and the guards in ${range}, off the kernel's text and stack, and kernel.scratch_pfn name a free page of at most 4 GiB of memory`;
  }

  private fill(options: ArenaOptions, place: ArenaPlace): void {
    const arena = this.kernel.arenas.get(options.name)!;
    for (const { page, count } of options.alloc) {
      const hint = u64(place.userVmStart + BigInt(page) * BigInt(place.pageSize));
      if (finish(bpfArenaAllocPages(arena, hint, count)) === 0n) {
        throw new CallError(
          `${this.world.name}: arena ${options.name}: alloc [${page}, ${count}] fails`,
          'the pages must be free and within the arena, and fit into the modelled memory',
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
