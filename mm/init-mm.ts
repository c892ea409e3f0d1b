// init_mm: the kernel's own page tables (swapper_pg_dir), in RAM and in the hardware's format. Tables are made when
// something is mapped and never given back, as the kernel does with those of the vmalloc range. Left out: the copies
// of the top level in other address spaces (one table serves all) and page-table locks (init_mm has none).
import { Buffer } from 'node:buffer';
import type { Pfn, PhysAddr, VirtAddr } from '../emulator/address.ts';
import { FRAME_SIZE } from '../emulator/address.ts';
import { hex16, hi32, join, lo32, u64 } from '../emulator/bits.ts';
import type { Ram } from '../emulator/ram.ts';
import { type Restore, SAVE, type Saveable } from '../emulator/snapshot.ts';
import { ERRNO, type KernelContext } from './context.ts';
import type { PageAllocator, PageOwner } from './page-alloc.ts';
import { type Pgprot, type PteFormat, type Ptep, setPteAt } from './pte.ts';
import { indexAt } from './walk.ts';
import { warnOnce } from './warn.ts';

export interface InitMmParts {
  readonly kernel: KernelContext;
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly format: PteFormat;
}

/** How {@link InitMm.pteTable} takes what it meets: as a reader, or as the two forms of apply_to_page_range() do. */
export const LOOK = 0;
/** Steps over a malformed entry with a warning, as over one that is none. */
export const EXISTING = 1;
/** Makes missing tables; clears a malformed entry with a warning and makes one in its place. */
export const CREATE = 2;
export type WalkMode = typeof LOOK | typeof EXISTING | typeof CREATE;

/** What {@link InitMm.pteTable} gives where there is no table. */
const NO_TABLE = 0;

/** Upper entries remembered, a power of two: enough for those of a 4 GiB arena. */
const SEEN = 4096;

export class InitMm implements Saveable {
  readonly kernel: KernelContext;
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly format: PteFormat;
  /** Physical address of the top-level table. */
  readonly swapperPgDir: PhysAddr;
  readonly pageSize: number;
  /** PTEs in a table, and the bytes that one table of PTEs maps. */
  readonly ptrsPerPte: number;
  readonly pmdSize: number;
  /** After {@link pteTable} gave NO_TABLE: log2 of the span that has none. */
  noTableShift = 0;

  private readonly tables: PageOwner;
  /** Word index of the entry that named the last table of PTEs. */
  private pmd = 0;
  /** log2 of pmdSize: 21, 25 or 29. */
  private readonly pmdShift: number;
  private readonly indexBits: number;

  /** Entries whose tables were made with pages from the end of memory. */
  private readonly early = new Set<number>();

  private readonly bytes: Buffer;
  private readonly zeroes: Buffer;

  // Upper entries that walks have read and the tables they name, by the place of the entry. One counts only while the
  // entry reads the same, since anyone may write tables.
  private readonly seenWord = new Int32Array(SEEN).fill(-1);
  private readonly seenLo = new Uint32Array(SEEN);
  private readonly seenHi = new Uint32Array(SEEN);
  private readonly seenTable = new Float64Array(SEEN);

  /** @throws RangeError if there is no page for the top-level table */
  constructor({ kernel, ram, pages, format }: InitMmParts) {
    this.kernel = kernel;
    this.ram = ram;
    this.pages = pages;
    this.format = format;
    this.pageSize = 2 ** format.pageShift;
    this.indexBits = format.pageShift - 3;
    this.ptrsPerPte = 2 ** this.indexBits;
    this.pmdShift = format.pageShift + this.indexBits;
    this.pmdSize = 2 ** this.pmdShift;
    this.bytes = Buffer.from(ram.bytes.buffer);
    this.zeroes = Buffer.alloc(this.pageSize);
    this.tables = pages.owner('page table');
    const root = pages.allocPage(this.tables);
    if (root < 0) throw new RangeError('init_mm: no page for the top-level table');
    this.swapperPgDir = (root * FRAME_SIZE) as PhysAddr;
  }

  /** Page tables in use, the top level included, in pages. */
  get tablePages(): number {
    return this.tables.outstanding;
  }

  /**
   * Physical address of the table of PTEs for an address, as the p?d_offset() and p?d_alloc() chains find it. An entry
   * that names a table outside RAM counts as malformed.
   * @param hi upper and @param lo lower 32 bits of the address, unsigned
   * @returns the table; 0 where there is none (see noTableShift); -EINVAL at a huge entry; -ENOMEM where a table cannot
   *   be had
   */
  pteTable(hi: number, lo: number, mode: WalkMode): number {
    const { format, ram } = this;
    let table = this.swapperPgDir as number;
    for (let i = 0; i < format.shifts.length - 1; i++) {
      const shift = format.shifts[i];
      const at = table + indexAt(hi, lo, shift, i ? this.indexBits : format.topBits) * 8;
      const word = ram.wordIndex(at);
      const slot = (word >>> 1) & (SEEN - 1);
      if (word !== this.seenWord[slot] || !this.unchanged(slot)) {
        const next = this.nextTable(at, shift, mode);
        if (next <= 0) return next;
        if (!this.early.has(at)) this.remember(slot, word, next);
        table = next;
      } else table = this.seenTable[slot];
      this.pmd = word;
    }
    return table;
  }

  /** True for a physical address in one of the tables. */
  isTable(pa: number): boolean {
    return this.pages.holds(this.tables, Math.floor(pa / FRAME_SIZE) as Pfn);
  }

  /** `addr & PAGE_MASK`: the first byte of its page. */
  pageStart(addr: VirtAddr): VirtAddr {
    return join(hi32(addr), lo32(addr) & -this.pageSize) as VirtAddr;
  }

  /** The PTE of `addr`, made if need be. @returns its physical address, or -EINVAL or -ENOMEM */
  ptepAlloc(addr: VirtAddr): number {
    const table = this.pteTable(hi32(addr), lo32(addr), CREATE);
    return table < 0 ? table : table + this.pteOffset(addr);
  }

  /** The PTE of `addr` where there is a table for it. @returns its physical address, or null */
  ptepOffset(addr: VirtAddr): Ptep | null {
    const table = this.pteTable(hi32(addr), lo32(addr), LOOK);
    return table > 0 ? ((table + this.pteOffset(addr)) as Ptep) : null;
  }

  /**
   * Maps `count` pages from `pfn` on at `addr` (a page boundary).
   * @returns 0, or the negative errno of the first page that could not be mapped; earlier ones stay mapped
   */
  mapRange(addr: VirtAddr, pfn: Pfn, count: number, prot: Pgprot): number {
    const frames = this.pages.framesPerPage;
    for (let i = 0; i < count; i++) {
      const va = u64(addr + BigInt(i * this.pageSize)) as VirtAddr;
      const ptep = this.ptepAlloc(va);
      if (ptep < 0) return ptep;
      const pte = this.format.mkPte((pfn + i * frames) as Pfn, prot);
      setPteAt(this.kernel, this.ram, va, ptep as Ptep, pte);
    }
    return 0;
  }

  /**
   * vmalloc_to_page(), of huge mappings nothing. @returns the page's first frame, or -1 if none is mapped
   * @kernel vmalloc_to_page mm/vmalloc.c read - without huge mappings
   */
  vmallocToPage(addr: VirtAddr): Pfn | -1 {
    const ptep = this.ptepOffset(addr);
    return ptep === null ? -1 : this.pfnAt(ptep);
  }

  /** The first frame of the page that a PTE maps, or -1 if it maps none. */
  pfnAt(ptep: Ptep): Pfn | -1 {
    const word = this.ram.wordIndex(ptep);
    if (this.ram.word(word) === 0 && this.ram.word(word + 1) === 0) return -1;
    const pte = this.ram.read64(ptep);
    return this.format.ptePresent(pte) ? this.format.ptePfn(pte) : -1;
  }

  /**
   * Makes every missing table of PTEs for [start, start + size) and the levels above: what apply_to_page_range() does
   * before its callback sees a PTE.
   * @returns 0, -EINVAL or -ENOMEM; tables made before a failure stay
   */
  populate(start: VirtAddr, size: number): number {
    const offset = Number(start % BigInt(this.pmdSize));
    const count = Math.ceil((offset + size) / this.pmdSize);
    // Offsets from the start of the first table's span stay far below 2^53.
    const lo = lo32(start) - offset;
    for (let i = 0; i < count; ) {
      const at = lo + i * this.pmdSize;
      const made = this.populateRun(hi32(start) + Math.floor(at / 2 ** 32), at >>> 0, count - i);
      if (made < 0) return made;
      i += made;
    }
    return 0;
  }

  /**
   * pte_none(ptep_get(ptep)), without a bigint for an entry of 0.
   * @kernel pte_none include/linux/pgtable.h read
   */
  pteNone(ptep: number): boolean {
    const word = this.ram.wordIndex(ptep);
    const zero = (this.ram.word(word) | this.ram.word(word + 1)) === 0;
    return zero || this.format.pteNone(this.ram.read64(ptep));
  }

  /** True if `length` (up to a page) bytes of table memory from `pa` on are 0. One comparison instead of a loop. */
  allZero(pa: number, length: number): boolean {
    const from = pa - this.ram.base;
    return this.zeroes.compare(this.bytes, from, from + length, 0, length) === 0;
  }

  /** The tables are in RAM; what is remembered of them counts only while they read the same. */
  [SAVE](): Restore {
    return () => {};
  }

  private pteOffset(addr: VirtAddr): number {
    return ((lo32(addr) >>> this.format.pageShift) & (this.ptrsPerPte - 1)) * 8;
  }

  private unchanged(slot: number): boolean {
    const word = this.seenWord[slot];
    return (
      this.ram.word(word) === this.seenLo[slot] && this.ram.word(word + 1) === this.seenHi[slot]
    );
  }

  private remember(slot: number, word: number, table: number): void {
    this.seenWord[slot] = word;
    this.seenLo[slot] = this.ram.word(word);
    this.seenHi[slot] = this.ram.word(word + 1);
    this.seenTable[slot] = table;
  }

  /** The table that the upper entry at `at` names, by the rules of apply_to_p?d_range(). */
  private nextTable(at: number, shift: number, mode: WalkMode): number {
    const { format, kernel, ram } = this;
    const entry = ram.read64(at);
    this.noTableShift = shift;
    if (format.tableNone(entry)) return mode === CREATE ? this.allocTable(at) : NO_TABLE;
    if (format.tableLeaf(entry)) {
      if (mode !== LOOK) warnOnce(kernel, '__apply_to_page_range', 'leaf entry');
      return ERRNO.EINVAL;
    }
    const table = format.tableAddr(entry);
    if (!format.tableBad(entry) && ram.contains(table, this.pageSize)) {
      const adopt = mode === CREATE && this.early.size > 0 && !this.pages.topDown;
      return adopt && this.early.delete(at) ? this.move(at, table) : table;
    }
    if (mode !== LOOK) warnOnce(kernel, '__apply_to_page_range', 'bad entry');
    if (mode !== CREATE) return NO_TABLE;
    kernel.printk(`bad entry ${hex16(entry)}`, 'pmd_clear_bad');
    return this.allocTable(at);
  }

  /**
   * A table that is wanted as if it were not there yet: what was made ahead of it must not be noticed. It moves to the
   * page that it would have had.
   */
  private move(at: number, from: PhysAddr): number {
    const to = this.allocTable(at);
    if (to < 0) return to;
    this.ram.write(to, this.ram.read(from, this.pageSize));
    for (const entry of [...this.early]) {
      if (entry < from || entry >= from + this.pageSize) continue;
      this.early.delete(entry);
      this.early.add(to + entry - from);
    }
    return to;
  }

  /**
   * A table for the upper entry at `at`, as p?d_alloc() makes it, unless it names one by now. @returns 0 or -ENOMEM
   */
  makeTable(at: number): number {
    if (!this.format.tableNone(this.ram.read64(at))) return 0;
    return Math.min(0, this.allocTable(at));
  }

  private allocTable(at: number): number {
    const pfn = this.pages.allocPage(this.tables);
    if (pfn < 0) return ERRNO.ENOMEM;
    if (this.pages.topDown) this.early.add(at);
    const table = (pfn * FRAME_SIZE) as PhysAddr;
    this.ram.write64(at, this.format.mkTable(table));
    return table;
  }

  /**
   * Makes up to `count` tables of PTEs from hi:lo on, within one PMD table.
   * @returns how many of the wanted tables now exist (at least 1), or a negative errno
   */
  private populateRun(hi: number, lo: number, count: number): number {
    const table = this.pteTable(hi, lo, CREATE);
    if (table < 0) return table;
    const { pmd } = this;
    const index = indexAt(hi, lo, this.pmdShift, this.indexBits);
    const room = Math.min(count, this.ptrsPerPte - index);
    let run = 1;
    while (
      run < room &&
      this.ram.word(pmd + run * 2) === 0 &&
      this.ram.word(pmd + run * 2 + 1) === 0
    ) {
      run++;
    }
    return run > 1 && this.allocTables(pmd + 2, run - 1) ? run : 1;
  }

  /** Fills `count` none entries from word `pmd` on with fresh tables. @returns false if the run is not to be had */
  private allocTables(pmd: number, count: number): boolean {
    const { format, ram } = this;
    const first = this.pages.allocRun(count, this.tables) * FRAME_SIZE;
    if (first < 0) return false;
    const stride = this.pageSize;
    let entry = format.mkTable(first as PhysAddr);
    // Entries of tables in a row mostly differ by the page size; a format that says otherwise is asked for each.
    const last = format.mkTable((first + (count - 1) * stride) as PhysAddr);
    const linear = last === entry + BigInt((count - 1) * stride);
    let lo = lo32(entry);
    let hi = hi32(entry);
    for (let i = 0; i < count; i++) {
      ram.setWord(pmd + i * 2, lo);
      ram.setWord(pmd + i * 2 + 1, hi);
      lo += stride;
      if (linear && lo < 2 ** 32) continue;
      entry = format.mkTable((first + (i + 1) * stride) as PhysAddr);
      lo = lo32(entry);
      hi = hi32(entry);
    }
    return true;
  }
}
