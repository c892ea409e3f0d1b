// The debugging sections of linked objects: not loaded, but relocated, so that they name the addresses of the code.

import type { InlinedCall } from './inlined.ts';
import type { LineRow } from './line-table.ts';
import type { Layout } from './link-layout.ts';
import type { LinkInput, OrcSections } from './link-types.ts';
import { ElfError } from './read.ts';
import { relocationsOf } from './relocation-tables.ts';
import { inlinedFrom, linesFrom } from './source-data.ts';

const SHF_COMPRESSED = 0x800n;

/** Source lines of every object, by address; none of an object whose tables cannot be read. */
export function linesOf(inputs: readonly LinkInput[], layout: Layout): LineRow[] {
  return inputs
    .flatMap((input) => {
      try {
        return linesOfOne(input, layout);
      } catch (error) {
        // Debugging data never keeps code from running.
        if (error instanceof ElfError) return [];
        throw error;
      }
    })
    .sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}

function linesOfOne(input: LinkInput, layout: Layout): LineRow[] {
  const rows = linesFrom((name) => relocated(input, name, layout));
  // Functions of dropped sections lie at 0.
  return rows.filter(({ address }) => address >= layout.segments[0].address);
}

/** Unwinding data of objtool, whose places stand in relocations: of each object the addresses and the entries. */
export function orcOf(inputs: readonly LinkInput[], layout: Layout): OrcSections[] {
  return inputs.flatMap((input) => {
    const { sections, symbols } = input.elf;
    const places = sections.find(({ name }) => name === '.orc_unwind_ip');
    const entries = sections.find(({ name }) => name === '.orc_unwind');
    if (places === undefined || entries === undefined) return [];
    const ips = new BigUint64Array(Math.floor(places.data.length / 4));
    for (const { offset, symbol, addend } of places.relocations) {
      const home = layout.home(input, symbols[symbol].section);
      const index = Number(offset / 4n);
      if (home === undefined || index >= ips.length) continue;
      ips[index] = BigInt.asUintN(64, home.address + symbols[symbol].value + (addend ?? 0n));
    }
    return [{ ips, entries: entries.data }];
  });
}

/** Inlined calls of every object, by address, read when they are first asked for. */
export function inlinedOf(
  inputs: readonly LinkInput[],
  layout: Layout,
): () => readonly InlinedCall[] {
  let known: readonly InlinedCall[] | null = null;
  return () => {
    known ??= inputs.flatMap((input) => inlinedOfOne(input, layout));
    return known;
  };
}

function inlinedOfOne(input: LinkInput, layout: Layout): InlinedCall[] {
  try {
    return inlinedFrom((name) => relocated(input, name, layout));
  } catch (error) {
    // Debugging data never keeps code from running.
    if (error instanceof ElfError) return [];
    throw error;
  }
}

/** A copy of a section with absolute relocations applied: to what is loaded, or into another debugging section. */
function relocated(input: LinkInput, name: string, layout: Layout): Uint8Array {
  const section = input.elf.sections.find((one) => one.name === name);
  if (section === undefined || (section.flags & SHF_COMPRESSED) !== 0n) return new Uint8Array(0);
  const bytes = Uint8Array.from(section.data);
  const view = new DataView(bytes.buffer);
  const { known } = relocationsOf(input.elf);
  for (const { type, offset, symbol, addend } of section.relocations) {
    const relocation = known.get(type);
    const { section: index, value } = input.elf.symbols[symbol];
    const home = layout.home(input, index);
    if (relocation === undefined || offset + BigInt(relocation.size) > BigInt(bytes.length))
      continue;
    const place = { view, offset: Number(offset), address: 0n };
    const target = (home?.address ?? 0n) + value + (addend ?? relocation.implicit(place));
    relocation.apply(place, target);
  }
  return bytes;
}
