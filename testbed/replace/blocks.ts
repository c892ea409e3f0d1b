// Which parts of a stretch of memory are in use.

const ALIGN = 64;

export class Blocks {
  private readonly room: number;
  /** Bytes by offset. */
  private readonly blocks = new Map<number, number>();

  /** @param room bytes */
  constructor(room: number) {
    this.room = room;
  }

  /** @returns the offset of the lowest gap that fits, or null */
  alloc(bytes: number): number | null {
    const at = this.gap(sizeOf(bytes));
    if (at !== null) this.blocks.set(at, sizeOf(bytes));
    return at;
  }

  /** @returns false for what is no block */
  free(offset: number): boolean {
    return this.blocks.delete(offset);
  }

  has(offset: number): boolean {
    return this.blocks.has(offset);
  }

  private gap(size: number): number | null {
    let at = 0;
    for (const [start, length] of [...this.blocks].sort(([a], [b]) => a - b)) {
      if (start - at >= size) break;
      at = start + length;
    }
    return at + size > this.room ? null : at;
  }
}

const sizeOf = (bytes: number): number => Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
