// kernel/bpf/range_tree.c: the set of free slots of an arena, as maximal disjoint intervals under two orders. The
// kernel keeps an interval tree by address and an rbtree by size; here they are two sorted lists with the same order,
// ties included. Left out: the trees' balance, and locking, which is the caller's as in the kernel.
import { type Restore, SAVE, type Saveable, SavedCopy } from '../emulator/snapshot.ts';
import {
  CHANGED,
  ERRNO,
  type KernelContext,
  KernelStuck,
  LOOKED,
  type Shared,
} from '../mm/context.ts';
import type { CompiledRangeTree } from './compiled.ts';
import { Lent, type Recallable } from './lent.ts';
import { SortedList } from './sorted-list.ts';

/** struct range_node: slots [start, last], both u32 and inclusive. */
export interface RangeNode {
  start: number;
  last: number;
  /** Larger for a node inserted later: equal sizes stand in order of insertion. */
  stamp: number;
}

/** Slots [start, last] as compiled code leaves them. */
export type Range = Readonly<Pick<RangeNode, 'start' | 'last'>>;

/** Whoever knows what compiled code does in the model's place; {@link BpfContext} does. */
export interface CompiledOwner {
  readonly compiled: CompiledRangeTree | null;
}

const rnSize = (rn: RangeNode): number => rn.last - rn.start + 1;

/** struct range_tree. Slots are below 2^32 - 1, lengths at least 1; an arena has no slot near that bound. */
export class RangeTree implements Saveable, Shared, Recallable {
  private readonly kernel: KernelContext;
  private readonly owner: CompiledOwner | null;
  private readonly lent = new Lent<readonly Range[]>();
  /** it_root: by start, which is by last too, since the nodes are disjoint. */
  private readonly byStart = new SortedList<RangeNode>((a, b) => a.start < b.start);
  /**
   * range_size_root read from its end: sizes ascending, and in each size the earlier inserted first. (The kernel puts
   * larger sizes to the left, smaller or equal ones to the right.)
   */
  private readonly bySize = new SortedList<RangeNode>(
    (a, b) => rnSize(a) < rnSize(b) || (rnSize(a) === rnSize(b) && a.stamp < b.stamp),
  );
  private stamp = 0;
  readonly label = 'arena->rt';
  private readonly saved = new SavedCopy();

  constructor(kernel: KernelContext, owner: CompiledOwner | null = null) {
    this.kernel = kernel;
    this.owner = owner;
  }

  /**
   * range_tree_init(): for the model a new tree is empty as it is.
   * @kernel range_tree_init kernel/bpf/range_tree.c read
   */
  init(): void {
    this.owner?.compiled?.rangeTreeInit?.(this);
    this.recall();
  }

  /** Nodes in use, by address. */
  nodes(): readonly Readonly<RangeNode>[] {
    this.recall();
    return this.byStart.items();
  }

  /** The same by size; equal ones in order of insertion. */
  nodesBySize(): readonly Readonly<RangeNode>[] {
    this.recall();
    return this.bySize.items();
  }

  /** From here on the nodes are elsewhere. @param fetch brings them back, disjoint, in the order of their sizes */
  lend(fetch: () => readonly Range[] | null): void {
    this.saved.changed();
    this.lent.lend(fetch);
  }

  recall(): void {
    if (!this.lent.isOut) return;
    const ranges = this.lent.fetchBack();
    if (ranges !== null) this.replace(ranges);
  }

  private replace(ranges: readonly Range[]): void {
    this.saved.changed();
    this.byStart.clear();
    this.bySize.clear();
    this.stamp = 0;
    for (const { start, last } of ranges) this.insert({ start, last, stamp: 0 });
  }

  /** The nodes, and in which order equal ones stand. */
  fingerprint(): string {
    this.recall();
    return this.bySize
      .items()
      .map((rn) => `${rn.start}-${rn.last}`)
      .join(' ');
  }

  /**
   * range_tree_find(): the best fit; among nodes of equal size the one inserted last. Reserves nothing.
   * @returns its first slot, or -ENOENT
   * @kernel range_tree_find kernel/bpf/range_tree.c read
   */
  find(len: number): number {
    this.kernel.access?.object(this, LOOKED);
    const compiled = this.owner?.compiled;
    if (compiled?.rangeTreeFind) return compiled.rangeTreeFind(this, len);
    this.recall();
    const fit = this.bySize.first((rn) => rnSize(rn) < len);
    if (!fit) return ERRNO.ENOENT;
    const size = rnSize(fit);
    return this.bySize.last((rn) => rnSize(rn) <= size)!.start;
  }

  /**
   * range_tree_clear(): takes slots out of the set; those that are not in it do not matter.
   * @returns 0, or -ENOMEM if a split found no memory for its right part, which is then lost with what was to go
   * @kernel range_tree_clear kernel/bpf/range_tree.c read
   */
  clear(start: number, len: number): number {
    this.kernel.access?.object(this, LOOKED | CHANGED);
    const compiled = this.owner?.compiled;
    if (compiled?.rangeTreeClear) return compiled.rangeTreeClear(this, start, len);
    this.recall();
    const last = start + len - 1;
    for (;;) {
      const rn = this.iterFirst(start, last);
      if (!rn) return 0;
      const oldLast = rn.last;
      this.remove(rn);
      if (rn.start < start) {
        rn.last = start - 1;
        this.insert(rn);
        if (oldLast > last) {
          if (!this.allocNode()) return ERRNO.ENOMEM;
          this.insert({ start: last + 1, last: oldLast, stamp: 0 });
        }
      } else if (oldLast > last) {
        rn.start = last + 1;
        this.insert(rn);
        return 0;
      }
    }
  }

  /**
   * is_range_tree_set(). @returns 0 if one node covers all of it, else -ESRCH
   * @kernel is_range_tree_set kernel/bpf/range_tree.c read
   */
  isSet(start: number, len: number): number {
    this.kernel.access?.object(this, LOOKED);
    const compiled = this.owner?.compiled;
    if (compiled?.isRangeTreeSet) return compiled.isRangeTreeSet(this, start, len);
    this.recall();
    return this.covers(start, start + len - 1) ? 0 : ERRNO.ESRCH;
  }

  /**
   * range_tree_set(): puts slots into the set and merges them with their neighbours.
   * @returns 0; -ENOMEM without memory for a node; -EFAULT if a neighbour does not adjoin, which would be a bug
   * @kernel range_tree_set kernel/bpf/range_tree.c read
   */
  set(start: number, len: number): number {
    this.kernel.access?.object(this, LOOKED | CHANGED);
    const compiled = this.owner?.compiled;
    if (compiled?.rangeTreeSet) return compiled.rangeTreeSet(this, start, len);
    this.recall();
    const last = start + len - 1;
    if (this.covers(start, last)) return 0;
    const err = this.clear(start, len);
    if (err) return err;
    if (compiled) this.checkCleared(start, last);
    const left = this.iterFirst(start - 1, start - 1);
    if (left && left.last + 1 !== start) return ERRNO.EFAULT;
    const right = this.iterFirst(last + 1, last + 1);
    if (right && right.start !== last + 1) return ERRNO.EFAULT;
    return this.merge(left, right, start, last);
  }

  /**
   * range_tree_destroy(): frees every node.
   * @kernel range_tree_destroy kernel/bpf/range_tree.c read
   */
  destroy(): void {
    this.owner?.compiled?.rangeTreeDestroy?.(this);
    this.recall();
    this.replace([]);
  }

  [SAVE](): Restore {
    this.recall();
    return this.saved.save(() => {
      const { stamp } = this;
      const nodes = this.nodes().map((rn) => ({ ...rn }));
      return () => {
        this.lent.forget();
        this.replace([]);
        for (const rn of nodes) this.add({ ...rn });
        this.stamp = stamp;
      };
    });
  }

  private merge(
    left: RangeNode | null,
    right: RangeNode | null,
    start: number,
    last: number,
  ): number {
    if (!left && !right) {
      if (!this.allocNode()) return ERRNO.ENOMEM;
      this.insert({ start, last, stamp: 0 });
      return 0;
    }
    const merged = { start: left?.start ?? start, last: right?.last ?? last, stamp: 0 };
    if (left) this.remove(left);
    if (right) this.remove(right);
    this.insert(merged);
    return 0;
  }

  /**
   * kmalloc_nolock() of a node.
   * @kernel kmalloc_nolock mm/slub.c read - only that it can fail
   */
  private allocNode(): boolean {
    return this.kernel.failure('range_node') === 0;
  }

  private covers(start: number, last: number): boolean {
    const first = this.iterFirst(start, last);
    return first !== null && first.start <= start && first.last >= last;
  }

  /**
   * range_it_iter_first(): the first node that overlaps [start, last].
   * @kernel range_it_iter_first kernel/bpf/range_tree.c derived - generated by a macro in the kernel
   */
  private iterFirst(start: number, last: number): RangeNode | null {
    const compiled = this.owner?.compiled;
    if (compiled?.rangeItIterFirst) {
      const at = compiled.rangeItIterFirst(this, start, last);
      this.recall();
      return at === null ? null : (this.byStart.first((node) => node.start < at) ?? null);
    }
    return this.firstIn(start, last);
  }

  private firstIn(start: number, last: number): RangeNode | null {
    const rn = this.byStart.first((node) => node.last < start);
    return rn && rn.start <= last ? rn : null;
  }

  /** Compiled code may have left what it was to take out, and two nodes must not overlap. */
  private checkCleared(start: number, last: number): void {
    this.recall();
    const rn = this.firstIn(start, last);
    if (rn === null) return;
    const slots = `slots ${rn.start} to ${rn.last} in ${this.label}`;
    throw new KernelStuck(`range_tree_set: range_tree_clear has left ${slots}`);
  }

  private insert(rn: RangeNode): void {
    rn.stamp = ++this.stamp;
    this.add(rn);
  }

  private add(rn: RangeNode): void {
    this.saved.changed();
    this.byStart.insert(rn);
    this.bySize.insert(rn);
  }

  private remove(rn: RangeNode): void {
    this.saved.changed();
    this.byStart.remove(rn);
    this.bySize.remove(rn);
  }
}
