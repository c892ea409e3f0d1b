// The TLB of one vCPU. It remembers finished translations, large ones as one entry, tagged with the address space (PCID,
// ASID) or as global; it forgets only what an operation names, what a refill displaces and, where the architecture says
// so, what faulted. An access through a stale entry reaches the old page until then.
//
// What hardware may do and we do not: hold translations of the upper levels (paging-structure caches), hold two copies of
// one translation that differ, split large pages into small entries, fetch ahead, or drop an entry at any time. Where a
// 4 KiB and a larger entry both cover an address, the smaller answers; hardware may take either. By default no
// entry is kept for a translation that failed: x86 forbids it (SDM Vol. 3A, 4.10.2.3), and so does the Arm ARM. The policy
// `negative: 'on'` keeps them, each for one access, to reach the kernel's handling of spurious faults.
//
// Replacement is round robin within a set, empty ways first. It must not look at hits, because the engine has a cache of its own
// in front of us and shows us an unpredictable part of them; misses it shows all, so that the contents depend on the
// program alone. What needs the model: the golden cases `stale`, `global`, `remap`, `two-roots`, `made-good`, the
// explorer's `stale` invariant, and spurious faults.
import type { PhysAddr, VirtAddr } from '../emulator/address.ts';
import { join } from '../emulator/bits.ts';
import { type Restore, SAVE, type Saveable, SavedCopy } from '../emulator/snapshot.ts';

/** One array of the TLB: `sets` * `ways` entries for pages of the sizes in `shifts`. */
interface TlbArrayShape {
  readonly name: string;
  /** log2 of each page size that it holds, between 12 and 47. */
  readonly shifts: readonly number[];
  /** A power of two. The set is chosen by the lowest bits of the page number. */
  readonly sets: number;
  readonly ways: number;
}

/** No two arrays hold the same page size. A translation of a size that none holds is not remembered. */
export type TlbShape = readonly TlbArrayShape[];

export interface TlbPolicy {
  /** Whether a refused translation is remembered for the next access to its page. */
  readonly negative: 'off' | 'on';
}

const TLB_POLICY: TlbPolicy = { negative: 'off' };

/** Every address space, where an operation asks for one. */
export const ANY_SPACE = -1;

/** What {@link Tlb.lookup} says of a miss. */
export const MISS = -1;

/** {@link Tlb.pageAddr} of a negative entry. */
export const NEGATIVE_PAGE = -1;

/** How the arrays are searched for one page size. */
interface SizeClass {
  readonly shift: number;
  readonly maskHi: number;
  readonly maskLo: number;
  readonly base: number;
  readonly setMask: number;
  readonly ways: number;
  /** Valid entries of this size: a search passes over sizes that have none. */
  live: number;
}

/** An entry, for readers. */
export interface TlbEntry {
  /** Address of the page's first byte. */
  readonly va: VirtAddr;
  /** log2 of the page size. */
  readonly shift: number;
  /** PCID or ASID under which it was made; a global one answers in every space. */
  readonly space: number;
  readonly global: boolean;
  /** Physical address of the page's first byte; null: a refusal is kept. */
  readonly page: PhysAddr | null;
  /** See {@link Tlb.insert}. */
  readonly rights: number;
}

/** Told of an entry that is dropped: the halves of its page's address, log2 of its size, its space. */
export type Evicted = (hi: number, lo: number, shift: number, space: number) => void;

export class Tlb implements Saveable {
  readonly shape: TlbShape;
  readonly policy: TlbPolicy;
  private readonly classes: readonly SizeClass[];
  private readonly byShift: (SizeClass | undefined)[] = [];
  private readonly evicted: Evicted;

  private readonly hi: Uint32Array;
  private readonly lo: Uint32Array;
  /** Of a valid entry its log2 size, else 0. */
  private readonly shift: Uint8Array;
  private readonly isGlobal: Uint8Array;
  private readonly space: Int32Array;
  private readonly kept: Uint32Array;
  private readonly page: Float64Array;
  /** Next way to displace, by the slot number of the set's first way. */
  private readonly next: Uint16Array;
  private readonly saved = new SavedCopy();

  /**
   * @param evicted told of every entry that is dropped, whatever the reason
   * @throws RangeError for a shape with sets that are no power of two or a page size held twice
   */
  constructor(shape: TlbShape, policy: TlbPolicy = TLB_POLICY, evicted: Evicted = () => {}) {
    this.shape = shape;
    this.policy = policy;
    this.evicted = evicted;
    let slots = 0;
    for (const array of shape) {
      if (array.sets < 1 || (array.sets & (array.sets - 1)) !== 0 || array.ways < 1) {
        throw new RangeError(`TLB array ${array.name}: ${array.sets} sets, ${array.ways} ways`);
      }
      for (const shift of array.shifts) {
        if (shift < 12 || shift > 47 || this.byShift[shift] !== undefined) {
          throw new RangeError(
            `TLB array ${array.name}: page size 2^${shift} out of range or twice`,
          );
        }
        this.byShift[shift] = sizeClass(shift, slots, array);
      }
      slots += array.sets * array.ways;
    }
    this.classes = this.byShift.filter((size) => size !== undefined);
    this.hi = new Uint32Array(slots);
    this.lo = new Uint32Array(slots);
    this.shift = new Uint8Array(slots);
    this.isGlobal = new Uint8Array(slots);
    this.space = new Int32Array(slots);
    this.kept = new Uint32Array(slots);
    this.page = new Float64Array(slots);
    this.next = new Uint16Array(slots);
  }

  /** Entries that are valid now. */
  get size(): number {
    return this.classes.reduce((sum, size) => sum + size.live, 0);
  }

  /**
   * The entry for an address in a space, of whatever size.
   * @param hi upper and @param lo lower 32 bits of the address
   * @returns a slot, good until the TLB is next changed, or MISS
   */
  lookup(hi: number, lo: number, space: number): number {
    for (const size of this.classes) {
      if (size.live === 0) continue;
      const slot = this.find(size, (hi & size.maskHi) >>> 0, (lo & size.maskLo) >>> 0, space);
      if (slot !== MISS) return slot;
    }
    return MISS;
  }

  /** What {@link insert} was given for a slot: rights. */
  rights(slot: number): number {
    return this.kept[slot];
  }

  /** What {@link insert} was given for a slot: physical address of the page. */
  pageAddr(slot: number): number {
    return this.page[slot];
  }

  /** log2 of the size of a slot's page. */
  pageShift(slot: number): number {
    return this.shift[slot];
  }

  /** Slots of every entry that covers an address, in whatever space; smaller pages first, as {@link lookup} finds them. */
  covering(hi: number, lo: number): number[] {
    const found: number[] = [];
    for (const size of this.classes) {
      if (size.live === 0) continue;
      const pageHi = (hi & size.maskHi) >>> 0;
      const pageLo = (lo & size.maskLo) >>> 0;
      const first = setOf(size, pageHi, pageLo);
      for (let slot = first; slot < first + size.ways; slot++) {
        if (this.covers(slot, size, pageHi, pageLo)) found.push(slot);
      }
    }
    return found;
  }

  /** The entry of a slot that is valid. */
  entry(slot: number): TlbEntry {
    const page = this.page[slot];
    return {
      va: join(this.hi[slot], this.lo[slot]) as VirtAddr,
      shift: this.shift[slot],
      space: this.space[slot],
      global: this.isGlobal[slot] === 1,
      page: page === NEGATIVE_PAGE ? null : (page as PhysAddr),
      rights: this.kept[slot],
    };
  }

  /** Addresses of the pages whose entries name the page at a physical address. */
  pagesOf(page: number): bigint[] {
    const found: bigint[] = [];
    for (let slot = 0; slot < this.shift.length; slot++) {
      if (this.shift[slot] === 0 || this.page[slot] !== page) continue;
      found.push((BigInt(this.hi[slot]) << 32n) | BigInt(this.lo[slot]));
    }
    return found;
  }

  /**
   * Remembers a translation; one of the same page in the same space is replaced.
   * @param page physical address of the page's first byte, or NEGATIVE_PAGE
   * @param shift log2 of the page size
   */
  insert(
    hi: number,
    lo: number,
    space: number,
    global: boolean,
    shift: number,
    page: number,
    rights: number,
  ): void {
    const size = this.byShift[shift];
    if (size === undefined) return;
    const pageHi = (hi & size.maskHi) >>> 0;
    const pageLo = (lo & size.maskLo) >>> 0;
    this.saved.changed();
    let slot = this.find(size, pageHi, pageLo, space);
    if (slot === MISS) {
      slot = this.free(size, pageHi, pageLo);
      size.live++;
    }
    this.hi[slot] = pageHi;
    this.lo[slot] = pageLo;
    this.shift[slot] = shift;
    this.isGlobal[slot] = global ? 1 : 0;
    this.space[slot] = space;
    this.kept[slot] = rights;
    this.page[slot] = page;
  }

  /** Drops the entry of a slot. */
  drop(slot: number): void {
    const shift = this.shift[slot];
    if (shift === 0) return;
    this.saved.changed();
    this.shift[slot] = 0;
    this.byShift[shift]!.live--;
    this.evicted(this.hi[slot], this.lo[slot], shift, this.space[slot]);
  }

  /**
   * Drops every entry, of any size, that covers an address.
   * @param space of entries that are not global; ANY_SPACE for all
   * @param globals whether global entries go too
   * @returns how many were dropped
   */
  invalidatePage(hi: number, lo: number, space: number, globals: boolean): number {
    let dropped = 0;
    for (const size of this.classes) {
      if (size.live === 0) continue;
      const pageHi = (hi & size.maskHi) >>> 0;
      const pageLo = (lo & size.maskLo) >>> 0;
      const first = setOf(size, pageHi, pageLo);
      for (let slot = first; slot < first + size.ways; slot++) {
        if (!this.covers(slot, size, pageHi, pageLo)) continue;
        if (!this.named(slot, space, globals)) continue;
        this.drop(slot);
        dropped++;
      }
    }
    return dropped;
  }

  /**
   * Drops every entry of a space.
   * @param space of entries that are not global; ANY_SPACE for all
   * @param globals whether global entries go too
   * @returns how many were dropped
   */
  invalidateSpace(space: number, globals: boolean): number {
    let dropped = 0;
    for (let slot = 0; slot < this.shift.length; slot++) {
      if (this.shift[slot] === 0 || !this.named(slot, space, globals)) continue;
      this.drop(slot);
      dropped++;
    }
    return dropped;
  }

  /** Drops everything. @returns how many entries were dropped */
  invalidateAll(): number {
    return this.invalidateSpace(ANY_SPACE, true);
  }

  /** Nobody is told of the entries that go. */
  [SAVE](): Restore {
    const { hi, lo, shift, isGlobal, space, kept, page, next } = this;
    return this.saved.save(() => {
      const arrays = [hi, lo, shift, isGlobal, space, kept, page, next].map((array) => ({
        array,
        copy: array.slice(),
      }));
      const live = this.classes.map((size) => size.live);
      return () => {
        for (const { array, copy } of arrays) array.set(copy);
        for (const [i, size] of this.classes.entries()) size.live = live[i];
      };
    });
  }

  private named(slot: number, space: number, globals: boolean): boolean {
    if (this.isGlobal[slot] === 1) return globals;
    return space === ANY_SPACE || this.space[slot] === space;
  }

  private covers(slot: number, size: SizeClass, pageHi: number, pageLo: number): boolean {
    return this.lo[slot] === pageLo && this.hi[slot] === pageHi && this.shift[slot] === size.shift;
  }

  private find(size: SizeClass, pageHi: number, pageLo: number, space: number): number {
    const first = setOf(size, pageHi, pageLo);
    for (let slot = first; slot < first + size.ways; slot++) {
      if (
        this.lo[slot] === pageLo &&
        this.hi[slot] === pageHi &&
        this.shift[slot] === size.shift &&
        (this.space[slot] === space || this.isGlobal[slot] === 1)
      ) {
        return slot;
      }
    }
    return MISS;
  }

  /** A slot of the page's set: an empty one, or the next in turn. */
  private free(size: SizeClass, pageHi: number, pageLo: number): number {
    const first = setOf(size, pageHi, pageLo);
    for (let slot = first; slot < first + size.ways; slot++) {
      if (this.shift[slot] === 0) return slot;
    }
    const slot = first + this.next[first];
    this.next[first] = (this.next[first] + 1) % size.ways;
    this.drop(slot);
    return slot;
  }
}

function sizeClass(shift: number, base: number, array: TlbArrayShape): SizeClass {
  const high = shift >= 32;
  return {
    shift,
    maskHi: high ? -(2 ** (shift - 32)) : -1,
    maskLo: high ? 0 : -(2 ** shift),
    base,
    setMask: array.sets - 1,
    ways: array.ways,
    live: 0,
  };
}

/** First slot of the set that holds a page. */
function setOf(size: SizeClass, pageHi: number, pageLo: number): number {
  const { shift } = size;
  const page =
    shift >= 32 ? pageHi >>> (shift - 32) : (pageLo >>> shift) | (pageHi << (32 - shift));
  return size.base + (page & size.setMask) * size.ways;
}
