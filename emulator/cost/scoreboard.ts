// An out-of-order core as a scoreboard: instructions are renamed in program order, a width's worth a cycle; each of
// their operations starts in the first cycle in which its operands are there and its port is free; they retire in
// order. Approximate: what a core does on the wrong way of a branch is not modelled.
import type { CoreDescription } from './core.ts';
import type { CostedInstruction, Uop } from './instruction.ts';
import { Ports } from './ports.ts';
import type { Places } from './program.ts';
import { StoreBuffer, type Value } from './store-buffer.ts';

const ALWAYS: Value = { ready: 0 };
/** Bytes and number of the banks of the data cache. */
const BANK_BYTES = 8;
const BANKS = 8;

const bankOf = (address: number) => {
  const bank = Math.floor(address / BANK_BYTES) % BANKS;
  return bank < 0 ? bank + BANKS : bank;
};

/** One instruction on its way through the core. */
interface Passing {
  readonly insn: CostedInstruction;
  readonly places: Places;
  readonly taken: boolean;
  /** Cycle in which it was renamed. */
  readonly renamed: number;
}

export class Scoreboard {
  private readonly core: CoreDescription;
  private readonly loop: boolean;
  private readonly values: Value[];
  private readonly ports: Ports;
  private readonly stores: StoreBuffer;
  private renameCycle = 0;
  private slotsLeft: number;
  /** Cycles in which the last slots retired, a ring. */
  private readonly retired: Int32Array;
  private slotCount = 0;
  private lastRetire = 0;
  private retiredInCycle = 0;

  /**
   * @param loop the code runs again and again
   * @param learnt the core has learnt which store feeds which load
   */
  constructor(core: CoreDescription, loop: boolean, learnt: boolean) {
    this.core = core;
    this.loop = loop;
    this.values = Array.from({ length: core.values }, () => ALWAYS);
    this.ports = new Ports(core);
    this.stores = new StoreBuffer(core, learnt);
    this.slotsLeft = core.width;
    this.retired = new Int32Array(core.window);
  }

  /** Cycle in which the last branch was found right or wrong. */
  branchResolved = 0;

  /** Cycle in which everything so far has retired and is written to the cache. */
  get cycle(): number {
    return Math.max(this.lastRetire, this.stores.written);
  }

  /** @param delivered cycle from which the front end has the instruction */
  issue(insn: CostedInstruction, delivered: number, places: Places, taken: boolean): void {
    const slots = insn.repeat === null ? insn.slots : insn.repeat.slots(places.count, this.loop);
    const renamed = this.rename(insn, slots, delivered);
    const passing = { insn, places, taken, renamed };
    let done = this.renameCycle;
    for (const uop of insn.uops) done = Math.max(done, this.place(uop, passing));
    // What comes from microcode has mostly retired when its last slot is renamed.
    this.retire(insn.microcoded ? Math.min(slots, this.core.retireWidth) : slots, done);
    for (const { store } of insn.uops) if (store >= 0) this.stores.commit(this.lastRetire);
  }

  /** @returns cycle from which its operations may start: that of the first slot, of the last for microcode */
  private rename(insn: CostedInstruction, slots: number, delivered: number): number {
    const { core } = this;
    let from = Math.max(delivered, this.retired[this.slotCount % core.window]);
    if (insn.uops.some(({ store }) => store >= 0)) from = Math.max(from, this.stores.room);
    this.renameFrom(from);
    // An instruction is not split between cycles unless it fills them.
    if (slots > this.slotsLeft && this.slotsLeft < core.width)
      this.renameFrom(this.renameCycle + 1);
    const first = this.renameCycle;
    const beyond = slots - this.slotsLeft;
    if (beyond > 0) {
      const cycles = Math.ceil(beyond / core.width);
      this.renameFrom(this.renameCycle + cycles);
      this.slotsLeft = cycles * core.width - beyond;
    } else this.slotsLeft -= slots;
    return insn.microcoded ? this.renameCycle : first;
  }

  private renameFrom(cycle: number): void {
    if (cycle <= this.renameCycle) return;
    this.renameCycle = cycle;
    this.slotsLeft = this.core.width;
  }

  /** @returns cycle in which the operation is done */
  private place(uop: Uop, passing: Passing): number {
    const { insn, places, renamed } = passing;
    if (uop.ports === 0) {
      const source = uop.reads.length > 0 ? this.values[uop.reads[0]] : ALWAYS;
      for (const value of uop.writes) this.values[value] = source;
      return renamed;
    }
    const start = this.start(uop, passing);
    const result = { ready: start + uop.latency };
    if (insn.flow === 'branch') this.branchResolved = start + 1;
    if (uop.load >= 0) this.load(uop, passing, start, result);
    for (const value of uop.writes) this.values[value] = result;
    if (uop.store >= 0) {
      const data = uop.reads.length > 0 ? this.values[uop.reads[0]] : ALWAYS;
      const { width } = insn.accesses[uop.store];
      this.stores.store(places.addresses[uop.store], width, data, insn.locked !== null);
    }
    return Math.max(start + 1, uop.writes.length > 0 ? result.ready : 0);
  }

  private start(uop: Uop, { insn, places, taken, renamed }: Passing): number {
    let ready = renamed + 1;
    for (const value of uop.reads) ready = Math.max(ready, this.values[value].ready);
    const ports = taken && insn.flow === 'branch' ? this.core.takenBranchPorts : uop.ports;
    const bank = uop.load < 0 ? -1 : bankOf(places.addresses[uop.load]);
    const start = this.ports.start(uop, ports, ready, bank);
    this.renameFrom(this.ports.room);
    return start;
  }

  private load(uop: Uop, { insn, places, renamed }: Passing, start: number, result: Value): void {
    if (insn.locked !== null) {
      result.ready = this.stores.lock(insn.locked, Math.max(start, this.operandsReady(insn)));
    } else if (this.core.followsStores) {
      this.stores.forward(places.addresses[uop.load], insn.accesses[uop.load], result, renamed);
    }
  }

  /** Cycle from which the registers are there that an instruction reads, beside those of its address. */
  private operandsReady(insn: CostedInstruction): number {
    let ready = 0;
    for (const { load, reads } of insn.uops) {
      if (load >= 0) continue;
      for (const value of reads) {
        if (value < this.core.temporaries) ready = Math.max(ready, this.values[value].ready);
      }
    }
    return ready;
  }

  private retire(slots: number, done: number): void {
    const { core } = this;
    if (done > this.lastRetire) {
      this.lastRetire = done;
      this.retiredInCycle = 0;
    }
    for (let slot = 0; slot < slots; slot++) {
      if (this.retiredInCycle === core.retireWidth) {
        this.lastRetire++;
        this.retiredInCycle = 0;
      }
      this.retiredInCycle++;
      this.retired[this.slotCount % core.window] = this.lastRetire;
      this.slotCount++;
    }
  }
}
