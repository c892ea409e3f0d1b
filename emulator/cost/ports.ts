// The execution ports: which cycle an operation starts in. Operations come in program order and take the first cycle in
// which they and everything that starts there already can have ports, each one that it may go to; so an older one is
// never kept waiting by a younger (the oldest-first rule of a scheduler), and none by which port another happened to
// get. Approximate: a core that binds ports at rename sometimes loses a cycle to its guess, and that loss depends on
// details nobody knows; nothing is cancelled or replayed, and a write-back conflict does not exist.
import type { CoreDescription } from './core.ts';
import { MinHeap } from './heap.ts';
import type { Uop } from './instruction.ts';
import { UnitJobs } from './unit-jobs.ts';
import { TICKS_PER_CYCLE } from './units.ts';

/** Unpipelined units there may be. */
const UNITS = 2;

/** Bits of the banks' counters. */
const COUNTER_BITS = 2;

/** Number of the lowest bit that is set. */
const lowestBit = (mask: number) => 31 - Math.clz32(mask & -mask);

export class Ports {
  private readonly core: CoreDescription;
  /** Per cycle, the ports that are taken. */
  private taken = new Uint16Array(1 << 9);
  /** Per cycle and port, where the operation that has it may go instead, itself among them. */
  private choices: Uint16Array;
  /** Of the last {@link freeable} search, through which other port each one was reached. */
  private readonly reachedFrom: Int8Array;
  /** Per cycle and bank of the data cache, loads served. */
  private banks = new Uint16Array(1 << 9);
  /** Jobs of each unpipelined unit. */
  private readonly units: readonly UnitJobs[];
  /** Per scheduler, the start cycles of the operations in it. */
  private readonly waiting: readonly MinHeap[];
  private readonly schedulerOf: readonly number[];

  constructor(core: CoreDescription) {
    this.core = core;
    this.choices = new Uint16Array(this.taken.length * core.ports);
    this.reachedFrom = new Int8Array(core.ports);
    this.units = Array.from({ length: UNITS }, () => new UnitJobs());
    this.waiting = core.schedulers.map(() => new MinHeap());
    this.schedulerOf = Array.from({ length: core.ports }, (_, port) =>
      core.schedulers.findIndex(({ ports }) => (ports >> port) & 1),
    );
  }

  /** Cycle from which the scheduler that got the last operation has room for another. */
  room = 0;

  /**
   * @param allowed ports it may go to, one bit each
   * @param ready cycle from which its operands are there
   * @param bank bank of the data cache that it reads, or -1
   * @returns cycle in which it starts
   */
  start({ unit, busy }: Uop, allowed: number, ready: number, bank: number): number {
    // Without a unit of its own, what takes longer than a cycle holds its port.
    const held = unit < 0 && busy > 0 ? Math.ceil(busy / TICKS_PER_CYCLE) : 1;
    const free = (cycle: number) => this.firstFree(allowed, cycle, bank, held);
    const at = unit < 0 ? free(ready) : this.units[unit].add(busy, ready, free);
    if (held === 1) this.take(at, allowed);
    else this.hold(at, lowestBit(this.portsFree(allowed, at, held)), held);
    if (bank >= 0) this.banks[at] += 1 << (COUNTER_BITS * bank);
    this.schedule(this.schedulerOf[lowestBit(allowed)], at);
    return at;
  }

  /** First cycle from which one of the ports is free for so many, and the bank of the cache. */
  private firstFree(ports: number, from: number, bank: number, cycles: number): number {
    for (let at = from; ; at++) {
      if (at + cycles > this.taken.length) this.grow(at + cycles);
      if (!this.bankFree(at, bank)) continue;
      if (this.portsFree(ports, at, cycles) !== 0) return at;
      if (cycles === 1 && this.freeable(at, ports) >= 0) return at;
    }
  }

  /** Those of the ports that are free for so many cycles. */
  private portsFree(ports: number, from: number, cycles: number): number {
    let free = ports;
    for (let at = from; at < from + cycles; at++) free &= ~this.taken[at];
    return free;
  }

  /**
   * Searches a port that is free in the cycle, or becomes one of `ports` by operations moving on to others of theirs:
   * an augmenting path of the matching of operations and ports.
   * @returns the free port at the path's end, or -1
   */
  private freeable(cycle: number, ports: number): number {
    const { core, reachedFrom } = this;
    const taken = this.taken[cycle];
    for (let rest = ports; rest !== 0; rest &= rest - 1) reachedFrom[lowestBit(rest)] = -1;
    let reached = ports;
    for (let seen = 0; reached !== seen; ) {
      const port = lowestBit(reached & ~seen);
      if (((taken >> port) & 1) === 0) return port;
      seen |= 1 << port;
      const further = this.choices[cycle * core.ports + port] & ~reached;
      for (let rest = further; rest !== 0; rest &= rest - 1) reachedFrom[lowestBit(rest)] = port;
      reached |= further;
    }
    return -1;
  }

  /** Gives an operation a port of the cycle; there is one. */
  private take(cycle: number, ports: number): void {
    const row = cycle * this.core.ports;
    let port = this.freeable(cycle, ports);
    this.taken[cycle] |= 1 << port;
    for (let from = this.reachedFrom[port]; from >= 0; from = this.reachedFrom[port]) {
      this.choices[row + port] = this.choices[row + from];
      port = from;
    }
    this.choices[row + port] = ports;
  }

  private hold(from: number, port: number, cycles: number): void {
    for (let cycle = from; cycle < from + cycles; cycle++) {
      this.taken[cycle] |= 1 << port;
      this.choices[cycle * this.core.ports + port] = 1 << port;
    }
  }

  private bankFree(cycle: number, bank: number): boolean {
    if (bank < 0) return true;
    const served = (this.banks[cycle] >> (COUNTER_BITS * bank)) & ((1 << COUNTER_BITS) - 1);
    return served < this.core.loadsPerBank;
  }

  private schedule(scheduler: number, start: number): void {
    const waiting = this.waiting[scheduler];
    waiting.push(start);
    // An entry is free when its operation starts.
    this.room = waiting.size > this.core.schedulers[scheduler].entries ? waiting.pop() : 0;
  }

  private grow(atLeast: number): void {
    let size = this.taken.length;
    while (size <= atLeast) size *= 2;
    this.taken = longer(this.taken, size);
    this.banks = longer(this.banks, size);
    this.choices = longer(this.choices, size * this.core.ports);
  }
}

function longer(old: Uint16Array, size: number) {
  const array = new Uint16Array(size);
  array.set(old);
  return array;
}
