// A naive arena that the property tests compare with: pages are byte arrays. It is written from the description of the
// kernel's behaviour, and shares no code with the model.
import { ERRNO } from '../mm/context.ts';
import { NaiveTree } from './test-naive-tree.ts';

/** An arena of `size` pages that has `low` pages of the band below it; `v2` is the patch as posted. */
export class NaiveArena {
  readonly scratch: Uint8Array;
  /** What the kernel reaches, by page from user_vm_start. */
  readonly pages = new Map<number, Uint8Array>();
  readonly free = new NaiveTree();
  /** Frees that wait for the worker, the last first. */
  pending: readonly { page: number; count: number }[] = [];
  private readonly given: { size: number; v2: boolean; low: number; pageSize: number };

  constructor(size: number, v2: boolean, low = 0, pageSize = 4096) {
    this.given = { size, v2, low, pageSize };
    this.scratch = new Uint8Array(pageSize);
    this.free.set(0, size - 1);
  }

  /** Data pages mapped. */
  get held(): number {
    return [...this.pages.values()].filter((page) => page !== this.scratch).length;
  }

  /** @returns the first page, or null */
  alloc(hint: number | null, count: number, sleepable: boolean): number | null {
    const { size, v2, low, pageSize } = this.given;
    const wanted = this.slot(hint ?? 0);
    if (wanted + count > size) return null;
    if (hint !== null && !this.free.covered(wanted, wanted + count - 1)) return null;
    const slot = hint === null ? this.free.find(count) : wanted;
    if (slot < 0) return null;
    this.free.clear(slot, slot + count - 1);
    const first = ((slot + low) % (2 ** 32 / pageSize)) - low;
    for (let done = 0; done < count; done++) {
      const there = this.pages.get(first + done);
      if (there && (v2 || there !== this.scratch)) {
        this.free.set(slot + done, slot + count - 1);
        this.release(first, done, sleepable);
        return null;
      }
      this.pages.set(first + done, new Uint8Array(pageSize));
    }
    return first;
  }

  release(page: number, count: number, sleepable: boolean): void {
    const cut = Math.min(count, this.given.size - page);
    if (cut <= 0) return;
    if (!sleepable) this.pending = [{ page, count: cut }, ...this.pending];
    else this.drop(page, cut);
  }

  worker(): void {
    for (const { page, count } of this.pending) this.drop(page, count);
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
    const bytes = this.pages.get(page) ?? this.scratch;
    this.pages.set(page, bytes);
    return bytes;
  }

  /** Memory that a user access reaches, or null for SIGSEGV. */
  user(page: number): Uint8Array | null {
    const mapped = this.pages.get(page);
    if (mapped === this.scratch || page < 0 || page >= this.given.size) return null;
    if (mapped) return mapped;
    this.free.clear(page, page);
    const bytes = new Uint8Array(this.given.pageSize);
    this.pages.set(page, bytes);
    return bytes;
  }

  private drop(page: number, count: number): void {
    for (let i = page; i < page + count; i++) this.pages.delete(i);
    this.free.set(this.slot(page), this.slot(page) + count - 1);
  }

  /** Slot of a page: below user_vm_start the numbers wrap at the end of the band. */
  private slot(page: number): number {
    return page < 0 ? page + 2 ** 32 / this.given.pageSize : page;
  }
}
