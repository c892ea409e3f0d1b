// Reads ELF64 little-endian objects and executables for x86-64 and AArch64: sections, symbols, relocations with and
// without addend, section groups. Written after the ELF specification (gABI 4.1 and its 64-bit chapter). Left out:
// dynamic linking, compressed sections, which keep the bytes of the file.
import { ElfError, Reader } from './bytes.ts';
import { type ElfRelocation, readRelocations } from './read-relocations.ts';
import {
  checkEntries,
  readSectionHeaders,
  type SectionHeader,
  SHT_NOBITS,
  stringTable,
} from './section-header.ts';

export type { ElfRelocation };
export { ElfError, SHT_NOBITS };

export type ElfMachine = 'x86_64' | 'arm64';

const SHT_SYMTAB = 2;
const SHT_GROUP = 17;
const SHT_SYMTAB_SHNDX = 18;
const GRP_COMDAT = 1;

export const SHF_ALLOC = 2n;
export const SHF_EXECINSTR = 4n;

export const SHN_UNDEF = 0;
export const SHN_ABS = 0xfff1;
export const SHN_COMMON = 0xfff2;
const SHN_LORESERVE = 0xff00;
const SHN_XINDEX = 0xffff;

export const STT_FUNC = 2;
export const STT_SECTION = 3;
export const STT_FILE = 4;
export const STT_GNU_IFUNC = 10;
export const STB_LOCAL = 0;
export const STB_WEAK = 2;

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
  /** What patches this section, from every SHT_RELA and SHT_REL that names it. */
  readonly relocations: readonly ElfRelocation[];
}

export interface ElfSymbol {
  readonly name: string;
  /** Bytes into its section in an object, an address in an executable. */
  readonly value: bigint;
  readonly size: bigint;
  /** STT_ number: 0 none, 1 object, 2 function, 3 section, 4 file, 6 thread-local, 10 indirect function. */
  readonly type: number;
  /** STB_ number: 0 local, 1 global, 2 weak. */
  readonly binding: number;
  /** Index of its section, or SHN_UNDEF, SHN_ABS, SHN_COMMON. */
  readonly section: number;
}

/** Sections that other objects may hold too, of which one copy is kept (COMDAT). */
export interface ElfGroup {
  readonly signature: string;
  /** Indices of its sections. */
  readonly members: readonly number[];
}

export interface ElfFile {
  readonly machine: ElfMachine;
  /** ET_ number: 1 relocatable object, 2 executable, 3 shared. */
  readonly type: number;
  /** By index; the first is the null section. */
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
  readonly groups: readonly ElfGroup[];
}

const MACHINES: Readonly<Record<number, ElfMachine>> = { 62: 'x86_64', 183: 'arm64' };
const HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;

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
  const groups = headers.flatMap((header) => readGroup(reader, header, symtab, symbols));
  return { machine, type: reader.u16(16), sections, symbols, groups };
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

function readGroup(
  reader: Reader,
  header: SectionHeader,
  symtab: SectionHeader | undefined,
  symbols: readonly ElfSymbol[],
): ElfGroup[] {
  if (header.type !== SHT_GROUP || header.link !== symtab?.index) return [];
  const count = Math.floor(Number(header.size) / 4);
  const words = Array.from({ length: count }, (_, i) => reader.u32(header.offset + i * 4));
  const signature = symbols[header.info]?.name;
  if (signature === undefined) {
    throw new ElfError(header.at + 44, `${header.name} is signed by a symbol that does not exist`);
  }
  return words[0] === GRP_COMDAT ? [{ signature, members: words.slice(1) }] : [];
}
