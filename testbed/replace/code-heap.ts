// Memory that compiled code asks for, kmalloc_nolock() and its kin, and what the model lays out for it there. It lies in the
// direct map, apart from the pages that the model gives out, so that a scenario finds those where they always are.
import type { Kernel } from '../kernel.ts';
import { tryAllocate } from './structures.ts';

/** Pages that the heap grows by. An array of pointers to the pages of one batch has two. */
const CHUNK = 16;
const ALIGN = 64;

export class CodeHeap {
  private readonly kernel: Kernel;
  /** Bytes of what is given out, by address. */
  private readonly blocks = new Map<bigint, number>();
  /** Free blocks by their size. */
  private readonly spare = new Map<number, bigint[]>();
  private next = 0n;
  private end = 0n;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.grow();
  }

  /** @returns a kernel address, or 0 without room. What lies there is what was left there */
  alloc(bytes: number): bigint {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    const at = this.spare.get(size)?.pop() ?? this.fresh(size);
    if (at !== 0n) this.blocks.set(at, size);
    return at;
  }

  /** A C string, which is to be freed. @returns its address, or 0 without room */
  text(text: string): bigint {
    const bytes = new TextEncoder().encode(`${text}\0`);
    const at = this.alloc(bytes.length);
    if (at !== 0n) this.kernel.ram.write(Number(at - this.kernel.layout.directMap), bytes);
    return at;
  }

  /** @returns false for what is no block */
  free(address: bigint): boolean {
    const size = this.blocks.get(address);
    if (size === undefined) return false;
    this.blocks.delete(address);
    const spare = this.spare.get(size);
    if (spare === undefined) this.spare.set(size, [address]);
    else spare.push(address);
    return true;
  }

  /** Bytes of the block that begins at an address; 0: none does. */
  sizeOf(address: bigint): number {
    return this.blocks.get(address) ?? 0;
  }

  private fresh(size: number): bigint {
    if (this.next + BigInt(size) > this.end && (size > this.chunkSize || !this.grow())) return 0n;
    const at = this.next;
    this.next += BigInt(size);
    return at;
  }

  private get chunkSize(): number {
    return CHUNK * this.kernel.pageSize;
  }

  /** @returns false where no memory is left for it */
  private grow(): boolean {
    const pa = tryAllocate(this.kernel, this.chunkSize);
    if (pa === null) return false;
    this.next = this.kernel.layout.directMap + BigInt(pa);
    this.end = this.next + BigInt(this.chunkSize);
    return true;
  }
}
