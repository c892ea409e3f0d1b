// Versions of a block of memory, of which one is in place and every other is known by the pages in which it differs from
// its neighbour towards that one. Saving notes a place in the chain and copies nothing; the first write to a page after it
// copies that page; going to a version swaps the pages on the way. So all of it costs what was written, whatever the size,
// and versions may be visited in any order. (Persistent arrays as in Baker, "Shallow binding makes functional arrays fast".)

/** Bytes of a page. */
export const VERSION_PAGE = 4096;

/** Pages kept for the next copies. */
const MOST_SPARE = 64;

const ZEROES = new Uint8Array(VERSION_PAGE);

/** A saved state of one {@link VersionedMemory}; nothing of it is for others. */
export class MemoryVersion {
  /** The neighbour on the way to the version that is in place; null: it is the one, or lost. */
  next: MemoryVersion | null = null;
  /** Pages as they are in this version and not in {@link next}. */
  pages = new Map<number, Uint8Array>();
}

export class VersionedMemory {
  /** 1 for each page written since the last save or restore. Whoever writes tests it first, see {@link touch}. */
  readonly touched: Uint8Array;
  /** Pages copied so far, to save and to go back. */
  copied = 0;
  private readonly bytes: Uint8Array;
  private written: number[] = [];
  /** Pages that nobody needs any more: going back and forth makes no garbage. */
  private readonly spare: Uint8Array[] = [];
  /** What was saved or restored last; null before that, and then nothing is copied. */
  private base: MemoryVersion | null = null;

  /** @param bytes whole pages */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.touched = new Uint8Array(bytes.length / VERSION_PAGE);
  }

  /** True if there is a version to which the memory can go back. */
  get saved(): boolean {
    return this.base !== null;
  }

  /** To be called before a write to a page that is not {@link touched}. @param zero it is known to hold zeroes */
  touch(page: number, zero = false): void {
    if (this.touched[page] !== 0) return;
    this.touched[page] = 1;
    this.written.push(page);
    if (this.base !== null) this.base.pages.set(page, zero ? ZEROES : this.copy(page));
  }

  /** The present contents as a version. */
  save(): MemoryVersion {
    if (this.base !== null && this.written.length === 0) return this.base;
    this.forgetWritten();
    const version = new MemoryVersion();
    if (this.base !== null) this.base.next = version;
    this.base = version;
    return version;
  }

  /**
   * Brings the contents of a version back.
   * @returns the pages that changed
   * @throws RangeError for a version of another memory, or from before a {@link forget}
   */
  restore(version: MemoryVersion): ReadonlySet<number> {
    const { base } = this;
    const way = base && wayTo(version, base);
    if (base === null || way === null) throw new RangeError('the version is not of this memory');
    const changed = new Set(base.pages.keys());
    for (const [page, bytes] of base.pages) {
      this.put(page, bytes);
      if (bytes !== ZEROES && this.spare.length < MOST_SPARE) this.spare.push(bytes);
    }
    base.pages = new Map();
    this.forgetWritten();
    let current = base;
    for (const to of way.reverse()) {
      for (const page of to.pages.keys()) changed.add(page);
      this.swap(current, to);
      current = to;
    }
    this.base = version;
    return changed;
  }

  /** No version can be restored any more. */
  forget(): void {
    this.forgetWritten();
    this.base = null;
  }

  /** From `from`, which is in place, to its neighbour `to`. */
  private swap(from: MemoryVersion, to: MemoryVersion): void {
    const pages = to.pages;
    for (const [page, bytes] of pages) {
      from.pages.set(page, this.copy(page));
      this.put(page, bytes);
    }
    from.next = to;
    to.next = null;
    to.pages = new Map();
  }

  private copy(page: number): Uint8Array {
    this.copied++;
    const copy = this.spare.pop() ?? new Uint8Array(VERSION_PAGE);
    copy.set(this.bytes.subarray(page * VERSION_PAGE, (page + 1) * VERSION_PAGE));
    return copy;
  }

  private put(page: number, bytes: Uint8Array): void {
    this.copied++;
    this.bytes.set(bytes, page * VERSION_PAGE);
  }

  private forgetWritten(): void {
    for (const page of this.written) this.touched[page] = 0;
    this.written = [];
  }
}

/** Versions from `version` to the one before `base`; null if the chain does not lead there. */
function wayTo(version: MemoryVersion, base: MemoryVersion): MemoryVersion[] | null {
  const way: MemoryVersion[] = [];
  for (let at: MemoryVersion | null = version; at !== base; at = at.next) {
    if (at === null) return null;
    way.push(at);
  }
  return way;
}
