// What the steps of several CPUs touch, and from it two things: which steps commute, and when two ways led to one state.
//
// Two steps commute if neither changes what the other looks at or changes; additions commute among themselves. What a CPU
// ever touches in any run is kept (`ever`), so that a scheduler can ask whether a step concerns anybody else at all.
//
// A state is what everything shared holds now, and where each CPU stands. A CPU is deterministic: where it stands follows
// from what it has seen, so its place is a hash over the values of all that it looked at, in order. A value is
// hashed to 32 bits and a state to 53: two of a million states are taken for one with a chance below 10^-3.
import type { Ram } from '../emulator/ram.ts';
import { type AccessLog, ADDED, CHANGED, LOOKED, type Shared } from '../mm/context.ts';

/** A word of RAM by its number, or an object by its number from here on. */
type Key = number;
const FIRST_OBJECT = 2 ** 30;

export class Footprints implements AccessLog {
  /** What each CPU has touched in any run, and how. */
  private readonly ever: Map<Key, number>[] = [];
  /** `ever` now holds a conflict between two CPUs that it did not hold before. */
  grew = false;
  /** What the present step has touched so far. */
  readonly step = new Map<Key, number>();
  private cpu = 0;
  private readonly ram: Ram;
  private readonly objects: Shared[] = [];
  private readonly keys = new Map<Shared, Key>();
  /** By number: the object's label, made unique, and its hash. */
  private readonly labels: string[] = [];
  private readonly labelHashes: number[] = [];
  /** What was taken over of objects that have not been met yet, by label. */
  private readonly learnt = new Map<string, readonly number[]>();
  private readonly tlbEntries: () => Iterable<Shared & { readonly va: bigint }>;
  /** Hash of each thing's value at the start of every run, and now if it was touched in this one. */
  private readonly first = new Map<Key, number>();
  private readonly now = new Map<Key, number>();
  /** Sums over what differs from the start. */
  private sumA = 0;
  private sumB = 0;
  /** What each CPU has seen. */
  private readonly seenA: number[] = [];
  private readonly seenB: number[] = [];

  /** @param tlbEntries those that instructions of any run asked for */
  constructor(
    ram: Ram,
    cpus: number,
    tlbEntries: () => Iterable<Shared & { readonly va: bigint }>,
  ) {
    this.ram = ram;
    this.tlbEntries = tlbEntries;
    for (let cpu = 0; cpu < cpus; cpu++) this.ever.push(new Map());
    this.restart();
  }

  /** What is known of all CPUs, by names that mean the same in another process. */
  save(): [name: string, hows: number[]][] {
    const names = new Set(this.ever.flatMap((of) => [...of.keys()]));
    return [...names].map((key) => [
      key < FIRST_OBJECT ? `${key}` : `:${this.labels[key - FIRST_OBJECT]}`,
      this.ever.map((of) => of.get(key) ?? 0),
    ]);
  }

  /** Takes over what another process has learnt. Call it before the first run. */
  load(saved: readonly (readonly [string, readonly number[]])[]): void {
    for (const [name, hows] of saved) {
      if (name.startsWith(':')) this.learnt.set(name.slice(1), hows);
      else this.learn(Number(name), hows);
    }
  }

  private learn(key: Key, hows: readonly number[]): void {
    if (!this.first.has(key)) this.first.set(key, this.hashOf(key));
    for (const [cpu, how] of hows.entries()) if (how !== 0) this.ever[cpu].set(key, how);
  }

  /** A run begins at the start. */
  restart(): void {
    this.now.clear();
    this.step.clear();
    this.sumA = 0;
    this.sumB = 0;
    for (let cpu = 0; cpu < this.ever.length; cpu++) {
      this.seenA[cpu] = 0x9e37_79b9 ^ cpu;
      this.seenB[cpu] = 0x85eb_ca6b ^ cpu;
    }
  }

  /** A CPU's step begins. @param kind tells steps apart that look at nothing */
  begin(cpu: number, kind = 0x51ed): void {
    this.cpu = cpu;
    this.step.clear();
    this.saw(kind);
  }

  /** The step is done: what it touched now has its new value. */
  end(): void {
    const ever = this.ever[this.cpu];
    for (const [key, how] of this.step) {
      const before = ever.get(key) ?? 0;
      if ((before | how) !== before) this.remember(key, before, before | how);
      if ((how & (CHANGED | ADDED)) !== 0) this.update(key);
    }
  }

  /** True if the step just done does not commute with something that one of `others` may do. */
  concerns(others: readonly number[]): boolean {
    for (const [key, how] of this.step) {
      for (const cpu of others) {
        if (cpu !== this.cpu && conflict(how, this.ever[cpu].get(key) ?? 0)) return true;
      }
    }
    return false;
  }

  /** Hash of the present state. @param more what else is part of it, a small number */
  state(more: number): number {
    let a = mix(this.sumA, more);
    let b = mix(this.sumB, more ^ 0x2545);
    for (let cpu = 0; cpu < this.seenA.length; cpu++) {
      a = mix(a, this.seenA[cpu]);
      b = mix(b, this.seenB[cpu]);
    }
    return (a >>> 0) * 2 ** 21 + (b >>> 11);
  }

  /** Hash of what everything shared holds, wherever the CPUs stand. */
  sharedState(): number {
    return (this.sumA >>> 0) * 2 ** 21 + (this.sumB >>> 11);
  }

  // ---- AccessLog ----

  word(pa: number, how: number): void {
    if (this.ram.contains(pa)) this.touch(Math.floor(pa / 8), how);
  }

  range(pa: number, bytes: number, how: number): void {
    const from = Math.floor(pa / 8);
    const to = Math.ceil((pa + bytes) / 8);
    for (const key of this.first.keys()) if (key >= from && key < to) this.touch(key, how);
  }

  object(shared: Shared, how: number): void {
    this.touch(this.keyOf(shared), how);
  }

  flush(start: bigint, end: bigint): void {
    for (const entry of this.tlbEntries()) {
      if (entry.va >= start && entry.va < end) this.touch(this.keyOf(entry), CHANGED);
    }
  }

  /** The step may touch anything. */
  everything(): void {
    for (const key of this.first.keys()) this.touch(key, LOOKED | CHANGED);
  }

  private touch(key: Key, how: number): void {
    const before = this.step.get(key);
    if (before !== undefined && (before | how) === before) return;
    this.step.set(key, (before ?? 0) | how);
    if (!this.first.has(key)) this.first.set(key, this.hashOf(key));
    if ((how & LOOKED) !== 0 && ((before ?? 0) & LOOKED) === 0) {
      this.saw(mix(this.nameOf(key), this.hashOf(key)));
    }
  }

  private keyOf(shared: Shared): Key {
    let key = this.keys.get(shared);
    if (key === undefined) {
      key = FIRST_OBJECT + this.objects.length;
      let { label } = shared;
      for (let n = 2; this.labels.includes(label); n++) label = `${shared.label} #${n}`;
      this.objects.push(shared);
      this.labels.push(label);
      this.labelHashes.push(hashText(label));
      this.keys.set(shared, key);
      const hows = this.learnt.get(label);
      if (hows !== undefined) this.learn(key, hows);
    }
    return key;
  }

  private remember(key: Key, before: number, after: number): void {
    const { cpu } = this;
    this.ever[cpu].set(key, after);
    if (this.grew) return;
    for (let other = 0; other < this.ever.length; other++) {
      if (other === cpu) continue;
      const theirs = this.ever[other].get(key) ?? 0;
      if (conflict(after, theirs) && !conflict(before, theirs)) this.grew = true;
      // Steps that touched it less were judged by what was known then.
      else if (theirs !== 0 && conflict(after, LOOKED) !== conflict(before, LOOKED))
        this.grew = true;
    }
  }

  private update(key: Key): void {
    const first = this.first.get(key)!;
    const before = this.now.get(key) ?? first;
    const after = this.hashOf(key);
    if (after === before) return;
    this.now.set(key, after);
    if (before !== first) this.add(key, before, -1);
    if (after !== first) this.add(key, after, 1);
  }

  private add(key: Key, value: number, sign: 1 | -1): void {
    const name = this.nameOf(key);
    this.sumA = (this.sumA + sign * mix(name, value)) | 0;
    this.sumB = (this.sumB + sign * mix(value ^ 0x1b87, name)) | 0;
  }

  /** A number that means the same thing in every process. */
  private nameOf(key: Key): number {
    return key < FIRST_OBJECT ? key : this.labelHashes[key - FIRST_OBJECT];
  }

  private saw(value: number): void {
    this.seenA[this.cpu] = mix(this.seenA[this.cpu], value);
    this.seenB[this.cpu] = mix(value ^ 0x3c6e, this.seenB[this.cpu]);
  }

  private hashOf(key: Key): number {
    if (key < FIRST_OBJECT) {
      const index = this.ram.wordIndex(key * 8);
      return mix(this.ram.word(index), this.ram.word(index + 1));
    }
    const value = this.objects[key - FIRST_OBJECT].fingerprint();
    return typeof value === 'number' ? mix(value | 0, value / 2 ** 32) : hashText(value);
  }
}

/** True if two accesses to one thing do not commute. 0 is none. */
function conflict(a: number, b: number): boolean {
  if (a === 0 || b === 0) return false;
  if (((a | b) & CHANGED) !== 0) return true;
  return ((a & ADDED) !== 0 && (b & LOOKED) !== 0) || ((a & LOOKED) !== 0 && (b & ADDED) !== 0);
}

/** Two 32-bit words into one: the finalizer of MurmurHash3 over both. */
function mix(a: number, b: number): number {
  let h = Math.imul(a ^ 0x2c1b_3c6d, 0xcc9e_2d51);
  h = (h << 15) | (h >>> 17);
  h = Math.imul(h ^ b, 0x1b87_3593);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85eb_ca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2_ae35);
  return h ^ (h >>> 16);
}

function hashText(text: string): number {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = mix(hash, text.charCodeAt(i));
  return hash;
}
