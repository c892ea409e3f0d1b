// The execution ports: which cycle an operation starts in. Operations come in program order and take the first cycle
// that their port has free, so an older one is never kept waiting by a younger: the oldest-first rule of a scheduler.
// Approximate: nothing is cancelled or replayed, and a write-back conflict does not exist.
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
  private taken = new Uint16Array(1 << 12);
  /** Per cycle and bank of the data cache, loads served. */
  private banks = new Uint16Array(1 << 12);
  /** Operations bound to each port that have not started in {@link loadCycle}. */
  private readonly load: Int32Array;
  private loadCycle = 0;
  /** Jobs of each unpipelined unit. */
  private readonly units: readonly UnitJobs[];
  /** Per scheduler, the start cycles of the operations in it. */
  private readonly waiting: readonly MinHeap[];
  private readonly schedulerOf: readonly number[];

  constructor(core: CoreDescription) {
    this.core = core;
    this.load = new Int32Array(core.ports);
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
   * @param renamed cycle in which it was renamed
   * @param bank bank of the data cache that it reads, or -1
   * @returns cycle in which it starts
   */
  start(uop: Uop, allowed: number, ready: number, renamed: number, bank: number): number {
    const { unit, busy } = uop;
    const bound =
      this.core.binding === 'rename' ? 1 << this.leastLoaded(allowed, renamed) : allowed;
    // Without a unit of its own, what takes longer than a cycle holds its port.
    const held = unit < 0 && busy > 0 ? Math.ceil(busy / TICKS_PER_CYCLE) : 1;
    const free = (cycle: number) => this.firstFree(bound, cycle, bank, held);
    const at = unit < 0 ? free(ready) : this.units[unit].add(busy, ready, free);
    const port = lowestBit(this.portsFree(bound, at, held));
    for (let cycle = at; cycle < at + held; cycle++) this.taken[cycle] |= 1 << port;
    if (bank >= 0) this.banks[at] += 1 << (COUNTER_BITS * bank);
    this.load[port]++;
    this.schedule(this.schedulerOf[port], at);
    return at;
  }

  /** First cycle from which one of the ports is free for so many, and the bank of the cache. */
  private firstFree(ports: number, from: number, bank: number, cycles: number): number {
    for (let at = from; ; at++) {
      if (at + cycles > this.taken.length) this.grow(at + cycles);
      if (this.portsFree(ports, at, cycles) !== 0 && this.bankFree(at, bank)) return at;
    }
  }

  /** Those of the ports that are free for so many cycles. */
  private portsFree(ports: number, from: number, cycles: number): number {
    let free = ports;
    for (let at = from; at < from + cycles; at++) free &= ~this.taken[at];
    return free;
  }

  private bankFree(cycle: number, bank: number): boolean {
    if (bank < 0) return true;
    const served = (this.banks[cycle] >> (COUNTER_BITS * bank)) & ((1 << COUNTER_BITS) - 1);
    return served < this.core.loadsPerBank;
  }

  /** The allowed port with the fewest operations waiting. */
  private leastLoaded(ports: number, cycle: number): number {
    for (; this.loadCycle < cycle; this.loadCycle++) {
      for (let started = this.taken[this.loadCycle]; started > 0; started &= started - 1) {
        this.load[lowestBit(started)]--;
      }
    }
    let best = -1;
    for (let rest = ports; rest !== 0; rest &= rest - 1) {
      const port = lowestBit(rest);
      if (best < 0 || this.load[port] < this.load[best]) best = port;
    }
    return best;
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
    const taken = new Uint16Array(size);
    taken.set(this.taken);
    this.taken = taken;
    const banks = new Uint16Array(size);
    banks.set(this.banks);
    this.banks = banks;
  }
}
