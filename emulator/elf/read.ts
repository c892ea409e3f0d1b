// Reads ELF64 little-endian objects and executables for x86-64 and AArch64: sections, symbols, relocations with addend.
// Written after the ELF specification (gABI 4.1 and its 64-bit chapter). Left out: program headers, dynamic linking,
// compressed sections, relocations without addend (neither psABI uses them).

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

export type ElfMachine = 'x86_64' | 'arm64';

const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHT_RELA = 4;
export const SHT_NOBITS = 8;
const SHT_REL = 9;
const SHT_SYMTAB_SHNDX = 18;

export const SHF_ALLOC = 2n;
export const SHF_EXECINSTR = 4n;

export const SHN_UNDEF = 0;
const SHN_LORESERVE = 0xff00;
const SHN_XINDEX = 0xffff;

export interface ElfRelocation {
  /** Bytes into the section it patches (its address in an executable). */
  readonly offset: bigint;
  /** R_X86_64_ or R_AARCH64_ number. */
  readonly type: number;
  /** Index into {@link ElfFile.symbols}. */
  readonly symbol: number;
  readonly addend: bigint;
}

export interface ElfSection {
  readonly index: number;
  readonly name: string;
  /** SHT_ number. */
  readonly type: number;
  /** SHF_ bits. */
  readonly flags: bigint;
  readonly address: bigint;
  /** Bytes in memory. */
  readonly size: bigint;
  readonly align: bigint;
  /** Bytes in the file, a view of it; empty for SHT_NOBITS. */
  readonly data: Uint8Array;
  /** What patches this section, from every SHT_RELA that names it. */
  readonly relocations: readonly ElfRelocation[];
}

export interface ElfSymbol {
  readonly name: string;
  /** Bytes into its section in an object, an address in an executable. */
  readonly value: bigint;
  readonly size: bigint;
  /** STT_ number: 0 none, 1 object, 2 function, 3 section, 4 file. */
  readonly type: number;
  /** STB_ number: 0 local, 1 global, 2 weak. */
  readonly binding: number;
  /** Index of its section, or SHN_UNDEF, SHN_ABS (0xfff1), SHN_COMMON (0xfff2). */
  readonly section: number;
}

export interface ElfFile {
  readonly machine: ElfMachine;
  /** ET_ number: 1 relocatable object, 2 executable, 3 shared. */
  readonly type: number;
  /** By index; the first is the null section. */
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
}

const MACHINES: Readonly<Record<number, ElfMachine>> = { 62: 'x86_64', 183: 'arm64' };
const HEADER_SIZE = 64;
const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const RELA_SIZE = 24;

/** @throws ElfError if the bytes are no such file or contradict themselves */
export function readElf(file: Uint8Array): ElfFile {
  const reader = new Reader(file);
  const machine = checkHeader(reader);
  const headers = readSectionHeaders(reader);
  const symtab = headers.find((header) => header.type === SHT_SYMTAB);
  const symbols = symtab === undefined ? [] : readSymbols(reader, headers, symtab);
  const relocations = readRelocations(reader, headers, symtab, symbols.length);
  const sections = headers.map((header) => ({
    index: header.index,
    name: header.name,
    type: header.type,
    flags: header.flags,
    address: header.address,
    size: header.size,
    align: header.align,
    data: reader.contents(header),
    relocations: relocations.get(header.index) ?? [],
  }));
  return { machine, type: reader.u16(16), sections, symbols };
}

/** Bounds-checked little-endian reads. */
class Reader {
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

function checkHeader(reader: Reader): ElfMachine {
  const isElf = reader.length >= 4 && reader.u32(0) === 0x464c_457f; // "\x7fELF"
  if (!isElf) throw new ElfError(0, 'this is no ELF file');
  reader.check(0, HEADER_SIZE, 'the ELF header');
  if (reader.u8(4) !== 2) throw new ElfError(4, 'a 32-bit ELF file');
  if (reader.u8(5) !== 1) throw new ElfError(5, 'a big-endian ELF file');
  const machine = MACHINES[reader.u16(18)];
  if (machine === undefined) throw new ElfError(18, `an ELF file for machine ${reader.u16(18)}`);
  return machine;
}

interface SectionHeader {
  readonly at: number;
  readonly index: number;
  name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  readonly size: bigint;
  readonly link: number;
  readonly info: number;
  readonly align: bigint;
  readonly entrySize: bigint;
}

function readSectionHeaders(reader: Reader): SectionHeader[] {
  const start = reader.offset(40, 'the section table');
  if (start === 0) throw new ElfError(40, 'the file has no sections');
  if (reader.u16(58) !== SECTION_HEADER_SIZE) throw new ElfError(58, 'odd section header size');
  reader.check(start, SECTION_HEADER_SIZE, 'the section table');
  // Numbers too large for the header stand in the null section's header.
  const count = reader.u16(60) || reader.offset(start + 32, 'the section count');
  const names = reader.u16(62) === SHN_XINDEX ? reader.u32(start + 40) : reader.u16(62);
  reader.check(start, count * SECTION_HEADER_SIZE, 'the section table');
  const headers = Array.from({ length: count }, (_, index) =>
    readSectionHeader(reader, start + index * SECTION_HEADER_SIZE, index),
  );
  const table = stringTable(headers, names, 62);
  for (const header of headers)
    header.name = reader.string(table, reader.u32(header.at), header.at);
  return headers;
}

function readSectionHeader(reader: Reader, at: number, index: number): SectionHeader {
  const type = reader.u32(at + 4);
  const hasBytes = type !== SHT_NOBITS && type !== 0;
  const size = reader.u64(at + 32);
  const offset = hasBytes ? reader.offset(at + 24, `section ${index}`) : 0;
  if (hasBytes && BigInt(offset) + size > BigInt(reader.length)) {
    throw new ElfError(at + 32, `section ${index} reaches past the end of the file`);
  }
  return {
    at,
    index,
    name: '',
    type,
    flags: reader.u64(at + 8),
    address: reader.u64(at + 16),
    offset,
    size,
    link: reader.u32(at + 40),
    info: reader.u32(at + 44),
    align: reader.u64(at + 48),
    entrySize: reader.u64(at + 56),
  };
}

function stringTable(
  headers: readonly SectionHeader[],
  index: number,
  from: number,
): SectionHeader {
  const table = headers[index];
  if (table?.type === SHT_STRTAB) return table;
  throw new ElfError(from, `section ${index} should be a string table`);
}

function checkEntries(table: SectionHeader, size: number): number {
  if (table.entrySize !== BigInt(size) || table.size % BigInt(size) !== 0n) {
    throw new ElfError(table.at + 56, `entries of ${table.name} should have ${size} bytes`);
  }
  return Number(table.size) / size;
}

function readSymbols(
  reader: Reader,
  headers: readonly SectionHeader[],
  symtab: SectionHeader,
): ElfSymbol[] {
  const names = stringTable(headers, symtab.link, symtab.at + 40);
  const wide = headers.find((h) => h.type === SHT_SYMTAB_SHNDX && h.link === symtab.index);
  const count = checkEntries(symtab, SYMBOL_SIZE);
  return Array.from({ length: count }, (_, i) => {
    const at = symtab.offset + i * SYMBOL_SIZE;
    const info = reader.u8(at + 4);
    const section = sectionOf(reader, at, i, wide);
    const isReal = section < SHN_LORESERVE || section > SHN_XINDEX;
    if (isReal && section >= headers.length) {
      throw new ElfError(at + 6, `symbol ${i} names section ${section}, which does not exist`);
    }
    return {
      name: reader.string(names, reader.u32(at), at),
      value: reader.u64(at + 8),
      size: reader.u64(at + 16),
      type: info & 0xf,
      binding: info >> 4,
      section,
    };
  });
}

function sectionOf(
  reader: Reader,
  at: number,
  index: number,
  wide: SectionHeader | undefined,
): number {
  const section = reader.u16(at + 6);
  if (section !== SHN_XINDEX) return section;
  if (wide === undefined || BigInt(index * 4 + 4) > wide.size) {
    throw new ElfError(at + 6, `symbol ${index} has no section index`);
  }
  return reader.u32(wide.offset + index * 4);
}

function readRelocations(
  reader: Reader,
  headers: readonly SectionHeader[],
  symtab: SectionHeader | undefined,
  symbolCount: number,
): Map<number, ElfRelocation[]> {
  const found = new Map<number, ElfRelocation[]>();
  for (const header of headers) {
    if (header.type === SHT_REL) {
      throw new ElfError(header.at + 4, `${header.name} holds relocations without addend`);
    }
    // Executables have dynamic relocations, whose symbols lie in another table.
    if (header.type !== SHT_RELA || header.link !== symtab?.index) continue;
    if (header.info >= headers.length) {
      throw new ElfError(
        header.at + 44,
        `${header.name} patches section ${header.info}, which does not exist`,
      );
    }
    const list = found.get(header.info) ?? [];
    const count = checkEntries(header, RELA_SIZE);
    for (let i = 0; i < count; i++) {
      list.push(readRelocation(reader, header.offset + i * RELA_SIZE, header, symbolCount));
    }
    found.set(header.info, list);
  }
  return found;
}

function readRelocation(
  reader: Reader,
  at: number,
  { name }: SectionHeader,
  symbolCount: number,
): ElfRelocation {
  const symbol = reader.u32(at + 12);
  if (symbol >= symbolCount) {
    throw new ElfError(at + 12, `${name} refers to symbol ${symbol}, which does not exist`);
  }
  return {
    offset: reader.u64(at),
    type: reader.u32(at + 8),
    symbol,
    addend: reader.s64(at + 16),
  };
}
