// What the walkers and TLBs of AArch64 may still answer from: for each table entry that was stored to, the values that it
// had before, and which CPUs may yet see them. Memory itself holds the newest value, which everybody may see at once.
//
// The rules are those of Arm's formal model (aarch64.cat with the variant vmsa, herdtools7; DDI 0487, B2.3 and D8.16),
// for a memory whose plain accesses keep their order:
//
// - A walk that ends in a fault read memory at its own time, and kept nothing. But it may run ahead of the instructions in
//   front of it, back to the last context synchronization event (ISB, exception entry, exception return). So a CPU
//   may see the invalid entry that a store replaced until it synchronizes, where the store comes before that: its
//   own behind a DSB, another CPU's where the CPU saw it and then did a DSB or branched on it. With FEAT_ETS2
//   a walk that faults never runs ahead of an access.
// - A TLB may hold every valid entry that ever was, whether an access asked for it or not, until a TLBI. The TLBI counts
//   for entries whose replacement is ordered before it by a DSB, and is complete with the DSB that follows: then no
//   other CPU uses the entry. The CPU itself may until it synchronizes; not so with FEAT_ETS2.
// - Until the CPU that stored does a barrier (DSB, DMB, store-release), or somebody has seen the store, other CPUs' walkers
//   may see it late, whatever they do.
//
// The architecture sees to it that a store is seen at some time, and does not say when: here a CPU faults at most twice by
// one older value, as an access and the AT behind it do.
//
// Left out: tables of upper levels, dependencies through registers (a conditional branch counts as depending on every
// load before it), and stage 2.
import type { VirtAddr } from '../emulator/address.ts';
import { CHANGED, type KernelContext, LOOKED, type Shared, type TableOrder } from './context.ts';

/** A value that an entry had, and what stands between it and being forgotten. Sets of CPUs are masks. */
interface Old {
  readonly value: bigint;
  /** CPU that stored over it. */
  readonly by: number;
  /** Somebody else can have seen that store. */
  published: boolean;
  /** CPUs that may still see the value. */
  cpus: number;
  /** CPUs that have loaded, or stored, since that store: what a DSB of loads or stores alone goes by. */
  loaded: number;
  stored: number;
  /** CPUs for which that store comes before their next synchronization, or TLBI. */
  ordered: number;
  /** The same of those that need a synchronization in between for a TLBI as well. */
  branched: number;
  /** CPUs that forget the value when they next synchronize. */
  leaving: number;
  /** CPUs that have faulted by it, and those that have twice. */
  faulted: number;
  again: number;
}

/** A TLBI that waits for its DSB. */
interface Pending extends Named {
  readonly olds: readonly { readonly ptep: number; readonly old: Old }[];
  readonly cpus: number;
}

/** Pages in [start, end); null: all. */
export interface Named {
  readonly start: VirtAddr | null;
  readonly end: VirtAddr | null;
}

export interface TableHistoryParts {
  readonly context: KernelContext;
  readonly cpus: number;
  /** FEAT_ETS2. */
  readonly ets2: boolean;
  /** Whether a TLB may hold a translation by this entry: no fault for want of a valid entry or access flag. */
  cacheable(entry: bigint): boolean;
  /** Where the entry of an address lies. */
  ptepOf(va: VirtAddr): number | null;
  /** A TLBI is complete: what a CPU's TLB took up since is gone as well. */
  drop(cpu: number, named: Named): void;
}

export class TableHistory implements TableOrder {
  private readonly parts: TableHistoryParts;
  private readonly all: number;
  private readonly words = new Map<number, Old[]>();
  /** Of every entry that was stored to in any run: what each CPU may see of it. */
  private readonly views = new Map<number, readonly Shared[]>();
  private readonly pending: Pending[][] = [];

  constructor(parts: TableHistoryParts) {
    this.parts = parts;
    this.all = 2 ** parts.cpus - 1;
    this.restart();
  }

  restart(): void {
    this.words.clear();
    for (let cpu = 0; cpu < this.parts.cpus; cpu++) this.pending[cpu] = [];
  }

  /**
   * Values beside the present one that a walk of a CPU, or its TLB, may take for an entry, newest first.
   * @param current what memory holds
   */
  olderValues(cpu: number, ptep: number, current: bigint): bigint[] {
    this.touch(ptep, cpu, LOOKED);
    const values: bigint[] = [];
    for (const old of (this.words.get(ptep) ?? []).toReversed()) {
      const { value } = old;
      if (value === current || values.includes(value) || !this.visible(old, cpu)) continue;
      values.push(value);
    }
    return values;
  }

  /** CPUs that may use a translation by an older value of an entry, as pairs with that value. */
  *holders(): Generator<{ ptep: number; cpu: number; value: bigint }> {
    for (const [ptep, olds] of this.words) {
      for (const old of olds) {
        for (let cpu = 0; cpu < this.parts.cpus; cpu++) {
          if (!this.parts.cacheable(old.value) || !this.visible(old, cpu)) continue;
          this.touch(ptep, cpu, LOOKED);
          yield { ptep, cpu, value: old.value };
        }
      }
    }
  }

  private visible(old: Old, cpu: number): boolean {
    if ((old.cpus & (1 << cpu)) === 0) return false;
    if (this.parts.cacheable(old.value)) return true;
    if ((old.again & (1 << cpu)) !== 0) return false;
    return !this.parts.ets2 || (!old.published && old.by !== cpu);
  }

  // ---- TableOrder: what the CPU that the model runs for does ----

  stored(ptep: number, before: bigint, after: bigint, ordered: boolean): void {
    if (before === after) return;
    this.touchAll(ptep);
    const by = this.parts.context.cpu;
    const olds = this.words.get(ptep) ?? [];
    olds.push({
      value: before,
      by,
      published: ordered,
      cpus: this.all,
      loaded: 0,
      stored: 0,
      ordered: 0,
      branched: 0,
      leaving: 0,
      faulted: 0,
      again: 0,
    });
    this.words.set(ptep, olds);
  }

  accessed(loads: boolean, stores: boolean): void {
    const bit = 1 << this.parts.context.cpu;
    this.eachOld((old) => {
      if (loads) old.loaded |= bit;
      if (stores) old.stored |= bit;
    });
  }

  observed(ptep: number): void {
    const { cpu } = this.parts.context;
    const olds = this.words.get(ptep) ?? [];
    this.publish(ptep, (old) => old.by !== cpu, olds);
  }

  walked(ptep: number, value: bigint | null): void {
    const { cpu } = this.parts.context;
    const olds = this.words.get(ptep) ?? [];
    const at = olds.findIndex((old) => old.value === value);
    if (value !== null && !this.parts.cacheable(value)) this.faults(ptep, cpu, value, olds);
    this.publish(ptep, (old) => old.by !== cpu, at < 0 ? olds : olds.slice(0, at));
  }

  /** A CPU's walker has taken a value that faults. */
  private faults(ptep: number, cpu: number, value: bigint, olds: readonly Old[]): void {
    const bit = 1 << cpu;
    this.touch(ptep, cpu, LOOKED | CHANGED);
    for (const old of olds) {
      if (old.value !== value) continue;
      old.again |= old.faulted & bit;
      old.faulted |= bit;
    }
  }

  released(): void {
    const { cpu } = this.parts.context;
    for (const [ptep, olds] of this.words) this.publish(ptep, (old) => old.by === cpu, olds);
  }

  dsb(kind: 'full' | 'st' | 'ld', inner = true): void {
    const { cpu } = this.parts.context;
    const bit = 1 << cpu;
    if (kind !== 'ld' && inner) this.released();
    this.eachOld((old) => {
      const own = old.by === cpu;
      if (!own && (!old.published || !inner)) return;
      const stored = own ? bit : old.stored;
      const by = kind === 'full' ? bit : kind === 'st' ? stored : old.loaded;
      old.ordered |= by & bit;
    });
    if (kind === 'full') this.complete(inner);
  }

  branched(): void {
    const { cpu } = this.parts.context;
    this.eachOld((old) => {
      if (old.by !== cpu && old.published) old.branched |= old.loaded & (1 << cpu);
    });
  }

  synchronized(): void {
    const bit = 1 << this.parts.context.cpu;
    this.eachOld((old) => {
      old.ordered |= old.branched & bit;
      const faults = !this.parts.cacheable(old.value);
      if ((old.leaving & bit) !== 0 || (faults && (old.ordered & bit) !== 0)) old.cpus &= ~bit;
    });
    this.prune();
  }

  tlbi(start: VirtAddr | null, end: VirtAddr | null, broadcast: boolean): void {
    const { cpu } = this.parts.context;
    const bit = 1 << cpu;
    const named = start === null ? null : this.entriesOf(start, end!);
    const olds: { ptep: number; old: Old }[] = [];
    for (const ptep of this.views.keys()) {
      if (named !== null && !named.has(ptep)) continue;
      this.touch(ptep, cpu, LOOKED);
      for (const old of this.words.get(ptep) ?? []) {
        if ((old.ordered & bit) !== 0) olds.push({ ptep, old });
      }
    }
    this.pending[cpu].push({ start, end, olds, cpus: broadcast ? this.all : bit });
  }

  /** TLBI before a DSB are complete with it. @param inner false: DSB NSH, which waits for this CPU's own alone */
  private complete(inner: boolean): void {
    const { cpu } = this.parts.context;
    const bit = 1 << cpu;
    for (const { olds, cpus, start, end } of this.pending[cpu]) {
      const named = inner ? cpus : cpus & bit;
      for (let of = 0; of < this.parts.cpus; of++) {
        if ((named & (1 << of)) !== 0) this.parts.drop(of, { start, end });
      }
      for (const { ptep, old } of olds) {
        this.touchAll(ptep, named);
        old.cpus &= ~(this.parts.ets2 ? named : named & ~bit);
        old.leaving |= named & bit;
      }
    }
    if (inner) this.pending[cpu] = [];
    this.prune();
  }

  private publish(ptep: number, which: (old: Old) => boolean, olds: readonly Old[]): void {
    for (const old of olds) {
      if (old.published || !which(old)) continue;
      this.touchAll(ptep);
      old.published = true;
    }
  }

  /** Everything that this CPU knows of: its order with stores of others counts, even where there was none yet. */
  private eachOld(change: (old: Old) => void): void {
    const { cpu } = this.parts.context;
    for (const ptep of this.views.keys()) {
      this.touch(ptep, cpu, LOOKED | CHANGED);
      for (const old of this.words.get(ptep) ?? []) change(old);
    }
  }

  /** Values that nobody can see go. */
  private prune(): void {
    for (const [ptep, olds] of this.words) {
      if (olds.every(({ cpus }) => cpus !== 0)) continue;
      this.words.set(
        ptep,
        olds.filter(({ cpus }) => cpus !== 0),
      );
    }
  }

  private entriesOf(start: VirtAddr, end: VirtAddr): Set<number> {
    const size = BigInt(this.parts.context.config.pageSize);
    const named = new Set<number>();
    for (let va: bigint = start - (start % size); va < end; va += size) {
      const ptep = this.parts.ptepOf(va as VirtAddr);
      if (ptep !== null) named.add(ptep);
    }
    return named;
  }

  // ---- What a step looks at and changes ----

  private touchAll(ptep: number, cpus = this.all): void {
    for (let cpu = 0; cpu < this.parts.cpus; cpu++) {
      if ((cpus & (1 << cpu)) !== 0) this.touch(ptep, cpu, CHANGED);
    }
  }

  private touch(ptep: number, cpu: number, how: number): void {
    this.parts.context.access?.object(this.viewsOf(ptep)[cpu], how);
  }

  private viewsOf(ptep: number): readonly Shared[] {
    let views = this.views.get(ptep);
    if (views === undefined) {
      views = Array.from({ length: this.parts.cpus }, (_, cpu) => ({
        label: `entry ${ptep} as CPU ${cpu} may see it`,
        fingerprint: () => this.viewText(ptep, cpu),
      }));
      this.views.set(ptep, views);
    }
    return views;
  }

  private viewText(ptep: number, cpu: number): string {
    const has = (mask: number) => (mask & (1 << cpu)) !== 0;
    return (this.words.get(ptep) ?? [])
      .filter(({ cpus }) => has(cpus))
      .map(({ value, by, published, ...masks }) => {
        const { loaded, stored, ordered, branched, leaving, faulted, again } = masks;
        const bits = [loaded, stored, ordered, branched, leaving, faulted, again].map(has);
        return [value, by === cpu, published, ...bits].join();
      })
      .join(' ');
  }
}
