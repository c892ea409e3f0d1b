// Accesses of compiled code that its watch has stopped: to page tables, whose changes are told as the model's own, and to
// structures and locks of the model, which are brought up to date around them.
import { beginRawResSpinLock, type Lock, lockTaken, unlock } from '../../bpf/rqspinlock.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { type Stop, WRITE } from '../../emulator/engine.ts';
import { type Activity, CHANGED, LOOKED, type Step } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import type { Vcpu } from '../vcpu.ts';
import { CompiledEnd } from './compiled-end.ts';
import { accessOf, accessorOf } from './instruction-access.ts';
import type { Access, LaidMemory } from './laid.ts';
import type { Caught } from './watch.ts';

/** The entry that a callback is called for: its physical address, and what it maps. */
export interface EntryInHand {
  readonly ptep: number;
  readonly addr: VirtAddr;
}

/** One call that is under way. */
export interface Frame {
  readonly vcpu: Vcpu;
  readonly name: string;
  readonly entry: EntryInHand | null;
}

/** A lock of the model as compiled code sees it. */
export interface LockWord {
  readonly lock: Lock;
  readonly word: number;
}

export interface WatchedParts {
  readonly kernel: Kernel;
  /** Structures of the model. */
  readonly structures: LaidMemory;
  /** The lock whose word lies at `pa`, with the word's physical address; null: none. */
  lockAt(pa: number): LockWord | null;
  /** The address whose entry lies at `pa`; null where it is not known. */
  mappedBy(pa: number): VirtAddr | null;
}

export class WatchedAccesses {
  /** By CPU: errno that its last attempt to take a lock must fail with, or 0. */
  readonly lockErrors: number[] = [];
  private readonly parts: WatchedParts;

  constructor(parts: WatchedParts) {
    this.parts = parts;
  }

  /**
   * Lets one instruction touch what it was stopped at, and tells what it did to page tables.
   * @returns why it did not retire, or null
   */
  *letThrough(frame: Frame, first: Caught): Activity<Stop | null> {
    const { vcpu, name } = frame;
    const { context, ram } = this.parts.kernel;
    const { cpu } = vcpu;
    const watch = vcpu.watch!;
    const ip = cpu.readRegister(this.parts.kernel.arch.description.instructionPointer);
    const mnemonic = this.parts.kernel.instructionAt(virtAddr(ip))?.mnemonic ?? '';
    const accessor = accessorOf(mnemonic, first.kind);
    const held = first.watched === 'structure' ? this.parts.lockAt(first.pa) : null;
    if (held !== null) return yield* this.touchLock(vcpu, first, held);
    const access = accessOf(mnemonic, first.kind);
    if (context.stepping) {
      const table = first.watched === 'table';
      const pte: Step = { kind: 'pte', what: `${name}: ${accessor}` };
      const step = table ? pte : this.parts.structures.step(first, access);
      if (step !== null) yield step;
    }
    const how = accessor === 'ptep_get' ? LOOKED : LOOKED | CHANGED;
    const words = new Map<number, bigint>();
    const pages: bigint[] = [];
    let stop: Stop;
    for (let caught: Caught | null = first; ; ) {
      this.check(name, caught, access, ip);
      watch.granted.add(Math.floor(caught.pa / 0x1000));
      pages.push(caught.va);
      if (caught.watched === 'table') {
        const word = caught.pa - (caught.pa % 8);
        context.access?.word(word, how);
        for (const at of [word, word + 8]) if (ram.contains(at, 8)) words.set(at, ram.read64(at));
      }
      stop = cpu.run(1);
      caught = stop.reason === 'fault' ? watch.take(stop.va, stop.kind) : null;
      if (caught === null) break;
    }
    watch.granted.clear();
    for (const va of pages) cpu.flushTlbPage(virtAddr(va));
    this.end(name, this.parts.structures.settle(), ip);
    for (const [word, before] of words) this.tellChange(frame, word, before, accessor);
    return stop.reason === 'limit' || stop.reason === 'exit' ? null : stop;
  }

  /**
   * An instruction on the word of a lock, which says whether the lock is held: a read-modify-write tries to take it, a
   * store lets it go. Of a failure that a scenario wants, the slow path hears.
   */
  private *touchLock(vcpu: Vcpu, { va, pa, kind }: Caught, held: LockWord): Activity<Stop | null> {
    const { context, ram } = this.parts.kernel;
    const { lock, word } = held;
    const { cpu } = vcpu;
    const ip = cpu.readRegister(this.parts.kernel.arch.description.instructionPointer);
    const mnemonic = this.parts.kernel.instructionAt(virtAddr(ip))?.mnemonic ?? '';
    // A compare-and-swap may be stopped at its load.
    const takes = /xchg|^cas|^swp|^stl?xr|^bts|^ldset/.test(mnemonic);
    if (takes) this.lockErrors[vcpu.id] = yield* beginRawResSpinLock(context, lock);
    else if (kind === WRITE && context.stepping) {
      yield { kind: 'lock', what: `release ${lock.name}` };
    }
    const before = lock.holder >= 0 || (takes && this.lockErrors[vcpu.id] !== 0) ? 1 : 0;
    ram.write(word, Uint8Array.of(before, 0, 0, 0));
    const watch = vcpu.watch!;
    watch.granted.add(Math.floor(pa / 0x1000));
    const stop = cpu.run(1);
    watch.granted.clear();
    cpu.flushTlbPage(virtAddr(va));
    const after = ram.readUint(word, 4);
    if (takes && before === 0 && after !== 0n) lockTaken(context, lock);
    if (!takes && before !== 0 && after === 0n) unlock(context, lock);
    return stop.reason === 'limit' || stop.reason === 'exit' ? null : stop;
  }

  private check(name: string, caught: Caught, access: Access, ip: bigint): void {
    if (caught.watched !== 'structure') return;
    this.end(name, this.parts.structures.admit(caught, access !== 'read', name), ip);
  }

  private end(name: string, problem: string | null, ip: bigint): void {
    if (problem === null) return;
    throw new CompiledEnd(name, { outcome: 'halted', why: problem, ip: virtAddr(ip) });
  }

  private tellChange(frame: Frame, word: number, before: bigint, accessor: string): void {
    const { kernel, mappedBy } = this.parts;
    const { context, ram, events } = kernel;
    if (!events.on) return;
    const after = ram.read64(word);
    if (after === before) return;
    // Where an exchange is a loop around a store-exclusive, what it stores tells it from a compare-and-swap.
    const by = accessor === 'ptep_try_set' && after === 0n ? 'ptep_get_and_clear' : accessor;
    const va = word === frame.entry?.ptep ? frame.entry.addr : mappedBy(word);
    if (va === null) return;
    events.emit({ type: 'pteChange', cpu: context.cpu, va, before, after, by });
  }
}
