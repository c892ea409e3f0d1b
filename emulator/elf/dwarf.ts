// What all debugging sections are made of: numbers, LEB128 and strings (DWARF 5, 7.6).
import { ElfError, Reader } from './bytes.ts';

/** Beyond 7 bytes a number is none that a table can mean. */
const MOST_SCALE = 2 ** 42;

/** Reads a section from one place on. */
export class Cursor {
  at: number;
  private readonly bytes: Uint8Array;
  private readonly reader: Reader;
  private readonly section: string;

  /** @param section its name, for errors */
  constructor(bytes: Uint8Array, section: string, at = 0) {
    this.at = at;
    this.bytes = bytes;
    this.reader = new Reader(bytes);
    this.section = section;
  }

  get end(): number {
    return this.reader.length;
  }

  /** @param size 1, 2, 3, 4 or 8 */
  u(size: number): number {
    const { at } = this;
    this.skip(size);
    if (size === 1) return this.reader.u8(at);
    if (size === 2) return this.reader.u16(at);
    if (size === 3) return this.reader.u16(at) + this.reader.u8(at + 2) * 0x1_0000;
    return size === 4 ? this.reader.u32(at) : Number(this.reader.u64(at));
  }

  skip(size: number): void {
    this.reader.check(this.at, size, this.section);
    this.at += size;
  }

  address(): bigint {
    this.skip(8);
    return this.reader.u64(this.at - 8);
  }

  uleb(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u(1);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      if (scale > MOST_SCALE) throw new ElfError(this.at, `${this.section}: a number is too large`);
    }
  }

  sleb(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u(1);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return byte & 0x40 ? value - scale * 128 : value;
      if (scale > MOST_SCALE) throw new ElfError(this.at, `${this.section}: a number is too large`);
    }
  }

  string(): string {
    const text = textAt(this.bytes, this.at);
    const end = this.bytes.indexOf(0, this.at);
    this.skip((end < 0 ? this.bytes.length : end) + 1 - this.at);
    return text;
  }
}

/** The string at an offset of a string section; empty where there is none. */
export function textAt(bytes: Uint8Array, offset: number): string {
  const end = bytes.indexOf(0, offset);
  return end < 0 ? '' : new TextDecoder().decode(bytes.subarray(offset, end));
}
