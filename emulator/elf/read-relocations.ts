// The relocations of an object: SHT_RELA, and SHT_REL, whose addends stand in the places that they patch.
import { ElfError, type Reader } from './bytes.ts';
import { checkEntries, type SectionHeader } from './section-header.ts';

const SHT_RELA = 4;
const SHT_REL = 9;
const RELA_SIZE = 24;
const REL_SIZE = 16;

export interface ElfRelocation {
  /** Bytes into the section it patches (its address in an executable). */
  readonly offset: bigint;
  /** R_X86_64_ or R_AARCH64_ number. */
  readonly type: number;
  /** Index into the file's symbols. */
  readonly symbol: number;
  /** null: it stands in the patched place (SHT_REL). */
  readonly addend: bigint | null;
}

/** @returns by index of the section that is patched */
export function readRelocations(
  reader: Reader,
  headers: readonly SectionHeader[],
  symtab: SectionHeader | undefined,
  symbolCount: number,
): Map<number, ElfRelocation[]> {
  const found = new Map<number, ElfRelocation[]>();
  for (const header of headers) {
    const size = header.type === SHT_RELA ? RELA_SIZE : REL_SIZE;
    if (header.type !== SHT_RELA && header.type !== SHT_REL) continue;
    // Executables have dynamic relocations, whose symbols lie in another table.
    if (header.link !== symtab?.index) continue;
    if (header.info >= headers.length) {
      throw new ElfError(
        header.at + 44,
        `${header.name} patches section ${header.info}, which does not exist`,
      );
    }
    const list = found.get(header.info) ?? [];
    const count = checkEntries(header, size);
    for (let i = 0; i < count; i++) {
      list.push(readRelocation(reader, header.offset + i * size, header, symbolCount));
    }
    found.set(header.info, list);
  }
  return found;
}

function readRelocation(
  reader: Reader,
  at: number,
  { name, type }: SectionHeader,
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
    addend: type === SHT_RELA ? reader.s64(at + 16) : null,
  };
}
