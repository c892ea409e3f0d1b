// The bytes of an ELF file: bounds-checked little-endian reads, and the error that names a place in the file.
import { type SectionHeader, SHT_NOBITS } from './section-header.ts';

/** Input that is no ELF file of ours. `message` names the place in the file; `remedy` says what to do. */
export class ElfError extends Error {
  /** Offset into the file, bytes. */
  readonly offset: number;
  readonly remedy: string;

  constructor(offset: number, reason: string, remedy = OBJECT_REMEDY) {
    super(`${reason} (at offset 0x${offset.toString(16)})`);
    this.name = 'ElfError';
    this.offset = offset;
    this.remedy = remedy;
  }
}

const OBJECT_REMEDY = 'compile again with -c for x86-64 or AArch64 (little-endian)';

/** Bounds-checked little-endian reads. */
export class Reader {
  private readonly file: Uint8Array;
  private readonly view: DataView;

  constructor(file: Uint8Array) {
    this.file = file;
    this.view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  }

  get length(): number {
    return this.file.length;
  }

  check(offset: number, length: number, what: string): void {
    if (offset + length <= this.file.length) return;
    throw new ElfError(offset, `the file ends inside ${what}`, 'copy or build the file again');
  }

  u8(offset: number): number {
    return this.file[offset];
  }

  u16(offset: number): number {
    return this.view.getUint16(offset, true);
  }

  u32(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  u64(offset: number): bigint {
    return this.view.getBigUint64(offset, true);
  }

  s64(offset: number): bigint {
    return this.view.getBigInt64(offset, true);
  }

  /** A 64-bit file offset or size as number. */
  offset(at: number, what: string): number {
    const value = this.u64(at);
    if (value <= BigInt(this.file.length)) return Number(value);
    throw new ElfError(at, `${what} lies past the end of the file`, 'copy or build the file again');
  }

  contents(header: SectionHeader): Uint8Array {
    if (header.type === SHT_NOBITS || header.type === 0) return new Uint8Array(0);
    return this.file.subarray(header.offset, header.offset + Number(header.size));
  }

  /** The zero-terminated string `index` bytes into a string table. */
  string(table: SectionHeader, index: number, from: number): string {
    const bytes = this.contents(table);
    const end = index < bytes.length ? bytes.indexOf(0, index) : -1;
    if (end < 0)
      throw new ElfError(from, `a name lies outside ${table.name || 'its string table'}`);
    return new TextDecoder().decode(bytes.subarray(index, end));
  }
}
