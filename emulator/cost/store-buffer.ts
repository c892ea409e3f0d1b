// Stores between their data and the cache: what later loads get from them, when they are written, and how locked
// operations wait for them. Approximate: addresses are compared in full, and a load that must wait for a store whose
// address is not known yet is not modelled.
import type { CoreDescription } from './core.ts';
import type { Access, Locked } from './instruction.ts';
import { TICKS_PER_CYCLE, ticks } from './units.ts';

/** When a value is there: a cycle. Names that share a value share the object. */
export interface Value {
  ready: number;
}

interface StoredBytes {
  readonly address: number;
  readonly width: number;
  readonly data: Value;
  readonly locked: boolean;
  /** Cycle in which it is written to the cache. */
  committed: number;
}

/** A load from the middle of a store's bytes is not renamed: measured, 6.35 cycles. */
const FROM_THE_MIDDLE = ticks(6.35);
/** Forwarding below two cycles is renaming: the load's own time does not count. */
const RENAMING_CYCLES = 2;
/** Cycles that a locked operation's operands may lag behind the last one's end, its own results: fit to measured blocks. */
const LOCK_RESULTS = 4;
/** Cycles by which a plain store's way to the cache overlaps with the next locked operation: fit to measured blocks. */
const LOCK_STORE_OVERLAP = 2;
/** Stores that a load may get its data from. */
const REMEMBERED = 64;

export class StoreBuffer {
  private readonly core: CoreDescription;
  private readonly learnt: boolean;
  private stores: StoredBytes[] = [];
  /** Cycles in which the last stores were written, a ring. */
  private readonly commits: Int32Array;
  private count = 0;
  private lastCommit = 0;
  private line = -1;
  private writtenInCycle = 0;
  /** Ticks that rounding a forwarding time to cycles has left. */
  private remainder = 0;
  private lockEnd = 0;
  /** Cycle in which the last store was written that was not locked. */
  private plainCommit = 0;

  /** @param learnt the core has learnt which store feeds which load */
  constructor(core: CoreDescription, learnt: boolean) {
    this.core = core;
    this.learnt = learnt;
    this.commits = new Int32Array(core.storeBuffer);
  }

  /** Cycle in which the last store is written. */
  get written(): number {
    return this.lastCommit;
  }

  /** Cycle from which there is room for another store. */
  get room(): number {
    return this.commits[this.count % this.core.storeBuffer];
  }

  store(address: number, width: number, data: Value, locked: boolean): void {
    this.stores.push({ address, width, data, locked, committed: 0 });
    if (this.stores.length > 2 * REMEMBERED) this.stores = this.stores.slice(-REMEMBERED);
  }

  /** Writes the last store to the cache, in program order: so many to one line in a cycle. */
  commit(retired: number): void {
    const { core } = this;
    const store = this.stores[this.stores.length - 1];
    const first = Math.floor(store.address / core.line);
    const last = Math.floor((store.address + store.width - 1) / core.line);
    const joins = first === this.line && last === first && this.writtenInCycle < core.storesPerLine;
    if (retired > this.lastCommit || !joins) {
      this.lastCommit = Math.max(retired, this.lastCommit + 1 + last - first);
      this.writtenInCycle = 0;
    }
    this.line = last;
    this.writtenInCycle++;
    this.commits[this.count % core.storeBuffer] = this.lastCommit;
    this.count++;
    store.committed = this.lastCommit;
    if (!store.locked) this.plainCommit = this.lastCommit;
  }

  /** Gives a load the data of an earlier store instead of the cache's. @param renamed cycle of its renaming */
  forward(address: number, access: Access, result: Value, renamed: number): void {
    const end = address + access.width;
    for (let i = this.stores.length - 1; i >= 0; i--) {
      const store = this.stores[i];
      const storeEnd = store.address + store.width;
      if (end <= store.address || storeEnd <= address) continue;
      if (store.locked)
        result.ready = Math.max(result.ready, store.committed + this.core.lockedLoad);
      else if (address < store.address || end > storeEnd) {
        result.ready = Math.max(result.ready, store.committed + this.core.blockedForwarding);
      } else this.pass(store, access, address, result, renamed);
      return;
    }
  }

  private pass(
    store: StoredBytes,
    access: Access,
    address: number,
    result: Value,
    renamed: number,
  ): void {
    const way = this.learnt ? access.loopForwarding : access.forwarding;
    const time = (address === store.address ? way : FROM_THE_MIDDLE) + this.remainder;
    const delay = Math.floor(time / TICKS_PER_CYCLE);
    this.remainder = time % TICKS_PER_CYCLE;
    const earliest = delay < RENAMING_CYCLES ? renamed : result.ready;
    result.ready = Math.max(earliest, store.data.ready + delay);
  }

  /**
   * A locked operation starts when its operands are there and every store before it is written.
   * @returns cycle in which it ends
   */
  lock({ apart, alone }: Locked, operands: number): number {
    const before = this.lockEnd;
    this.lockEnd = before + apart;
    if (operands > before + LOCK_RESULTS) this.lockEnd = Math.max(this.lockEnd, operands + alone);
    if (this.plainCommit > before) {
      this.lockEnd = Math.max(this.lockEnd, this.plainCommit + alone - LOCK_STORE_OVERLAP);
    }
    return this.lockEnd;
  }
}
