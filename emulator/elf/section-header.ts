// The section table of an ELF file (gABI 4.1, "Sections").
import { ElfError, type Reader } from './bytes.ts';

export const SHT_STRTAB = 3;
export const SHT_NOBITS = 8;
const SHN_XINDEX = 0xffff;
const SECTION_HEADER_SIZE = 64;

export interface SectionHeader {
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

export function readSectionHeaders(reader: Reader): SectionHeader[] {
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

export function stringTable(
  headers: readonly SectionHeader[],
  index: number,
  from: number,
): SectionHeader {
  const table = headers[index];
  if (table?.type === SHT_STRTAB) return table;
  throw new ElfError(from, `section ${index} should be a string table`);
}

export function checkEntries(table: SectionHeader, size: number): number {
  if (table.entrySize !== BigInt(size) || table.size % BigInt(size) !== 0n) {
    throw new ElfError(table.at + 56, `entries of ${table.name} should have ${size} bytes`);
  }
  return Number(table.size) / size;
}
