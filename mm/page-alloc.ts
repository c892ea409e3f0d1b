// The page allocator: order-0 kernel pages from one range of frames, with reference counts and an account of who holds
// what. A page is pageSize bytes, so several 4 KiB frames with 16K and 64K pages; its pfn is that of its first frame.
// Left out: zones, NUMA, higher orders, reclaim. Freed pages come back last in, first out, as from a per-CPU list.
import { FRAME_SIZE, type Pfn, physAddr } from '../emulator/address.ts';
import type { Ram } from '../emulator/ram.ts';
import { CHANGED, type KernelContext, LOOKED, type Shared } from './context.ts';
import { PageStructs } from './page-structs.ts';

/** A holder of pages, made by {@link PageAllocator.owner}. */
export interface PageOwner {
  readonly id: number;
  readonly purpose: string;
  /** Pages taken and not given back. */
  outstanding: number;
}

/** A misuse that a real kernel reports as "Bad page state". */
export interface PageBug {
  readonly pfn: Pfn;
  readonly what: 'freed twice' | 'not a page of the allocator';
}

const MAX_OWNERS = 0xffff;
/** Free pages, from the next one on, that a state of the free list tells apart: more than a race takes. */
const SEEN_FREED = 64;

export class PageAllocator {
  /** Misuses so far, in order. Empty in a correct kernel. */
  readonly bugs: PageBug[] = [];
  /** 4 KiB frames a page. */
  readonly framesPerPage: number;
  private readonly context: KernelContext;
  private readonly ram: Ram;
  private readonly firstPfn: number;
  private readonly count: number;
  private readonly structs: PageStructs;
  /** Told of pages whose reference or map count changes; null: nobody asks. */
  counted: ((pfn: Pfn) => void) | null = null;
  private readonly owners: PageOwner[] = [];
  /** Which pages are free, and in which order they will be handed out. */
  private readonly freeList: Shared = {
    label: 'free pages',
    fingerprint: () => `${this.fresh} ${this.structs.freedPages(SEEN_FREED).join(' ')}`,
  };
  /** The counts of one page. */
  private readonly counters = remembered((page): Shared => {
    const fingerprint = () => this.structs.refs(page) * 0x1_0000 + this.structs.mapCount(page);
    return { label: `page ${this.pfnOf(page)}`, fingerprint };
  });
  /** Pages from here up were never handed out, and are still zero, except for those of `ahead`. */
  private fresh = 0;
  /** Pages above `fresh` that allocPageAt() took once. */
  private readonly ahead = new Set<number>();
  private free: number;
  /** Within {@link fromTop}; and the page that it looks at next. */
  topDown = false;
  private top: number;

  /**
   * @param startPfn first frame, a multiple of a page. The range must hold zeroes
   * @param frames size of the range in 4 KiB frames; what does not fill a page at its end stays unused
   */
  constructor(context: KernelContext, ram: Ram, startPfn: number, frames: number) {
    this.framesPerPage = context.config.pageSize / FRAME_SIZE;
    if (startPfn % this.framesPerPage !== 0 || frames < this.framesPerPage) {
      throw new RangeError(`page allocator: no whole pages in ${frames} frames from ${startPfn}`);
    }
    if (!ram.contains(physAddr(startPfn * FRAME_SIZE), frames * FRAME_SIZE)) {
      throw new RangeError(`page allocator: ${frames} frames from ${startPfn} are not all RAM`);
    }
    this.context = context;
    this.ram = ram;
    this.firstPfn = startPfn;
    this.count = Math.floor(frames / this.framesPerPage);
    this.free = this.count;
    this.top = this.count - 1;
    this.structs = new PageStructs(this.count);
  }

  /** Registers a holder; several may have the same purpose. */
  owner(purpose: string): PageOwner {
    if (this.owners.length >= MAX_OWNERS) throw new RangeError('page allocator: too many owners');
    const owner = { id: this.owners.length, purpose, outstanding: 0 };
    this.owners.push(owner);
    return owner;
  }

  /** True if a frame belongs to a page that this holder has. */
  holds(owner: PageOwner, pfn: Pfn): boolean {
    const page = this.pageOf(pfn);
    return page >= 0 && this.structs.refs(page) > 0 && this.structs.owner(page) === owner.id;
  }

  /** Pages that could still be handed out. */
  get freePages(): number {
    return this.free;
  }

  /** Pages handed out and not given back, by purpose. Purposes without any are left out. */
  outstanding(): Map<string, number> {
    const byPurpose = new Map<string, number>();
    for (const { purpose, outstanding } of this.owners) {
      if (outstanding) byPurpose.set(purpose, (byPurpose.get(purpose) ?? 0) + outstanding);
    }
    return byPurpose;
  }

  /**
   * alloc_page(__GFP_ZERO). @returns a zeroed page with one reference, or -1 if none is left
   * @kernel alloc_page include/linux/gfp.h read - one range of frames
   */
  allocPage(owner: PageOwner): Pfn | -1 {
    if (this.topDown) return this.allocTop(owner);
    this.context.access?.object(this.freeList, LOOKED | CHANGED);
    const page = this.structs.newestFreed;
    if (page >= 0) {
      this.structs.removeFreed(page);
      this.clear(page);
      return this.take(page, owner);
    }
    while (this.ahead.has(this.fresh)) this.fresh++;
    return this.fresh < this.count ? this.take(this.fresh++, owner) : -1;
  }

  /**
   * Takes the pages of `action` from the end of memory, as memblock does while the kernel boots: which pages others get
   * does not depend on it.
   */
  fromTop<T>(action: () => T): T {
    const before = this.topDown;
    this.topDown = true;
    try {
      return action();
    } finally {
      this.topDown = before;
    }
  }

  private allocTop(owner: PageOwner): Pfn | -1 {
    for (; this.top >= this.fresh; this.top--) {
      const pfn = this.allocPageAt(this.pfnOf(this.top), owner);
      if (pfn >= 0) return pfn;
    }
    return -1;
  }

  /** A particular page, for a scenario that wants one. @returns it zeroed, or -1 if it is taken or not here */
  allocPageAt(pfn: number, owner: PageOwner): Pfn | -1 {
    this.context.access?.object(this.freeList, LOOKED | CHANGED);
    const page = this.pageOf(pfn);
    if (page < 0 || this.structs.refs(page) !== 0) return -1;
    if (page < this.fresh || this.ahead.has(page)) this.structs.removeFreed(page);
    else this.ahead.add(page);
    this.clear(page);
    return this.take(page, owner);
  }

  /**
   * `count` pages that follow each other, never handed out before: how a large run is taken at once.
   * @returns the first, or -1 if there is no such run (single pages may still be left)
   */
  allocRun(count: number, owner: PageOwner): Pfn | -1 {
    const first = this.fresh;
    if (first + count > this.count) return -1;
    for (const page of this.ahead) if (page >= first && page < first + count) return -1;
    this.fresh = first + count;
    for (let page = first; page < first + count; page++) this.take(page, owner);
    return this.pfnOf(first);
  }

  /**
   * __free_page(), put_page(): drops one reference; the last one gives the page back. @returns true if it did
   * @kernel __free_page, put_page mm/page_alloc.c read - a free page is told of at once
   */
  freePage(pfn: Pfn): boolean {
    const page = this.pageOf(pfn);
    this.touch(page, CHANGED);
    if (page < 0 || this.structs.refs(page) === 0) {
      this.bugs.push({ pfn, what: page < 0 ? 'not a page of the allocator' : 'freed twice' });
      this.context.printk(
        `BUG: Bad page state: pfn:${pfn.toString(16).padStart(5, '0')}`,
        'bad_page',
      );
      return false;
    }
    const refs = this.structs.refs(page) - 1;
    this.structs.setRefs(page, refs);
    this.counted?.(pfn);
    if (refs > 0) return false;
    this.context.access?.object(this.freeList, LOOKED | CHANGED);
    const owner = this.owners[this.structs.owner(page)];
    owner.outstanding--;
    this.free++;
    this.structs.pushFreed(page);
    this.told('free', pfn, owner);
    return true;
  }

  /**
   * page_ref_add(page, 1)
   * @kernel page_ref_add include/linux/page_ref.h read
   */
  pageRefAdd(pfn: Pfn): void {
    const page = this.pageOf(pfn);
    this.touch(page, CHANGED);
    if (page < 0) return;
    this.structs.setRefs(page, this.structs.refs(page) + 1);
    this.counted?.(pfn);
  }

  /**
   * page_ref_count(); 0 for a free page and for frames that are not the allocator's.
   * @kernel page_ref_count include/linux/page_ref.h read
   */
  pageRefCount(pfn: Pfn): number {
    const page = this.pageOf(pfn);
    this.touch(page, LOOKED);
    return page < 0 ? 0 : this.structs.refs(page);
  }

  /** Reference and map count of a page, without looking at it: nobody is told. Both 0 for what is not the allocator's. */
  countsOf(pfn: number): { readonly refs: number; readonly maps: number } {
    const page = this.pageOf(pfn);
    return page < 0
      ? { refs: 0, maps: 0 }
      : { refs: this.structs.refs(page), maps: this.structs.mapCount(page) };
  }

  /** A user PTE begins (+1) or ceases (-1) to map the page. */
  mapCountAdd(pfn: Pfn, by: 1 | -1): void {
    const page = this.pageOf(pfn);
    this.touch(page, CHANGED);
    if (page < 0) return;
    this.structs.setMapCount(page, this.structs.mapCount(page) + by);
    this.counted?.(pfn);
  }

  /**
   * page_mapped(): some user PTE maps the page.
   * @kernel page_mapped include/linux/mm.h read
   */
  pageMapped(pfn: Pfn): boolean {
    const page = this.pageOf(pfn);
    this.touch(page, LOOKED);
    return page >= 0 && this.structs.mapCount(page) > 0;
  }

  /**
   * pfn_valid(): the frame begins a page of this allocator.
   * @kernel pfn_valid include/linux/mmzone.h read - of the allocator's pages alone
   */
  pfnValid(pfn: number): boolean {
    return this.pageOf(pfn) >= 0;
  }

  /** Tells whoever asks of an access to a page's counts. */
  private touch(page: number, how: number): void {
    const { access } = this.context;
    if (access === null || page < 0) return;
    access.object(this.counters(page), LOOKED | how);
  }

  private pageOf(pfn: number): number {
    const page = (pfn - this.firstPfn) / this.framesPerPage;
    return Number.isInteger(page) && page >= 0 && page < this.count ? page : -1;
  }

  private pfnOf(page: number): Pfn {
    return (this.firstPfn + page * this.framesPerPage) as Pfn;
  }

  private clear(page: number): void {
    const pfn = this.pfnOf(page);
    this.context.access?.range(pfn * FRAME_SIZE, this.framesPerPage * FRAME_SIZE, CHANGED);
    for (let i = 0; i < this.framesPerPage; i++) this.ram.clearFrame((pfn + i) as Pfn);
  }

  private take(page: number, owner: PageOwner): Pfn {
    this.touch(page, CHANGED);
    this.structs.setRefs(page, 1);
    this.structs.setMapCount(page, 0);
    this.structs.setOwner(page, owner.id);
    owner.outstanding++;
    this.free--;
    const pfn = this.pfnOf(page);
    this.counted?.(pfn);
    this.told('alloc', pfn, owner);
    return pfn;
  }

  private told(op: 'alloc' | 'free', pfn: Pfn, { purpose }: PageOwner): void {
    const { events, cpu } = this.context;
    if (events.on) events.emit({ type: 'page', cpu, op, pfn, purpose });
  }
}

/** `make`, asked once for each number. */
function remembered<T>(make: (n: number) => T): (n: number) => T {
  const made = new Map<number, T>();
  return (n) => {
    const known = made.get(n) ?? make(n);
    made.set(n, known);
    return known;
  };
}
