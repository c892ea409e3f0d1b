// Naive references that the property tests compare with: a set of free slots, and an arena whose pages are byte arrays.
// They are written from the description of the kernel's behaviour, and share no code with the model.
import { ERRNO } from '../mm/context.ts';

/** A set of slots and, for the ties, the time at which each maximal run last changed. */
export class NaiveTree {
  private runs: { start: number; last: number; time: number }[] = [];
  private time = 0;

  set(start: number, last: number): void {
    if (this.covered(start, last)) return;
    this.clear(start, last);
    const left = this.runs.find((run) => run.last + 1 === start);
    const right = this.runs.find((run) => run.start === last + 1);
    this.runs = this.runs.filter((run) => run !== left && run !== right);
    this.add(left ? left.start : start, right ? right.last : last);
  }

  clear(start: number, last: number): void {
    const hit = this.runs.filter((run) => run.start <= last && run.last >= start);
    this.runs = this.runs.filter((run) => !hit.includes(run));
    for (const run of hit.sort((a, b) => a.start - b.start)) {
      if (run.start < start) this.add(run.start, start - 1);
      if (run.last > last) this.add(last + 1, run.last);
    }
  }

  covered(start: number, last: number): boolean {
    return this.runs.some((run) => run.start <= start && run.last >= last);
  }

  find(len: number): number {
    const size = (run: { start: number; last: number }) => run.last - run.start + 1;
    const fits = this.runs.filter((run) => size(run) >= len);
    fits.sort((a, b) => size(a) - size(b) || b.time - a.time);
    return fits[0]?.start ?? ERRNO.ENOENT;
  }

  nodes(): number[][] {
    return [...this.runs].sort((a, b) => a.start - b.start).map((run) => [run.start, run.last]);
  }

  private add(start: number, last: number): void {
    this.runs.push({ start, last, time: ++this.time });
  }
}

const PAGE = 4096;

/** An arena of `size` pages; `v2` is the patch as posted. Slots outside of it can only be scratched. */
export class NaiveArena {
  readonly scratch = new Uint8Array(PAGE);
  readonly pages = new Map<number, Uint8Array>();
  readonly free = new NaiveTree();
  /** Frees that wait for the worker, the last first. */
  pending: readonly { page: number; count: number }[] = [];
  private readonly size: number;
  private readonly v2: boolean;

  constructor(size: number, v2: boolean) {
    this.size = size;
    this.v2 = v2;
    this.free.set(0, size - 1);
  }

  /** Data pages mapped. */
  get held(): number {
    return [...this.pages.values()].filter((page) => page !== this.scratch).length;
  }

  /** @returns the first page, or null */
  alloc(hint: number | null, count: number, sleepable: boolean): number | null {
    if (count > this.size || (hint !== null && hint + count > this.size)) return null;
    if (hint !== null && !this.free.covered(hint, hint + count - 1)) return null;
    const first = hint ?? this.free.find(count);
    if (first < 0) return null;
    this.free.clear(first, first + count - 1);
    for (let page = first; page < first + count; page++) {
      if (this.v2 && this.pages.has(page)) {
        this.free.set(page, first + count - 1);
        if (page > first) this.release(first, page - first, sleepable);
        return null;
      }
      this.pages.set(page, new Uint8Array(PAGE));
    }
    return first;
  }

  release(page: number, count: number, sleepable: boolean): void {
    const cut = Math.min(count, this.size - page);
    if (cut <= 0) return;
    if (!sleepable) this.pending = [{ page, count: cut }, ...this.pending];
    else this.drop(page, cut);
  }

  worker(): void {
    for (const { page, count } of this.pending) this.drop(page, count);
    this.pending = [];
  }

  reserve(page: number, count: number): number {
    if (page + count > this.size) return ERRNO.EINVAL;
    if (!this.free.covered(page, page + count - 1)) return ERRNO.EBUSY;
    this.free.clear(page, page + count - 1);
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
    if (mapped === this.scratch || page < 0 || page >= this.size) return null;
    if (mapped) return mapped;
    this.free.clear(page, page);
    const bytes = new Uint8Array(PAGE);
    this.pages.set(page, bytes);
    return bytes;
  }

  private drop(page: number, count: number): void {
    for (let i = page; i < page + count; i++) this.pages.delete(i);
    this.free.set(page, page + count - 1);
  }
}
