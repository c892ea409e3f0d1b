// Drives a core through runs and steps: enters it, deals with limits, exits, trapped instructions and faults that can
// be repaired, and enters it again until there is something to tell.
import { virtAddr } from '../address.ts';
import { type AccessKind, type FaultHandler, FETCH, type Stop } from '../engine.ts';
import type { Core } from './core.ts';
import { type Counter, UNLIMITED } from './counter.ts';
import { type JudgedFault, StopReader } from './stops.ts';
import type { Watcher } from './watcher.ts';

/** The library's own bound on a block. */
const MAX_BLOCK = 511;

export class Runner {
  /** Instructions of single steps, where blocks are not counted. */
  stepped = 0;
  /** True while the core runs: registers are those of the present instruction, counts those of its whole block. */
  running = false;
  private readonly core: Core;
  private readonly counter: Counter | null;
  private readonly watcher: Watcher | null;
  private readonly stops: StopReader;
  private onFault: FaultHandler | null = null;
  private declined: JudgedFault | null = null;
  /** Code was translated with the library's own, slow counting. */
  private slow = false;

  /** Either blocks are counted or they are watched. */
  constructor(core: Core, counter: Counter | null, watcher: Watcher | null) {
    this.core = core;
    this.counter = counter;
    this.watcher = watcher;
    this.stops = new StopReader(core, counter);
  }

  /** @param bound instructions of the first block at most; 0: as many as it has */
  drive(limit: number, onFault: FaultHandler | null, bound: number): Stop {
    this.onFault = onFault;
    this.core.fills.recovery = onFault && this.recovery;
    try {
      if (this.counter) return this.driveCounted(this.counter, limit, bound);
      return limit === Infinity ? this.driveFreely() : this.driveSlowly(limit);
    } finally {
      this.onFault = null;
      this.core.fills.recovery = null;
    }
  }

  private driveCounted(counter: Counter, limit: number, bound: number): Stop {
    counter.grant(Math.min(limit, UNLIMITED));
    let next = bound;
    let trapped = false;
    for (;;) {
      const ended = this.exitOr(counter.remaining);
      if (ended) return ended;
      this.declined = null;
      const before = counter.remaining;
      let stop: Stop | null = null;
      if (trapped) {
        stop = this.stops.trap(this.core.ip());
        trapped = false;
        if (stop === null && this.stops.mayRun) stop = this.pass(counter);
      } else if (next > 0 && !this.core.window) {
        stop = this.stepSlowly();
        next--;
      } else {
        const from = this.core.ip();
        const error = this.enterBounded(next);
        if (counter.takeStopped()) {
          const moved = this.core.ip() !== from || counter.remaining !== before;
          trapped = counter.barrier === 0;
          // A shorter block was asked for and not got: the core takes some instruction for longer than it is.
          if (next === 1 && !moved && !trapped) stop = this.stops.misread(from);
          else if (next > 0 && !moved) next = 1;
          else next = counter.barrier > 0 ? Math.min(counter.barrier, before) : counter.remaining;
        } else {
          stop = this.stops.explain(error, this.declined);
          const ahead = this.readAhead(stop) && !(next === 1 && counter.remaining === before);
          next = ahead ? 1 : 0;
          // What lies behind the last instruction allowed is not asked for.
          if (ahead || (isFetch(stop) && counter.remaining <= 0)) stop = null;
        }
      }
      if (stop !== null && !this.repaired(stop)) return this.atExit(stop);
    }
  }

  /** Without any count, at full speed; blocks are looked at when they are translated. */
  private driveFreely(): Stop {
    for (;;) {
      const ended = this.exitOr(1);
      if (ended) return ended;
      const error = this.enter(0);
      const barrier = this.watcher?.takeBarrier() ?? -1;
      let stop: Stop | null = null;
      if (barrier >= 0) {
        // The block is translated now and would run unseen the next time.
        this.core.dropBlocks();
        stop = this.stepsSlowly(barrier + 1);
      } else stop = this.stops.explain(error, this.declined);
      if (this.readAhead(stop)) stop = this.stepsSlowly(MAX_BLOCK);
      if (stop !== null && !this.repaired(stop)) return this.atExit(stop);
    }
  }

  private driveSlowly(limit: number): Stop {
    const end = this.stepped + limit;
    for (;;) {
      const ended = this.exitOr(end - this.stepped);
      if (ended) return ended;
      const stop = this.stepSlowly();
      if (stop !== null && !this.repaired(stop)) return this.atExit(stop);
    }
  }

  /** An exit need not be mapped. */
  private atExit(stop: Stop): Stop {
    return isFetch(stop) && this.core.code.exits.has(stop.ip)
      ? { reason: 'exit', ip: stop.ip }
      : stop;
  }

  /** The next instruction is an exit, or none may run any more. */
  private exitOr(remaining: number): Stop | null {
    const ip = virtAddr(this.core.ip());
    if (this.core.code.exits.has(ip)) return { reason: 'exit', ip };
    return remaining <= 0 ? { reason: 'limit', ip } : null;
  }

  private stepsSlowly(count: number): Stop | null {
    for (let i = 0; i < count; i++) {
      const stop = this.exitOr(1) ?? this.stepSlowly();
      if (stop !== null) return stop;
    }
    return null;
  }

  /**
   * One instruction by the library's own counting, which costs a translation of everything before and after.
   * @returns null if it retired
   */
  private stepSlowly(): Stop | null {
    const { core } = this;
    if (!this.slow) core.dropBlocks();
    this.slow = true;
    const ip = core.ip();
    this.declined = null;
    if (!core.fills.learnCode(ip)) return this.enterPaused(ip);
    if (core.code.trap(ip) !== null) {
      const stop = this.stops.trap(ip);
      if (stop !== null) return stop;
      if (!this.stops.mayRun) {
        this.stepped++;
        return null;
      }
    }
    return this.runSlowly(ip);
  }

  private runSlowly(ip: bigint): Stop | null {
    const { core, counter } = this;
    if (core.code.storesInPieces(ip, [0])) core.journal.record(true);
    const stop = this.enterPaused(ip);
    if (stop !== null || this.stops.again) return stop;
    // A string instruction that has done its last repetition is entered once more to find that out.
    if (core.ip() === ip && core.code.repeats(ip) && core.repeatCount() === 0n)
      this.enterPaused(ip);
    this.stepped++;
    counter?.charge(ip, core.code.instruction(ip).length);
    return null;
  }

  /** The core runs an instruction at which it was stopped. */
  private pass(counter: Counter): Stop | null {
    if (!this.core.window) return this.runSlowly(this.core.ip());
    counter.pass();
    const error = this.enterBounded(1);
    if (counter.takeStopped()) return null;
    const stop = this.stops.explain(error, this.declined);
    return this.readAhead(stop) || (isFetch(stop) && counter.remaining <= 0) ? null : stop;
  }

  /** Enters for the one instruction at `ip`, behind which translation ends: nothing is read ahead. */
  private enterPaused(ip: bigint): Stop | null {
    const hooks = this.counter ?? this.watcher;
    hooks?.pause();
    const length = Math.max(this.core.code.instruction(ip).length, 1);
    this.core.endTranslationAt(ip + BigInt(length));
    try {
      const stop = this.stops.explain(this.enter(1), this.declined);
      // The library stops only when it has looked at the next instruction, which may not be there.
      return isFetch(stop) && stop.ip !== ip ? null : stop;
    } finally {
      this.core.endTranslationAt(null);
      hooks?.resume();
    }
  }

  /** @param bound instructions of the first block at most; 0: as many as it has */
  private enterBounded(bound: number): number {
    const { window } = this.core;
    if (bound === 0 || !window) return this.enter(0);
    window.boundNextBlock(Math.min(bound, MAX_BLOCK));
    try {
      return this.enter(0);
    } finally {
      window.unboundNextBlock();
    }
  }

  private enter(count: number): number {
    this.declined = null;
    this.slow = count > 0;
    this.counter?.beforeEntry();
    this.running = true;
    try {
      return this.core.enter(this.core.ip(), count);
    } catch (error) {
      this.counter?.leftAt(this.core.ip());
      throw error;
    } finally {
      this.running = false;
    }
  }

  /** True if `stop` may come from looking ahead for later instructions of a block, which may never be reached. */
  private readAhead(stop: Stop | null): boolean {
    return isFetch(stop) && stop.va >> 12n !== stop.ip >> 12n;
  }

  /** A fault that nobody was asked about yet, and that the handler repairs. */
  private repaired(stop: Stop): boolean {
    if (stop.reason !== 'fault' || this.onFault === null || this.declined !== null) return false;
    return this.onFault(stop.va, stop.kind);
  }

  /** Inside the fill callback: the instruction has done nothing that a repetition would not do again. */
  private readonly recovery = (hi: number, lo: number, kind: AccessKind): boolean => {
    const fault = this.onFault && this.stops.judgeInPlace(hi, lo, kind);
    if (!fault || this.onFault === null) return false;
    if (this.onFault(fault.va, fault.kind)) return true;
    this.declined = fault;
    return false;
  };
}

const isFetch = (stop: Stop | null): stop is Extract<Stop, { reason: 'fault' }> =>
  stop?.reason === 'fault' && stop.kind === FETCH;
