// One vCPU, as the rest of the project sees it: registers, runs, caches, saved state.
import type { VirtAddr } from '../address.ts';
import type {
  AccessSink,
  BlockEdge,
  Cpu,
  CpuDescription,
  CpuOptions,
  FaultHandler,
  Interceptor,
  Stop,
  Translator,
} from '../engine.ts';
import type { Ram } from '../ram.ts';
import { type Restore, SAVE } from '../snapshot.ts';
import { Accesses } from './accesses.ts';
import { type Binding, viewNative } from './binding.ts';
import { Core, type Means } from './core.ts';
import { Counter } from './counter.ts';
import { EngineError } from './error.ts';
import { readCpl, writeCpl } from './privilege.ts';
import { Runner } from './runner.ts';
import { Watcher } from './watcher.ts';

/** What {@link UnicornCpu.save} keeps. */
interface Saved {
  readonly cpu: UnicornCpu;
  readonly context: Uint8Array;
  readonly retired: number;
  readonly exits: ReadonlySet<bigint>;
}

export class UnicornCpu implements Cpu {
  readonly id: number;
  readonly description: CpuDescription;
  private readonly core: Core;
  private readonly counter: Counter | null;
  private readonly watcher: Watcher | null;
  private readonly accesses: Accesses | null;
  private readonly runner: Runner;
  private readonly ipIndex: number;
  private readonly before: BigUint64Array;
  private closed = false;

  constructor(
    binding: Binding,
    means: Means,
    id: number,
    description: CpuDescription,
    ram: Ram,
    translator: Translator,
    options: CpuOptions,
  ) {
    this.id = id;
    this.description = description;
    const core = new Core(binding, means, description, ram, translator, options.accesses === true);
    this.core = core;
    this.ipIndex = description.general.indexOf(description.instructionPointer);
    this.before = new BigUint64Array(description.general.length);
    const counting = options.counting !== false;
    this.counter = counting ? makeCounter(core, means, options.metering === true) : null;
    this.watcher = counting ? null : new Watcher(binding, core.handle, core.code, core.journal);
    this.accesses =
      options.accesses === true ? new Accesses(binding, core.handle, means.native) : null;
    this.judgedBy = core.code.exits;
    this.runner = new Runner(core, this.counter, this.watcher);
    if (!counting) core.warmUp();
    core.code.witness = options.witness ?? null;
    core.onCodeMoved = () => this.counter?.forgetBlocks();
    core.clock = () => this.retired;
  }

  get retired(): number {
    const { counter, runner } = this;
    if (!counter) return runner.stepped;
    return counter.retired - (runner.running ? counter.unexecutedFrom(this.core.ip()) : 0);
  }

  set retired(value: number) {
    if (this.counter) this.counter.retired = value;
    else this.runner.stepped = value;
  }

  get executedFrames(): ReadonlySet<number> {
    return this.core.code.executedFrames;
  }

  readRegister(name: string): bigint {
    this.check();
    if (name === 'cpl') return BigInt(readCpl(this.core));
    if (name === this.description.instructionPointer) return this.core.ip();
    return this.core.registers.read(name);
  }

  writeRegister(name: string, value: bigint): void {
    this.check();
    if (name === 'cpl') {
      writeCpl(this.core, Number(value));
      return;
    }
    this.core.registers.write(name, value);
    if (name === this.description.instructionPointer) this.counter?.forgetLast();
  }

  readGeneral(into: BigUint64Array): void {
    this.check();
    this.core.registers.readGeneral(into);
  }

  readIntegers(into: BigUint64Array): boolean {
    this.check();
    const { window, registers } = this.core;
    if (window) return window.readGeneral(into);
    registers.readGeneral(into);
    return true;
  }

  writeGeneral(from: BigUint64Array): void {
    this.check();
    const { registers } = this.core;
    registers.readGeneral(this.before);
    registers.writeGeneral(from);
    if (from[this.ipIndex] !== this.before[this.ipIndex]) this.counter?.forgetLast();
    registers.settleFlags(this.before, from);
  }

  run(limit: number, onFault?: FaultHandler): Stop {
    this.checkIdle();
    this.settle();
    return this.runner.drive(limit, onFault ?? null, 0);
  }

  step(): Stop {
    this.checkIdle();
    this.settle();
    return this.runner.drive(1, null, 1);
  }

  setExits(addresses: readonly VirtAddr[]): void {
    this.check();
    this.exitsAre(new Set(addresses));
  }

  private exitsAre(exits: ReadonlySet<bigint>): void {
    this.core.code.exits = exits;
    if (this.runner.running) this.settle();
  }

  flushTlb(): void {
    this.check();
    this.core.flushTlb();
  }

  flushTlbPage(va: VirtAddr): void {
    this.check();
    this.core.flushTlbPage(va);
  }

  /** Takes effect when the core runs next: often the same code has been put back by then, and its blocks still hold. */
  flushCode(): void {
    this.check();
    this.codeWritten = true;
    if (this.runner.running) this.settle();
  }

  forgetCode(): void {
    this.check();
    this.dropCode();
    if (this.runner.running) this.core.flushTlb();
  }

  private dropCode(): void {
    this.counter?.forgetBlocks();
    // Within a run the core goes on in what it holds.
    if (this.runner.running) this.core.flushCode();
    else this.core.forgetCode();
  }

  private codeWritten = false;
  /** The exits that blocks were last judged by. */
  private judgedBy: ReadonlySet<bigint>;

  /** Before the core runs: forgets what was translated, or judged, of other code or for other exits. */
  private settle(): void {
    const { core, judgedBy } = this;
    const { exits } = core.code;
    if (exits !== judgedBy) {
      this.judgedBy = exits;
      if (exits.size !== judgedBy.size || [...exits].some((va) => !judgedBy.has(va))) {
        if (this.counter) this.counter.forgetBlocks();
        else core.dropBlocks();
      }
    }
    if (!this.codeWritten) return;
    this.codeWritten = false;
    if (!core.fills.mayWriteCode() && !core.code.differs()) return;
    this.dropCode();
  }

  get interceptor(): Interceptor | null {
    return this.core.code.interceptor;
  }

  set interceptor(interceptor: Interceptor | null) {
    if (interceptor === this.core.code.interceptor) return;
    this.core.code.interceptor = interceptor;
    this.interceptsChanged();
  }

  interceptsChanged(): void {
    this.check();
    if (this.runner.running) this.core.fills.reconsider();
    else if (this.counter) this.counter.forgetBlocks();
    else this.core.dropBlocks();
  }

  code(va: VirtAddr): Uint8Array {
    return this.core.code.bytes(va, 16);
  }

  get accessSink(): AccessSink | null {
    return this.accesses?.sink ?? null;
  }

  set accessSink(sink: AccessSink | null) {
    if (this.accesses !== null) this.accesses.sink = sink;
  }

  drainAccesses(): void {
    this.accesses?.drain();
  }

  takeEdges(): readonly BlockEdge[] {
    return this.counter?.meter?.take() ?? [];
  }

  save(): unknown {
    this.check();
    const { binding, handle, context } = this.core;
    binding.check(binding.contextSave(handle, context.context), 'uc_context_save');
    const bytes = new Uint8Array(viewNative(context.context, context.size)).slice();
    const { exits } = this.core.code;
    return { cpu: this, context: bytes, retired: this.retired, exits } satisfies Saved;
  }

  restore(state: unknown): void {
    this.check();
    const saved = state as Saved;
    if (saved?.cpu !== this) throw new RangeError('the state was saved by another vCPU');
    const { binding, handle, context } = this.core;
    new Uint8Array(viewNative(context.context, context.size)).set(saved.context);
    binding.check(binding.contextRestore(handle, context.context), 'uc_context_restore');
    this.retired = saved.retired;
    this.counter?.forgetLast();
    this.counter?.meter?.forgetLast();
    this.exitsAre(saved.exits);
  }

  [SAVE](): Restore {
    const state = this.save();
    return () => this.restore(state);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.core.close();
    this.counter?.close();
    this.watcher?.close();
    this.accesses?.close();
  }

  /** The library's engine is freed after {@link close}: any use of it would take the process down. */
  private check(): void {
    if (this.closed) throw new EngineError('the vCPU is closed', 'this is a bug of faultline');
  }

  private checkIdle(): void {
    this.check();
    if (this.runner.running) {
      throw new EngineError('the vCPU runs already', 'a handler of a fault must not run it');
    }
  }
}

function makeCounter(core: Core, means: Means, metering: boolean): Counter {
  const name = core.recipe.repeatCounter;
  const index = name === null ? -1 : core.description.general.indexOf(name);
  const at = index < 0 || !core.window ? null : core.window.address(index);
  const count = () => core.repeatCount();
  return new Counter(core, count, at, means.native, metering);
}
