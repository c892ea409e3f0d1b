// A naive arena that the property tests compare with: pages are byte arrays. It is written from the description of the
// kernel's behaviour, and shares no code with the model.
import { ERRNO } from '../mm/context.ts';
import { NaiveTree } from './test-naive-tree.ts';

/** An arena of `size` pages that has `low` pages of the band below it; `v2` is the patch as posted. */
export class NaiveArena {
  /** What the kernel reaches, by page from user_vm_start. */
  readonly pages = new Map<number, Uint8Array>();
  readonly free = new NaiveTree();
  readonly scratch: Uint8Array;
  /** Frees that wait for the worker, the last first. */
  pending: readonly { page: number; count: number }[] = [];
  private readonly given: { size: number; v2: boolean; low: number; pageSize: number };

  constructor(size: number, v2: boolean, low = 0, pageSize = 4096) {
    this.given = { size, v2, low, pageSize };
    this.scratch = new Uint8Array(pageSize);
    this.free.set(0, size - 1);
  }

  /** @returns the first page, or null */
  alloc(hint: number | null, count: number, sleepable: boolean): number | null {
    if (this.slot(hint ?? 0) + count > this.given.size) return null;
    const slot = hint === null ? this.free.find(count) : this.slot(hint);
    if (!this.free.covered(slot, slot + count - 1)) return null;
    this.free.clear(slot, slot + count - 1);
    const first = this.slot(slot + this.given.low) - this.given.low;
    for (let page = first; page < first + count; page++) {
      const there = this.pages.get(page);
      if (there && (this.given.v2 || there !== this.scratch)) {
        this.free.set(slot + page - first, slot + count - 1);
        this.release(first, page - first, sleepable);
        return null;
      }
      this.pages.set(page, new Uint8Array(this.given.pageSize));
    }
    return first;
  }

  release(page: number, count: number, sleepable: boolean): void {
    const cut = Math.min(count, this.given.size - page);
    if (cut <= 0) return;
    if (sleepable) this.drop([{ page, count: cut }]);
    else this.pending = [{ page, count: cut }, ...this.pending];
  }

  worker(): void {
    this.drop(this.pending);
    this.pending = [];
  }

  reserve(page: number, count: number): number {
    const slot = this.slot(page);
    if (slot + count > this.given.size) return ERRNO.EINVAL;
    if (!this.free.covered(slot, slot + count - 1)) return ERRNO.EBUSY;
    this.free.clear(slot, slot + count - 1);
    return 0;
  }

  /** Memory that a kernel access reaches; absent pages are scratched by it. */
  kernel(page: number): Uint8Array {
    if (!this.pages.has(page)) this.pages.set(page, this.scratch);
    return this.pages.get(page)!;
  }

  /** Memory that a user access reaches, or null for SIGSEGV. */
  user(page: number): Uint8Array | null {
    if (page < 0 || page >= this.given.size) return null;
    if (!this.pages.has(page)) {
      this.free.clear(page, page);
      this.pages.set(page, new Uint8Array(this.given.pageSize));
    }
    return this.pages.get(page) === this.scratch ? null : this.pages.get(page)!;
  }

  /** Data pages mapped. */
  get held(): number {
    return [...this.pages.values()].filter((page) => page !== this.scratch).length;
  }

  private drop(spans: readonly { page: number; count: number }[]): void {
    for (const { page, count } of spans) {
      for (let i = page; i < page + count; i++) this.pages.delete(i);
      this.free.set(this.slot(page), this.slot(page) + count - 1);
    }
  }

  /** Slot of a page: the numbers wrap at both ends of the band. */
  private slot(page: number): number {
    const band = 2 ** 32 / this.given.pageSize;
    return (page + band) % band;
  }
}
