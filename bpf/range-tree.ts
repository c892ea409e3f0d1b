// kernel/bpf/range_tree.c: the set of free slots of an arena, as maximal disjoint intervals under two orders. The
// kernel keeps an interval tree by address and an rbtree by size; here they are two sorted arrays with the same order,
// ties included. Left out: the trees' balance, and locking, which is the caller's as in the kernel.
import { ERRNO, type KernelContext } from '../mm/context.ts';

/** struct range_node: slots [start, last], both u32 and inclusive. */
export interface RangeNode {
  start: number;
  last: number;
  /** Larger for a node inserted later: equal sizes stand in order of insertion. */
  stamp: number;
}

const rnSize = (rn: RangeNode): number => rn.last - rn.start + 1;

/** struct range_tree. Slots and lengths are u32; lengths are at least 1 and start + len at most 2^32. */
export class RangeTree {
  private readonly kernel: KernelContext;
  /** it_root: by start, which is by last too, since the nodes are disjoint. */
  private readonly byStart: RangeNode[] = [];
  /**
   * range_size_root read from its end: sizes ascending, and in each size the earlier inserted first. (The kernel puts
   * larger sizes to the left, smaller or equal ones to the right.)
   */
  private readonly bySize: RangeNode[] = [];
  private stamp = 0;

  constructor(kernel: KernelContext) {
    this.kernel = kernel;
  }

  /** Nodes in use, by address. */
  nodes(): readonly Readonly<RangeNode>[] {
    return this.byStart;
  }

  /**
   * range_tree_find(): the best fit; among nodes of equal size the one inserted last. Reserves nothing.
   * @returns its first slot, or -ENOENT
   */
  find(len: number): number {
    const fit = this.sizePosition(len, -1);
    if (fit === this.bySize.length) return ERRNO.ENOENT;
    const lastOfSize = this.sizePosition(rnSize(this.bySize[fit]), this.stamp) - 1;
    return this.bySize[lastOfSize].start;
  }

  /**
   * range_tree_clear(): takes slots out of the set; those that are not in it do not matter.
   * @returns 0, or -ENOMEM if a split found no memory for its right part, which is then lost with what was to go
   */
  clear(start: number, len: number): number {
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

  /** is_range_tree_set(). @returns 0 if one node covers all of it, else -ESRCH */
  isSet(start: number, len: number): number {
    return this.covers(start, start + len - 1) ? 0 : ERRNO.ESRCH;
  }

  /**
   * range_tree_set(): puts slots into the set and merges them with their neighbours.
   * @returns 0; -ENOMEM without memory for a node; -EFAULT if a neighbour does not adjoin, which would be a bug
   */
  set(start: number, len: number): number {
    const last = start + len - 1;
    if (this.covers(start, last)) return 0;
    const err = this.clear(start, len);
    if (err) return err;
    const left = this.iterFirst((start - 1) >>> 0, (start - 1) >>> 0);
    if (left && (left.last + 1) >>> 0 !== start) return ERRNO.EFAULT;
    const right = this.iterFirst((last + 1) >>> 0, (last + 1) >>> 0);
    if (right && right.start !== (last + 1) >>> 0) return ERRNO.EFAULT;
    return this.merge(left, right, start, last);
  }

  /** range_tree_destroy(): frees every node. */
  destroy(): void {
    this.byStart.length = 0;
    this.bySize.length = 0;
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

  /** kmalloc_nolock() of a node. */
  private allocNode(): boolean {
    return this.kernel.failure('range_node') === 0;
  }

  private covers(start: number, last: number): boolean {
    const first = this.iterFirst(start, last);
    return first !== null && first.start <= start && first.last >= last;
  }

  /** range_it_iter_first(): the first node that overlaps [start, last]. */
  private iterFirst(start: number, last: number): RangeNode | null {
    const rn = this.byStart[this.startPosition(start)];
    return rn && rn.start <= last ? rn : null;
  }

  /** Index of the first node whose last slot is `slot` or behind it. */
  private startPosition(slot: number): number {
    let low = 0;
    let high = this.byStart.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.byStart[middle].last < slot) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Index of the first node behind all that are smaller, or of this size and inserted at `stamp` or before. */
  private sizePosition(size: number, stamp: number): number {
    let low = 0;
    let high = this.bySize.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const rn = this.bySize[middle];
      if (rnSize(rn) < size || (rnSize(rn) === size && rn.stamp <= stamp)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private insert(rn: RangeNode): void {
    rn.stamp = ++this.stamp;
    this.byStart.splice(this.startPosition(rn.start), 0, rn);
    this.bySize.splice(this.sizePosition(rnSize(rn), rn.stamp), 0, rn);
  }

  private remove(rn: RangeNode): void {
    this.byStart.splice(this.startPosition(rn.start), 1);
    this.bySize.splice(this.sizePosition(rnSize(rn), rn.stamp - 1), 1);
  }
}
