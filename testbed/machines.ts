// Machines used again: RAM and vCPUs cost far more to make than to bring back to their first state. A machine that is
// given back has its RAM zeroed where it was written, its vCPUs' registers restored and their caches dropped; translated
// code goes when the next code is loaded.
import { type Condemned, condemn } from '../emulator/condemn.ts';
import type { CpuDescription } from '../emulator/engine.ts';
import {
  type AccessKind,
  type Cpu,
  type CpuOptions,
  type Engine,
  FETCH,
  PERM_W,
  type Translator,
  WRITE,
} from '../emulator/engine.ts';
import { Ram } from '../emulator/ram.ts';
import { type Restore, SAVE, type Saveable } from '../emulator/snapshot.ts';
import { SharedCode } from './shared-code.ts';

/** What the vCPUs of a machine count, see CpuOptions. */
export type MachineOptions = Required<Pick<CpuOptions, 'counting' | 'metering' | 'accesses'>>;

/** Machines kept idle. A run of one scenario after another needs one of each kind. */
const IDLE_KEPT = 4;

/** Hands translations on to whoever uses the vCPU now, and notes which frames the guest may write. */
class Relay implements Translator {
  target: Translator | null = null;
  pa = 0;
  perms = 0;
  private readonly ram: Ram;
  private readonly code: SharedCode;
  private readonly cpu: number;

  constructor(ram: Ram, code: SharedCode, cpu: number) {
    this.ram = ram;
    this.code = code;
    this.cpu = cpu;
  }

  translate(hi: number, lo: number, kind: AccessKind): boolean {
    const { target } = this;
    if (target === null || !target.translate(hi, lo, kind)) return false;
    this.pa = target.pa;
    this.perms = target.perms;
    if (!this.ram.contains(target.pa)) return true;
    if (kind === FETCH) this.code.fetched(this.cpu, target.pa);
    if (target.perms & PERM_W) {
      if (kind === WRITE || this.ram.isMarked(target.pa)) {
        this.ram.markDirty(target.pa);
        this.code.writable(this.cpu, target.pa);
      }
      // The first write after a snapshot asks, so that the snapshot gets the frame before it.
      else this.perms &= ~PERM_W;
    }
    return true;
  }
}

interface Slot {
  readonly cpu: Cpu;
  readonly relay: Relay;
  /** As it was made. */
  readonly first: unknown;
}

/** One RAM and the vCPUs on it. */
export class Machine implements Saveable {
  readonly ram: Ram;
  /** As it was asked for. */
  readonly description: CpuDescription;
  private readonly refusing: CpuDescription;
  readonly options: CpuOptions;
  private readonly engine: Engine;
  private readonly slots: Slot[] = [];
  private readonly code: SharedCode;
  private used = 0;

  /** @param refusing the description as the engine is to have it */
  constructor(
    engine: Engine,
    description: CpuDescription,
    refusing: CpuDescription,
    size: number,
    options: CpuOptions,
  ) {
    this.engine = engine;
    this.description = description;
    this.refusing = refusing;
    this.ram = new Ram(0, size);
    this.code = new SharedCode(this.ram, this.slots);
    this.options = options;
  }

  /** The next vCPU, in its first state. @param translator answers until the machine is given back */
  takeCpu(translator: Translator): Cpu {
    const slot = this.slots[this.used] ?? this.makeSlot();
    this.used++;
    slot.relay.target = translator;
    return slot.cpu;
  }

  reset(): void {
    for (const slot of this.slots.slice(0, this.used)) resetSlot(slot);
    this.used = 0;
    this.ram.reset();
    // With several, one may write code that another has kept.
    if (this.slots.length === 1) this.slots[0].cpu.forgetCode();
    this.code.reset();
  }

  /** RAM, and which vCPUs are taken; whoever took a vCPU saves it. Nothing that they have cached outlives a change. */
  [SAVE](): Restore {
    const { ram, used } = this;
    const memory = ram.save();
    for (const { cpu } of this.slots) cpu.flushTlb();
    return () => {
      const changed = ram.restore(memory);
      for (const slot of this.slots.slice(used, this.used)) resetSlot(slot);
      this.used = used;
      for (const { cpu } of this.slots) {
        cpu.flushTlb();
        if (ranFrom(cpu, changed)) cpu.flushCode();
      }
    };
  }

  close(): void {
    for (const { cpu } of this.slots) cpu.close();
  }

  private makeSlot(): Slot {
    const { engine, refusing, ram, options, slots, code } = this;
    const relay = new Relay(ram, code, slots.length);
    const cpu = engine.createCpu(slots.length, refusing, ram, relay, options);
    const slot = { cpu, relay, first: cpu.save() };
    slots.push(slot);
    return slot;
  }
}

function resetSlot({ cpu, relay, first }: Slot): void {
  relay.target = null;
  cpu.interceptor = null;
  cpu.accessSink = null;
  cpu.restore(first);
  cpu.flushTlb();
}

/** True if the vCPU may have translated code of one of these frames. RAM begins at 0. */
function ranFrom({ executedFrames }: Cpu, frames: ReadonlySet<number>): boolean {
  for (const frame of frames) if (executedFrames.has(frame)) return true;
  return false;
}

/** What was set up on a machine and can be brought back to that state. */
export interface SetUp {
  readonly machine: Machine;
  readonly restore: Restore;
}

/** A machine that nobody uses, with what was set up on it under which key. */
interface Idle {
  readonly machine: Machine;
  readonly key: string | null;
  readonly setUp: SetUp | null;
}

/** Keys remembered to tell which set-ups come back. */
const MOST_KEYS = 1024;

/** Makes machines, and keeps those that are given back. */
export class Machines {
  private readonly engine: Engine;
  private readonly condemned: readonly Condemned[];
  private readonly witness: CpuOptions['witness'];
  /** Last given back first. */
  private readonly idle: Idle[] = [];
  private readonly keys = new Set<string>();

  /**
   * @param condemned encodings that these machines refuse beside those that every one does
   * @param witness of their vCPUs
   */
  constructor(
    engine: Engine,
    condemned: readonly Condemned[] = [],
    witness: CpuOptions['witness'] = null,
  ) {
    this.engine = engine;
    this.witness = witness;
    this.condemned = condemned;
  }

  /** True if the key was asked about before: what is set up under it is worth a snapshot. */
  comesBack(key: string): boolean {
    if (this.keys.has(key)) return true;
    if (this.keys.size >= MOST_KEYS) this.keys.clear();
    this.keys.add(key);
    return false;
  }

  /** What was set up under a key, as it was then; null if nothing is kept. */
  takeSetUp(key: string): SetUp | null {
    const at = this.idle.findIndex((idle) => idle.key === key);
    if (at < 0) return null;
    const { setUp } = this.idle.splice(at, 1)[0];
    setUp!.restore();
    return setUp;
  }

  /**
   * A machine in its first state: RAM zeroed, no vCPU taken.
   * @param size bytes of RAM
   */
  take(description: CpuDescription, size: number, wanted: MachineOptions): Machine {
    const fits = ({ machine: m }: Idle) =>
      m.ram.size === size &&
      m.options.counting === wanted.counting &&
      m.options.metering === wanted.metering &&
      m.options.accesses === wanted.accesses &&
      m.description === description;
    const blank = this.idle.findIndex((idle) => idle.setUp === null && fits(idle));
    const at = blank >= 0 || this.idle.length < IDLE_KEPT ? blank : this.idle.findLastIndex(fits);
    if (at < 0) {
      const known = condemn(description, this.condemned);
      const options = { ...wanted, witness: this.witness };
      return new Machine(this.engine, description, known, size, options);
    }
    const { machine, setUp } = this.idle.splice(at, 1)[0];
    if (setUp !== null) machine.reset();
    return machine;
  }

  /**
   * Takes a machine back; nobody may use it any more.
   * @param setUp what {@link takeSetUp} is to find under `key`
   */
  give(machine: Machine, key: string | null = null, setUp: SetUp | null = null): void {
    if (setUp === null) machine.reset();
    this.idle.unshift({ machine, key: setUp && key, setUp });
    if (this.idle.length > IDLE_KEPT) this.idle.pop()?.machine.close();
  }

  /** Closes all that nobody uses. */
  close(): void {
    for (const { machine } of this.idle.splice(0)) machine.close();
  }
}
