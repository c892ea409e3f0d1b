// A sorted list in chunks: where the kernel has a balanced tree and only the order can be observed. An insertion or
// removal moves at most one chunk.

const CHUNK = 512;

export class SortedList<T> {
  private readonly less: (a: T, b: T) => boolean;
  /** In order; none is empty. */
  private readonly chunks: T[][] = [];

  /** @param less a strict total order: no two items in the list are equal under it */
  constructor(less: (a: T, b: T) => boolean) {
    this.less = less;
  }

  /** The first item for which `before` is false. @param before true for a leading part of the list, then false */
  first(before: (item: T) => boolean): T | undefined {
    const chunk = this.chunks[this.chunkOf(before)];
    return chunk?.[position(chunk, before)];
  }

  /** The last item for which `before` is true. */
  last(before: (item: T) => boolean): T | undefined {
    const c = this.chunkOf(before);
    const at = c < this.chunks.length ? position(this.chunks[c], before) : 0;
    return at > 0 ? this.chunks[c][at - 1] : this.chunks[c - 1]?.at(-1);
  }

  insert(item: T): void {
    const before = (other: T) => this.less(other, item);
    const c = Math.min(this.chunkOf(before), this.chunks.length - 1);
    if (c < 0) {
      this.chunks.push([item]);
      return;
    }
    const chunk = this.chunks[c];
    chunk.splice(position(chunk, before), 0, item);
    if (chunk.length > CHUNK) this.chunks.splice(c + 1, 0, chunk.splice(CHUNK / 2));
  }

  /** Removes an item that is in the list. */
  remove(item: T): void {
    const before = (other: T) => this.less(other, item);
    const c = this.chunkOf(before);
    this.chunks[c].splice(position(this.chunks[c], before), 1);
    if (this.chunks[c].length === 0) this.chunks.splice(c, 1);
  }

  clear(): void {
    this.chunks.length = 0;
  }

  items(): T[] {
    return this.chunks.flat();
  }

  /** Index of the first chunk whose last item is not before; one past the end if there is none. */
  private chunkOf(before: (item: T) => boolean): number {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (before(this.chunks[middle][this.chunks[middle].length - 1])) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function position<T>(chunk: readonly T[], before: (item: T) => boolean): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (before(chunk[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}
