// Memory that compiled code asks for: kmalloc_nolock(). It lies in the direct map, apart from the pages that the model
// gives out, so that a scenario finds those where they always are.
import type { Kernel } from '../kernel.ts';
import { allocate } from './structures.ts';

/** An array of pointers to the pages of one batch has two pages; and there may be a few at once. */
const PAGES = 16;
const ALIGN = 64;

export class CodeHeap {
  private readonly kernel: Kernel;
  private readonly start: number;
  /** Bytes by offset, in order. */
  private readonly blocks = new Map<number, number>();

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.start = allocate(kernel, PAGES * kernel.pageSize);
  }

  /** @returns a kernel address, or 0 without room */
  alloc(bytes: number): bigint {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    let at = 0;
    for (const [start, length] of [...this.blocks].sort(([a], [b]) => a - b)) {
      if (start - at >= size) break;
      at = start + length;
    }
    if (at + size > PAGES * this.kernel.pageSize) return 0n;
    this.blocks.set(at, size);
    return this.kernel.layout.directMap + BigInt(this.start + at);
  }

  /** @returns false for what is no block */
  free(address: bigint): boolean {
    return this.blocks.delete(Number(address - this.kernel.layout.directMap) - this.start);
  }
}
