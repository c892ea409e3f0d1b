// A debugging section of an object that is not linked: its relocations applied, so that offsets into other debugging
// sections are right. Addresses of code count from the start of their section.
import type { ElfFile } from './read.ts';
import { relocationsOf } from './relocation-tables.ts';

const SHF_COMPRESSED = 0x800n;

/** A copy of the section's bytes; empty if there is none of the name, or a compressed one. */
export function debugSection(elf: ElfFile, name: string): Uint8Array {
  const section = elf.sections.find((one) => one.name === name);
  if (section === undefined || (section.flags & SHF_COMPRESSED) !== 0n) return new Uint8Array(0);
  const bytes = Uint8Array.from(section.data);
  const view = new DataView(bytes.buffer);
  const { known } = relocationsOf(elf);
  for (const { type, offset, symbol, addend } of section.relocations) {
    const relocation = known.get(type);
    if (relocation === undefined || offset + BigInt(relocation.size) > BigInt(bytes.length))
      continue;
    const place = { view, offset: Number(offset), address: 0n };
    relocation.apply(place, elf.symbols[symbol].value + (addend ?? relocation.implicit(place)));
  }
  return bytes;
}
