// The one RAM that every vCPU, the walker, the kernel model and the debugger share. It leaves out buses, devices and
// memory attributes: an address outside it answers nothing, and the caller decides what that means.
import { FRAME_SIZE, type Pfn, type PhysAddr } from './address.ts';
import { type MemoryVersion, VersionedMemory } from './versions.ts';

/**
 * Contiguous physical memory [base, base + size). Its bytes are committed by the host when first touched, so a large
 * size is cheap. Words are little-endian, as on both architectures here.
 */
export class Ram {
  readonly base: PhysAddr;
  readonly size: number;
  /** The backing store. The engine maps it: it must stay referenced until every engine on it is closed. */
  readonly bytes: Uint8Array;
  private readonly u32: Uint32Array;
  private readonly u64: BigUint64Array;
  private readonly view: DataView;
  /** 1 for each frame that may hold something else than zeroes, and the list of those frames. */
  private readonly dirty: Uint8Array;
  private readonly dirtyFrames: number[] = [];
  private readonly versions: VersionedMemory;
  /** 1 for each frame of {@link watch}. */
  private readonly watched: Uint8Array;
  /** Told of a write by a method here to a watched frame, before it, with the frame's number counted from {@link base}. */
  onWatched: ((frame: number) => void) | null = null;

  /** @param base multiple of 4096. @param size bytes, a multiple of 4096 */
  constructor(base: number, size: number) {
    if (base % FRAME_SIZE !== 0 || size % FRAME_SIZE !== 0 || size <= 0) {
      throw new RangeError(`RAM must be whole frames: base ${base}, size ${size}`);
    }
    this.base = base as PhysAddr;
    this.size = size;
    const store = new SharedArrayBuffer(size);
    this.bytes = new Uint8Array(store);
    this.u32 = new Uint32Array(store);
    this.u64 = new BigUint64Array(store);
    this.view = new DataView(store);
    this.dirty = new Uint8Array(size / FRAME_SIZE);
    this.versions = new VersionedMemory(this.bytes);
    this.watched = new Uint8Array(size / FRAME_SIZE);
  }

  /**
   * Notes that the frame at `pa` (in RAM) will be written by somebody who does not use the methods here: the engine, once
   * a translation lets it write.
   */
  markDirty(pa: number): void {
    this.touch(Math.floor((pa - this.base) / FRAME_SIZE));
  }

  /** Has {@link onWatched} told of writes to the frame at `pa` (in RAM) until the next {@link reset}. */
  watch(pa: number): void {
    this.watched[Math.floor((pa - this.base) / FRAME_SIZE)] = 1;
  }

  /**
   * True if the frame at `pa` (in RAM) may be written without {@link markDirty}: it was marked since the last save, or
   * there is none.
   */
  isMarked(pa: number): boolean {
    const { versions } = this;
    return !versions.saved || versions.touched[Math.floor((pa - this.base) / FRAME_SIZE)] !== 0;
  }

  /** Frames copied so far for {@link save} and {@link restore}. */
  get framesCopied(): number {
    return this.versions.copied;
  }

  /** The contents, to go back to. Every writer that does not use the methods here has to mark its frames anew. */
  save(): MemoryVersion {
    return this.versions.save();
  }

  /**
   * Brings saved contents back, at the cost of the frames that differ; the same holds for writers as after {@link save}.
   * @returns numbers of the frames that changed, counted from {@link base}
   * @throws RangeError for what was saved before a {@link reset}
   */
  restore(version: MemoryVersion): ReadonlySet<number> {
    return this.versions.restore(version);
  }

  /** Makes all of it zero again. Costs what was written. */
  reset(): void {
    this.versions.forget();
    this.watched.fill(0);
    for (const frame of this.dirtyFrames) {
      this.bytes.fill(0, frame * FRAME_SIZE, (frame + 1) * FRAME_SIZE);
      this.dirty[frame] = 0;
    }
    this.dirtyFrames.length = 0;
  }

  /** Before the frame is written. */
  private mark(frame: number): void {
    const whole = Math.floor(frame);
    if (this.watched[whole] !== 0) this.onWatched?.(whole);
    this.touch(whole);
  }

  private touch(whole: number): void {
    if (this.versions.touched[whole] !== 0) return;
    const clean = this.dirty[whole] === 0;
    this.versions.touch(whole, clean);
    if (!clean) return;
    this.dirty[whole] = 1;
    this.dirtyFrames.push(whole);
  }

  /** True if all of [pa, pa + length) is RAM. */
  contains(pa: number, length = 1): boolean {
    const offset = pa - this.base;
    return offset >= 0 && offset + length <= this.size;
  }

  /**
   * Index of the 32-bit word at `pa`, for {@link word}; -1 outside RAM. With {@link word} it is the walker's way to
   * read an entry without making a bigint.
   */
  wordIndex(pa: number): number {
    const offset = pa - this.base;
    return offset >= 0 && offset < this.size ? offset / 4 : -1;
  }

  /** The 32-bit word of an index from {@link wordIndex}, unsigned. */
  word(index: number): number {
    return this.u32[index];
  }

  setWord(index: number, value: number): void {
    this.mark(index / (FRAME_SIZE / 4));
    this.u32[index] = value;
  }

  /** The 8-byte word at `pa`, which must be 8-byte aligned. @throws RangeError outside RAM */
  read64(pa: number): bigint {
    return this.u64[this.check(pa, 8) / 8];
  }

  /** Stores an 8-byte word at `pa`, which must be 8-byte aligned. @throws RangeError outside RAM */
  write64(pa: number, value: bigint): void {
    const offset = this.check(pa, 8);
    this.mark(offset / FRAME_SIZE);
    this.u64[offset / 8] = value;
  }

  /** `length` (1 to 8) bytes at any alignment, zero-extended. @throws RangeError outside RAM */
  readUint(pa: number, length: number): bigint {
    const offset = this.check(pa, length);
    if (length === 8) return this.view.getBigUint64(offset, true);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[offset + i]);
    return value;
  }

  /** Copies `length` bytes out. @throws RangeError outside RAM */
  read(pa: number, length: number): Uint8Array {
    const offset = this.check(pa, length);
    return this.bytes.slice(offset, offset + length);
  }

  /** @throws RangeError outside RAM */
  write(pa: number, data: Uint8Array): void {
    const offset = this.check(pa, data.length);
    for (let at = offset; at < offset + data.length; at += FRAME_SIZE) this.mark(at / FRAME_SIZE);
    if (data.length > 0) this.mark((offset + data.length - 1) / FRAME_SIZE);
    this.bytes.set(data, offset);
  }

  /** Fills one frame with zeroes. @throws RangeError outside RAM */
  clearFrame(pfn: Pfn): void {
    const offset = this.check(pfn * FRAME_SIZE, FRAME_SIZE);
    if (this.dirty[offset / FRAME_SIZE] !== 0) this.mark(offset / FRAME_SIZE);
    this.bytes.fill(0, offset, offset + FRAME_SIZE);
  }

  private check(pa: number, length: number): number {
    const offset = pa - this.base;
    if (!(offset >= 0 && offset + length <= this.size)) {
      throw new RangeError(`physical address 0x${pa.toString(16)} is outside RAM`);
    }
    return offset;
  }
}
