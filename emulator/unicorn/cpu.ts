// One vCPU: runs its core, stops, and says why it stopped, exactly: which byte faulted, at which instruction, after
// how many.
import { type VirtAddr, virtAddr } from '../address.ts';
import { hi32, lo32 } from '../bits.ts';
import {
  type AccessForm,
  type AccessKind,
  type Cpu,
  type CpuDescription,
  type CpuOptions,
  type FaultHandler,
  FETCH,
  type Stop,
  type Translator,
  WRITE,
} from '../engine.ts';
import type { Ram } from '../ram.ts';
import { AccessJudge, type GeneralHalves } from './access.ts';
import {
  type Binding,
  type Pointer,
  UC_ERR_EXCEPTION,
  UC_ERR_INSN_INVALID,
  UC_ERR_OK,
  viewNative,
} from './binding.ts';
import { Core } from './core.ts';
import { Counter, UNLIMITED } from './counter.ts';
import { EngineError } from './error.ts';
import { forgetException } from './exception-memory.ts';

/** What {@link UnicornCpu.save} keeps. */
interface Saved {
  readonly cpu: UnicornCpu;
  readonly context: Uint8Array;
  readonly retired: number;
}

/** The library's own bound on a block. */
const MAX_BLOCK = 511;

const address = (hi: number, lo: number): VirtAddr => virtAddr((BigInt(hi) << 32n) | BigInt(lo));

export class UnicornCpu implements Cpu {
  readonly id: number;
  readonly description: CpuDescription;
  private readonly core: Core;
  private readonly counter: Counter | null;
  private readonly judge: AccessJudge;
  private readonly ipIndex: number;
  private readonly context: { readonly context: Pointer; readonly size: number };
  private onFault: FaultHandler | null = null;
  private declined: Stop | null = null;
  private uncounted = 0;
  /** In a vCPU that does not count: code was translated with the library's own, slow counting. */
  private slow = false;
  private running = false;
  private closed = false;

  constructor(
    binding: Binding,
    known: boolean,
    id: number,
    description: CpuDescription,
    ram: Ram,
    translator: Translator,
    options: CpuOptions,
  ) {
    this.id = id;
    this.description = description;
    this.core = new Core(binding, known, description, ram, translator);
    this.ipIndex = description.general.indexOf(description.instructionPointer);
    this.judge = new AccessJudge(this.core.code, this.core.window ?? this.slowHalves());
    this.counter = options.counting === false ? null : this.makeCounter(binding);
    this.core.onCodeMoved = () => this.counter?.forgetBlocks();
    this.core.clock = () => this.retired;
    this.context = binding.newContext(this.core.handle);
  }

  private makeCounter(binding: Binding): Counter {
    const { core, description } = this;
    const name = core.recipe.repeatCounter;
    const index = name === null ? -1 : description.general.indexOf(name);
    return new Counter(
      binding,
      core.handle,
      core.recipe.fixedLength,
      core.code,
      () => (name === null ? 0n : core.registers.read(name)),
      index < 0 || !core.window ? null : core.window.address(index),
    );
  }

  /** General registers by a call of the library, where its memory cannot be looked at. */
  private slowHalves(): GeneralHalves {
    const words = new BigUint64Array(this.description.general.length);
    const halves = new Uint32Array(words.buffer);
    return {
      lo: (index) => {
        this.core.registers.readGeneral(words);
        return halves[index * 2];
      },
      hi: (index) => halves[index * 2 + 1],
    };
  }

  get retired(): number {
    if (!this.counter) return this.uncounted;
    return (
      this.counter.retired - (this.running ? this.counter.unexecutedFrom(this.currentIp()) : 0)
    );
  }

  set retired(value: number) {
    if (this.counter) this.counter.retired = value;
    else this.uncounted = value;
  }

  get executedFrames(): ReadonlySet<number> {
    return this.core.code.executedFrames;
  }

  readRegister(name: string): bigint {
    return this.core.registers.read(name);
  }

  writeRegister(name: string, value: bigint): void {
    this.core.registers.write(name, value);
    if (name === this.description.instructionPointer) this.moved();
  }

  readGeneral(into: BigUint64Array): void {
    this.core.registers.readGeneral(into);
  }

  writeGeneral(from: BigUint64Array): void {
    const before = this.currentIp();
    this.core.registers.writeGeneral(from);
    if (from[this.ipIndex] !== before) this.moved();
  }

  private moved(): void {
    this.counter?.forgetLast();
  }

  private currentIp(): bigint {
    const { window, registers } = this.core;
    if (window) return (BigInt(window.ipHi()) << 32n) | BigInt(window.ipLo());
    return registers.read(this.description.instructionPointer);
  }

  run(limit: number, onFault?: FaultHandler): Stop {
    return this.drive(limit, onFault ?? null, 0);
  }

  step(): Stop {
    return this.drive(1, null, 1);
  }

  /** @param bound instructions of the first block at most; 0: as many as it has */
  private drive(limit: number, onFault: FaultHandler | null, bound: number): Stop {
    if (this.closed) throw new EngineError('the vCPU is closed', 'this is a bug of faultline');
    this.onFault = onFault;
    this.core.recovery = onFault && this.recovery;
    try {
      return this.counter
        ? this.driveCounted(this.counter, limit, bound)
        : this.driveUncounted(limit);
    } finally {
      this.onFault = null;
      this.core.recovery = null;
    }
  }

  private driveCounted(counter: Counter, limit: number, bound: number): Stop {
    counter.grant(Math.min(limit, UNLIMITED));
    let next = bound;
    let trapped = false;
    for (;;) {
      const ip = this.currentIp();
      if (this.core.code.exits.has(ip)) return { reason: 'exit', ip: virtAddr(ip) };
      const before = counter.remaining;
      if (before <= 0) return { reason: 'limit', ip: virtAddr(ip) };
      let stop: Stop | null = null;
      if (trapped) {
        stop = this.trap(ip);
        trapped = false;
      } else {
        const error = this.enter(ip, next);
        if (counter.takeStopped()) {
          trapped = counter.barrier === 0;
          next = counter.barrier > 0 ? Math.min(counter.barrier, before) : counter.remaining;
        } else {
          stop = this.explain(error);
          const ahead = this.readAhead(stop, next === 1 && counter.remaining === before);
          next = ahead ? 1 : 0;
          if (ahead) stop = null;
        }
      }
      if (stop !== null && !this.repaired(stop)) return stop;
    }
  }

  /** Without a count of blocks: the library counts, one instruction at a time, or nobody does. */
  private driveUncounted(limit: number): Stop {
    const slow = limit !== Infinity;
    if (slow && !this.slow) this.core.flushCode();
    this.slow = slow;
    for (let left = limit; left > 0; ) {
      const stop = this.explain(this.enterCore(this.currentIp(), slow ? 1 : 0));
      if (stop !== null) {
        if (!this.repaired(stop)) return stop;
      } else if (slow) {
        left--;
        this.uncounted++;
      }
    }
    return { reason: 'limit', ip: virtAddr(this.currentIp()) };
  }

  /** @param bound instructions of the first block at most; 0: as many as it has */
  private enter(ip: bigint, bound: number): number {
    const { window } = this.core;
    if (bound === 0 || !window) return this.enterCore(ip, 0);
    window.boundNextBlock(Math.min(bound, MAX_BLOCK));
    try {
      return this.enterCore(ip, 0);
    } finally {
      window.unboundNextBlock();
    }
  }

  private enterCore(ip: bigint, count: number): number {
    this.declined = null;
    this.running = true;
    try {
      return this.core.enter(ip, count);
    } catch (error) {
      this.counter?.leftAt(this.currentIp());
      throw error;
    } finally {
      this.running = false;
    }
  }

  /** True if `stop` came from looking ahead for a block's later instructions, which may never be reached. */
  private readAhead(stop: Stop | null, alone: boolean): boolean {
    if (stop?.reason !== 'fault' || stop.kind !== FETCH || alone || !this.core.window) return false;
    return stop.va >> 12n !== stop.ip >> 12n;
  }

  /** A fault that nobody was asked about yet, and that the handler repairs. */
  private repaired(stop: Stop): boolean {
    if (stop.reason !== 'fault' || this.onFault === null || this.declined !== null) return false;
    return this.onFault(stop.va, stop.kind);
  }

  /** Inside the fill callback: the instruction has done nothing that a repetition would not do again. */
  private readonly recovery = (hi: number, lo: number, kind: AccessKind): boolean => {
    const ip = this.currentIp();
    if (this.onFault === null) return false;
    const form = this.judge.judge(ip, hi, lo, kind);
    if (form === null) return false;
    const { judge } = this;
    const faultKind = judge.kind;
    const va = form.lastByteFirst ? this.judged(form) : address(judge.hi, judge.lo);
    // The translator's record of its last failure is to be of the access that faults.
    if (faultKind !== kind || form.lastByteFirst) this.core.probe(hi32(va), lo32(va), faultKind);
    if (this.onFault(va, faultKind)) return true;
    this.declined = { reason: 'fault', ip: virtAddr(ip), va, kind: faultKind };
    return false;
  };

  /** Why the entry ended; null where a limit of the library's own did it, or it goes on. */
  private explain(error: number): Stop | null {
    const ip = this.currentIp();
    const { core } = this;
    if (core.trouble !== null) return this.cannot(ip, core.trouble);
    if (core.refusedKind >= 0 && error === UC_ERR_EXCEPTION) return this.fault(ip);
    if (core.exception >= 0) return this.exception(ip, core.exception);
    if (error === UC_ERR_INSN_INVALID) {
      this.counter?.leftAt(ip);
      return { reason: 'exception', ip: virtAddr(ip), ...core.recipe.invalidInstruction };
    }
    if (error !== UC_ERR_OK) return this.cannot(ip, this.core.binding.errorText(error));
    return this.ended(ip);
  }

  private cannot(ip: bigint, why: string): Stop {
    this.counter?.leftAt(ip);
    return { reason: 'engine', ip: virtAddr(ip), bytes: this.core.code.instruction(ip), why };
  }

  private fault(ip: bigint): Stop {
    const { core, judge } = this;
    const refused = core.refusedKind as AccessKind;
    if (refused === FETCH) {
      return {
        reason: 'fault',
        ip: virtAddr(ip),
        va: virtAddr(core.faultAddressNow() ?? core.refusedPage()),
        kind: FETCH,
      };
    }
    this.counter?.leftAt(ip);
    const form = judge.judge(ip, core.refusedHi, core.refusedLo, refused);
    if (form && judge.kind === WRITE && judge.crosses) {
      core.undoStore(judge.startHi, judge.startLo, form);
    }
    if (this.declined) return this.declined;
    const kind = form ? judge.kind : judge.kindAt(ip, refused);
    const judged = form ? this.judged(form) : null;
    const exact = core.faultAddressNow() ?? judged ?? core.refusedPage();
    const va = form?.lastByteFirst && judged !== null ? judged : virtAddr(exact);
    // The translator's record of its last failure is to be of the access that faults.
    if (form || kind !== refused) core.probe(hi32(va), lo32(va), kind);
    return { reason: 'fault', ip: virtAddr(ip), va, kind };
  }

  /** The address that the hardware reports for the access that was just judged. */
  private judged(form: AccessForm): VirtAddr {
    const { judge, core } = this;
    const start = address(judge.startHi, judge.startLo);
    const last = virtAddr(start + BigInt(form.size - 1));
    if (form.lastByteFirst && !core.probe(hi32(last), lo32(last), form.kind)) return last;
    return address(judge.hi, judge.lo);
  }

  private exception(ip: bigint, number: number): Stop {
    this.counter?.leftAt(ip);
    if (this.description.name === 'x86_64') {
      const { context, size } = this.context;
      forgetException(this.core.binding, this.core.handle, context, size);
    }
    const name = this.core.recipe.exceptionName(number);
    return { reason: 'exception', ip: virtAddr(ip), number, name };
  }

  /** The library stopped of itself: behind an instruction that halts, or at what it must not translate. */
  private ended(ip: bigint): Stop | null {
    const halt = this.haltBefore(ip);
    if (halt) return halt;
    return this.core.code.fatal.has(ip) ? this.trap(ip) : null;
  }

  private haltBefore(end: bigint): Stop | null {
    const { recipe, code } = this.core;
    if (this.counter && this.counter.lastEnd() !== end) return null;
    const ip = virtAddr(end - BigInt(recipe.haltLength));
    let word = 0;
    for (const byte of code.bytes(ip, recipe.haltLength).slice().reverse())
      word = word * 256 + byte;
    const name = recipe.halts.get(word);
    if (name === undefined) return null;
    this.counter?.leftAt(ip);
    this.core.registers.write(this.description.instructionPointer, ip);
    return { reason: 'halt', ip, name };
  }

  /** An instruction that must not reach the core; null if it was passed, or nothing is wrong with it. */
  private trap(ip: bigint): Stop | null {
    const { code } = this.core;
    const trap = code.trap(ip);
    if (trap?.action === 'refuse') {
      return { reason: 'engine', ip: virtAddr(ip), bytes: code.instruction(ip), why: trap.why };
    }
    if (trap?.action === 'touch') return this.touch(ip);
    return null;
  }

  /** Makes the accesses of an instruction that the core would leave out, and passes it. */
  private touch(ip: bigint): Stop | null {
    const { judge } = this;
    for (const form of this.core.code.accesses(ip)) {
      judge.locate(form);
      const va = address(judge.startHi, judge.startLo);
      if (!this.core.probe(judge.startHi, judge.startLo, form.kind)) {
        return { reason: 'fault', ip: virtAddr(ip), va, kind: form.kind };
      }
    }
    const length = this.core.code.instruction(ip).length;
    this.core.registers.write(this.description.instructionPointer, ip + BigInt(length));
    if (this.counter) this.counter.charge(1);
    else this.uncounted++;
    return null;
  }

  setExits(addresses: readonly VirtAddr[]): void {
    this.core.code.exits = new Set(addresses);
    this.counter?.forgetBlocks();
  }

  flushTlb(): void {
    this.core.flushTlb();
  }

  flushTlbPage(va: VirtAddr): void {
    this.core.flushTlbPage(va);
  }

  flushCode(): void {
    this.counter?.forgetBlocks();
    this.core.flushCode();
  }

  save(): unknown {
    const { binding, handle } = this.core;
    const { context, size } = this.context;
    binding.check(binding.contextSave(handle, context), 'uc_context_save');
    const bytes = new Uint8Array(viewNative(context, size)).slice();
    return { cpu: this, context: bytes, retired: this.retired } satisfies Saved;
  }

  restore(state: unknown): void {
    const saved = state as Saved;
    if (saved?.cpu !== this) throw new RangeError('the state was saved by another vCPU');
    const { binding, handle } = this.core;
    const { context, size } = this.context;
    new Uint8Array(viewNative(context, size)).set(saved.context);
    binding.check(binding.contextRestore(handle, context), 'uc_context_restore');
    this.retired = saved.retired;
    this.moved();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.core.binding.contextFree(this.context.context);
    this.core.close();
    this.counter?.close();
  }
}
