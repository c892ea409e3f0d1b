// An out-of-order core as a scoreboard: instructions are taken in program order, each operation gets the first cycle in
// which its operands are there and its port is free. Older operations have chosen before, which is what a scheduler
// does that picks the oldest first. Approximate: ports are bound at rename, nothing is ever cancelled or replayed.
import type { CoreDescription } from './core.ts';
import type { Access, CostedInstruction, Uop } from './instruction.ts';
import type { Places } from './program.ts';
import { TICKS_PER_CYCLE } from './units.ts';

/** When a value is there. Names that share a value share the object. */
interface Value {
  ready: number;
}

interface StoredBytes {
  readonly address: number;
  readonly width: number;
  readonly data: Value;
  readonly locked: boolean;
  /** Cycle in which it is written to the cache; 0 before that is known. */
  committed: number;
}

const ALWAYS: Value = { ready: 0 };
/** A load of the middle of a store's bytes is not renamed. */
const SLOW = 381;

export class Scoreboard {
  private readonly core: CoreDescription;
  private values: Value[];
  /** Per cycle the ports that are taken. */
  private busy = new Uint16Array(1 << 14);
  /** Operations bound to each port that have not started at the rename cycle. */
  private readonly load: Int32Array;
  private loadCycle = 0;
  private readonly unitFree = [0, 0, 0, 0];
  private renameCycle = 0;
  private slotsLeft: number;
  private readonly retireOf: Int32Array;
  private count = 0;
  private lastRetire = 0;
  private retiredInCycle = 0;
  /** Per scheduler the start cycles of the operations in it, a binary heap. */
  private readonly waiting: number[][];
  /** Number of each port's scheduler. */
  private readonly schedulerOf: number[];
  private stores: StoredBytes[] = [];
  /** Cycles in which the last stores were written, a ring; and the line and number of those in the last cycle. */
  private readonly commits: Int32Array;
  private storeCount = 0;
  private lastCommit = 0;
  private commitLine = -1;
  private commitsInCycle = 0;
  /** Per cycle, two bits a bank: loads served. */
  private banks = new Uint16Array(1 << 14);
  /** Ticks that rounding a forwarding time to cycles has left. */
  private remainder = 0;
  private readonly loop: boolean;
  private readonly learnt: boolean;
  private lockEnd = 0;
  /** Cycle in which the last store was written that was not locked. */
  private plainCommit = 0;

  /**
   * @param loop the code runs again and again
   * @param learnt the core has learnt which store feeds which load
   */
  constructor(core: CoreDescription, loop: boolean, learnt: boolean) {
    this.core = core;
    this.loop = loop;
    this.learnt = learnt;
    this.commits = new Int32Array(core.storeBuffer);
    this.values = Array.from({ length: core.values }, () => ALWAYS);
    this.load = new Int32Array(core.ports);
    this.waiting = core.schedulers.map(() => []);
    this.schedulerOf = Array.from({ length: core.ports }, (_, port) =>
      core.schedulers.findIndex(({ ports }) => (ports >> port) & 1),
    );
    this.slotsLeft = core.width;
    this.retireOf = new Int32Array(core.window);
  }

  /** Cycle in which the last branch was found right or wrong. */
  branchResolved = 0;

  /** Cycle in which the last instruction so far has retired and the last store is written. */
  get cycle(): number {
    return Math.max(this.lastRetire, this.lastCommit);
  }

  /** @param delivered cycle from which the front end has the instruction */
  issue(insn: CostedInstruction, delivered: number, places: Places, taken: boolean): void {
    const slots = insn.repeat === null ? insn.slots : insn.repeat.slots(places.count, this.loop);
    const cycle = this.rename(insn, slots, delivered);
    let done = insn.repeat === null ? cycle : this.renameCycle;
    for (const uop of insn.uops) done = Math.max(done, this.place(uop, insn, cycle, places, taken));
    this.retire(insn, done);
    for (const uop of insn.uops) {
      if (uop.store < 0) continue;
      this.commit(places.addresses[uop.store], insn.accesses[uop.store].width);
      this.stores[this.stores.length - 1].committed = this.lastCommit;
      if (insn.locked === null) this.plainCommit = this.lastCommit;
    }
  }

  private rename(insn: CostedInstruction, wanted: number, delivered: number): number {
    const { core } = this;
    const oldest = this.retireOf[this.count % core.window];
    let from = Math.max(delivered, oldest);
    if (insn.uops.some((uop) => uop.store >= 0))
      from = Math.max(from, this.commits[this.storeCount % core.storeBuffer]);
    if (from > this.renameCycle) this.advance(from);
    let slots = wanted;
    if (slots > this.slotsLeft && this.slotsLeft < core.width) this.advance(this.renameCycle + 1);
    const first = this.renameCycle;
    while (slots > this.slotsLeft) {
      slots -= this.slotsLeft;
      this.advance(this.renameCycle + 1);
    }
    this.slotsLeft -= slots;
    return insn.microcoded ? this.renameCycle : first;
  }

  private advance(cycle: number): void {
    this.renameCycle = cycle;
    this.slotsLeft = this.core.width;
  }

  private place(
    uop: Uop,
    insn: CostedInstruction,
    cycle: number,
    places: Places,
    taken: boolean,
  ): number {
    const { core, values } = this;
    if (uop.ports === 0) {
      const source = uop.reads.length > 0 ? values[uop.reads[0]] : ALWAYS;
      for (const value of uop.writes) values[value] = source;
      return cycle;
    }
    let ready = cycle + 1;
    for (const value of uop.reads) ready = Math.max(ready, values[value].ready);
    const branch = taken && insn.flow === 'branch';
    const bank = uop.load >= 0 ? Math.floor(places.addresses[uop.load] / 8) & 7 : -1;
    const start = this.start(branch ? core.takenBranchPorts : uop.ports, ready, cycle, uop, bank);
    const result = { ready: start + uop.latency };
    if (insn.flow === 'branch') this.branchResolved = start + 1;
    if (uop.load >= 0 && insn.locked !== null) this.lock(insn, insn.locked, ready, result);
    else if (uop.load >= 0 && core.followsStores) {
      this.forward(places.addresses[uop.load], insn.accesses[uop.load], result, cycle);
    }
    for (const value of uop.writes) values[value] = result;
    if (uop.store >= 0) {
      const { width } = insn.accesses[uop.store];
      const data = uop.reads.length > 0 ? values[uop.reads[0]] : ALWAYS;
      this.stores.push({
        address: places.addresses[uop.store],
        width,
        data,
        locked: insn.locked !== null,
        committed: 0,
      });
      if (this.stores.length > 64) this.stores = this.stores.slice(-32);
    }
    return Math.max(start + 1, uop.writes.length > 0 ? result.ready : 0);
  }

  private start(ports: number, ready: number, cycle: number, uop: Uop, bank: number): number {
    let from = ready;
    if (uop.unit >= 0) from = Math.max(from, Math.ceil(this.unitFree[uop.unit] / TICKS_PER_CYCLE));
    const { binding } = this.core;
    const allowed = binding === 'rename' ? 1 << this.leastLoaded(ports, cycle) : ports;
    const at = this.firstFree(allowed, from, bank);
    const bit = allowed & ~this.busy[at] & -(allowed & ~this.busy[at]);
    const port = 31 - Math.clz32(bit);
    this.busy[at] |= bit;
    if (bank >= 0) this.banks[at] += 1 << (2 * bank);
    if (uop.unit >= 0) {
      this.unitFree[uop.unit] = Math.max(this.unitFree[uop.unit], at * TICKS_PER_CYCLE) + uop.busy;
    }
    this.load[port]++;
    this.schedule(port, at);
    return at;
  }

  /** First cycle in which one of the ports is free, and the bank of the cache that is read. */
  private firstFree(ports: number, from: number, bank: number): number {
    for (let at = from; ; at++) {
      if (at >= this.busy.length) this.grow(at);
      if ((this.busy[at] & ports) !== ports && this.bankFree(at, bank)) return at;
    }
  }

  /** The allowed port with the fewest operations waiting. */
  private leastLoaded(ports: number, cycle: number): number {
    for (; this.loadCycle < cycle; this.loadCycle++) {
      for (let taken = this.busy[this.loadCycle]; taken !== 0; taken &= taken - 1) {
        this.load[31 - Math.clz32(taken & -taken)]--;
      }
    }
    let best = -1;
    for (let rest = ports; rest !== 0; rest &= rest - 1) {
      const port = 31 - Math.clz32(rest & -rest);
      if (best < 0 || this.load[port] < this.load[best]) best = port;
    }
    return best;
  }

  private grow(atLeast: number): void {
    let size = this.busy.length;
    while (size <= atLeast) size *= 2;
    const larger = new Uint16Array(size);
    larger.set(this.busy);
    this.busy = larger;
    const banks = new Uint16Array(size);
    banks.set(this.banks);
    this.banks = banks;
  }

  /** Holds up the renamer while the scheduler is full: an entry is free when its operation starts. */
  private schedule(port: number, start: number): void {
    const number = this.schedulerOf[port];
    const waiting = this.waiting[number];
    push(waiting, start);
    if (waiting.length <= this.core.schedulers[number].entries) return;
    const free = pop(waiting);
    if (free > this.renameCycle) this.advance(free);
  }

  private bankFree(cycle: number, bank: number): boolean {
    return bank < 0 || ((this.banks[cycle] >> (2 * bank)) & 3) < this.core.loadsPerBank;
  }

  /** Gives a load the data of an earlier store instead of the cache's. */
  private forward(address: number, access: Access, result: Value, cycle: number): void {
    const { width } = access;
    for (let i = this.stores.length - 1; i >= 0; i--) {
      const store = this.stores[i];
      if (address + width <= store.address || store.address + store.width <= address) continue;
      const inside = address + width <= store.address + store.width && address === store.address;
      const covered = address >= store.address && address + width <= store.address + store.width;
      if (!covered) {
        result.ready = Math.max(result.ready, store.committed + this.core.blockedForwarding);
        return;
      }
      // What a locked operation wrote is there when it has ended.
      if (store.locked) {
        result.ready = Math.max(result.ready, store.committed + this.core.lockedLoad);
        return;
      }
      const way = this.learnt ? access.loopForwarding : access.forwarding;
      const ticks = (inside ? way : SLOW) + this.remainder;
      const delay = Math.floor(ticks / TICKS_PER_CYCLE);
      this.remainder = ticks % TICKS_PER_CYCLE;
      if (delay < 2) result.ready = Math.max(cycle, store.data.ready + delay);
      else result.ready = Math.max(result.ready, store.data.ready + delay);
      return;
    }
  }

  /** A locked operation starts when its operands are there and every store before it is written. */
  private lock(
    insn: CostedInstruction,
    { apart, alone }: { readonly apart: number; readonly alone: number },
    ready: number,
    result: Value,
  ): void {
    let operands = ready;
    for (const uop of insn.uops) {
      if (uop.load >= 0) continue;
      for (const value of uop.reads) {
        if (value < this.core.temporaries) {
          operands = Math.max(operands, this.values[value].ready);
        }
      }
    }
    const before = this.lockEnd;
    this.lockEnd = before + apart;
    // What the last locked operation itself has left is there in time.
    if (operands > before + 4) this.lockEnd = Math.max(this.lockEnd, operands + alone);
    if (this.plainCommit > before)
      this.lockEnd = Math.max(this.lockEnd, this.plainCommit + alone - 2);
    result.ready = this.lockEnd;
  }

  /** Writes stores to the cache in program order: so many to one line in a cycle. */
  private commit(address: number, width: number): void {
    const { core } = this;
    const line = Math.floor(address / core.line);
    const last = Math.floor((address + width - 1) / core.line);
    const joins =
      line === this.commitLine && last === line && this.commitsInCycle < core.storesPerLine;
    if (this.lastRetire > this.lastCommit || !joins) {
      this.lastCommit = Math.max(this.lastRetire, this.lastCommit + 1 + last - line);
      this.commitsInCycle = 0;
    }
    this.commitLine = last;
    this.commitsInCycle++;
    this.commits[this.storeCount % core.storeBuffer] = this.lastCommit;
    this.storeCount++;
  }

  private retire(insn: CostedInstruction, done: number): void {
    const { core } = this;
    if (done > this.lastRetire) {
      this.lastRetire = done;
      this.retiredInCycle = 0;
    }
    for (let slot = 0; slot < Math.min(insn.slots, core.window); slot++) {
      if (this.retiredInCycle === core.retireWidth) {
        this.lastRetire++;
        this.retiredInCycle = 0;
      }
      this.retiredInCycle++;
      this.retireOf[this.count % core.window] = this.lastRetire;
      this.count++;
    }
  }
}

function push(heap: number[], item: number): void {
  let at = heap.length;
  heap.push(item);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent] <= item) break;
    heap[at] = heap[parent];
    at = parent;
  }
  heap[at] = item;
}

function pop(heap: number[]): number {
  const least = heap[0];
  const item = heap.pop() as number;
  if (heap.length === 0) return least;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= item) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = item;
  return least;
}
