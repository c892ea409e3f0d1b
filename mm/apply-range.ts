// apply_to_page_range() and apply_to_existing_page_range() of mm/memory.c, for init_mm: a cursor over the entries, and the
// kernel's form, a callback for each. A callback gives a number where it has no step that another CPU could see.
import type { VirtAddr } from '../emulator/address.ts';
import { hi32, lo32, u64 } from '../emulator/bits.ts';
import { type Activity, ERRNO, LOOKED, type Progress } from './context.ts';
import { CREATE, EXISTING, type InitMm } from './init-mm.ts';
import type { Ptep } from './pte.ts';
import { warnOnce } from './warn.ts';

/**
 * The PTEs of [start, start + size) in order. With `create` every one, its tables made; without, those that are not
 * none. After `next` gave false, `error` is 0 or why the walk broke off: -EINVAL for an empty range, a range past the
 * end of the address space or a huge entry, -ENOMEM for lack of a table.
 */
export class PteCursor {
  error = 0;
  /** The present PTE. */
  ptep = 0 as Ptep;
  private readonly mm: InitMm;
  private readonly start: VirtAddr;
  private readonly create: boolean;
  private readonly pages: number;
  private readonly firstIndex: number;
  /** Halves of `start`. */
  private readonly hi: number;
  private readonly lo: number;
  /** Page of the range that comes next, and the first page behind the present table. */
  private page = 0;
  private tableEnd = 0;
  /** Physical address of the PTE that page 0 would have if its table went on. */
  private base = 0;

  /** @param start a page boundary. @param size bytes, a multiple of the page size */
  constructor(mm: InitMm, start: VirtAddr, size: number, create: boolean) {
    this.mm = mm;
    this.start = start;
    this.create = create;
    this.hi = hi32(start);
    this.lo = lo32(start);
    this.pages = size / mm.pageSize;
    this.firstIndex = Number(start / BigInt(mm.pageSize)) % mm.ptrsPerPte;
    if (size <= 0 || u64(start + BigInt(size)) <= start) {
      warnOnce(mm.kernel, '__apply_to_page_range', 'addr >= end');
      this.error = ERRNO.EINVAL;
      this.pages = 0;
    }
  }

  /** Address that the present PTE maps. */
  get addr(): VirtAddr {
    return this.addrOf(this.page - 1);
  }

  /** Goes to the next PTE. @returns false at the end of the range or of the walk */
  next(): boolean {
    for (;;) {
      if (this.page < this.tableEnd && (this.create || this.skipNone())) {
        this.ptep = (this.base + this.page * 8) as Ptep;
        this.page++;
        return true;
      }
      if (this.page >= this.pages || !this.enterTable()) return false;
    }
  }

  private addrOf(page: number): VirtAddr {
    return u64(this.start + BigInt(page) * BigInt(this.mm.pageSize)) as VirtAddr;
  }

  /** Moves `page` to the first PTE of the table that is not none. @returns false if there is none left */
  private skipNone(): boolean {
    const { ram, format } = this.mm;
    const end = this.tableEnd;
    // How far it looks depends on what it finds, and every entry up to there is looked at.
    this.mm.kernel.access?.range(this.base + this.page * 8, (end - this.page) * 8, LOOKED);
    if (this.mm.allZero(this.base + this.page * 8, (end - this.page) * 8)) {
      this.page = end;
      return false;
    }
    const base = ram.wordIndex(this.base + this.page * 8) - this.page * 2;
    for (let page = this.page; page < end; page++) {
      if ((ram.word(base + page * 2) | ram.word(base + page * 2 + 1)) === 0) continue;
      if (format.pteNone(ram.read64(this.base + page * 8))) continue;
      this.page = page;
      return true;
    }
    this.page = end;
    return false;
  }

  /** Finds the table of `page`; without `create`, steps over spans that have none. @returns false to end the walk */
  private enterTable(): boolean {
    const { mm } = this;
    const index = (this.firstIndex + this.page) % mm.ptrsPerPte;
    const at = this.lo + this.page * mm.pageSize;
    const hi = this.hi + Math.floor(at / 2 ** 32);
    const table = mm.pteTable(hi, at >>> 0, this.create ? CREATE : EXISTING);
    if (table < 0) {
      this.error = table;
      return false;
    }
    if (table === 0) {
      const span = 1n << BigInt(mm.noTableShift);
      const left = (span - (this.addrOf(this.page) & (span - 1n))) / BigInt(mm.pageSize);
      this.page = Math.min(this.pages, this.page + Number(left));
      this.tableEnd = 0;
      return true;
    }
    this.base = table + (index - this.page) * 8;
    this.tableEnd = Math.min(this.pages, this.page + mm.ptrsPerPte - index);
    return true;
  }
}

/** An entry that a walk has come to. */
export interface PteEntry {
  readonly ptep: Ptep;
  readonly addr: VirtAddr;
}

/** pte_fn_t: 0 to go on; anything else ends the walk and is its result. The entry is the present one only until then. */
export type PteFn = (entry: PteEntry) => Progress<number>;

/**
 * apply_to_page_range(&init_mm, start, size, fn): calls `fn` for every PTE. @returns 0, fn's result, -EINVAL, -ENOMEM
 * @kernel apply_to_page_range mm/memory.c read
 */
export function applyToPageRange(
  mm: InitMm,
  start: VirtAddr,
  size: number,
  fn: PteFn,
): Activity<number> {
  const { applyToPageRange: compiled } = mm.kernel.compiled ?? {};
  return compiled ? compiled(start, size, fn) : apply(new PteCursor(mm, start, size, true), fn);
}

/**
 * apply_to_existing_page_range(): the same for PTEs that are not none.
 * @kernel apply_to_existing_page_range mm/memory.c read
 */
export function applyToExistingPageRange(
  mm: InitMm,
  start: VirtAddr,
  size: number,
  fn: PteFn,
): Activity<number> {
  const { applyToExistingPageRange: compiled } = mm.kernel.compiled ?? {};
  return compiled ? compiled(start, size, fn) : apply(new PteCursor(mm, start, size, false), fn);
}

function* apply(cursor: PteCursor, fn: PteFn): Activity<number> {
  while (cursor.next()) {
    const progress = fn(cursor);
    const result = typeof progress === 'number' ? progress : yield* progress;
    if (result !== 0) return result;
  }
  return cursor.error;
}
