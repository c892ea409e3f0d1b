// The types of an object, out of its debugging entries (DWARF 5, 5.1 to 5.9).
import { type DwarfEntry, dwarfSections, hasDwarf, visitEntries } from './dwarf-info.ts';
import type { DebugType, DebugTypes } from './layouts.ts';
import type { ElfFile } from './read.ts';

const TAG = {
  array: 0x01,
  enumeration: 0x04,
  pointer: 0x0f,
  member: 0x0d,
  structure: 0x13,
  typedef: 0x16,
  union: 0x17,
  subrange: 0x21,
  base: 0x24,
  const: 0x26,
  restrict: 0x37,
  volatile: 0x35,
  atomic: 0x47,
};
const AT = {
  name: 0x03,
  byteSize: 0x0b,
  bitSize: 0x0d,
  upperBound: 0x2f,
  count: 0x37,
  memberLocation: 0x38,
  declaration: 0x3c,
  type: 0x49,
  dataBitOffset: 0x6b,
};
const ALIASES = new Set([TAG.typedef, TAG.const, TAG.restrict, TAG.volatile, TAG.atomic]);

interface Building extends DebugType {
  size: number;
  readonly members: { name: string; offset: number; type: number }[];
}

/** @returns null for an object without DWARF. @throws ElfError for damaged sections */
export function readDwarfTypes(elf: ElfFile): DebugTypes | null {
  if (!hasDwarf(elf)) return null;
  const types = new Map<number, DebugType>();
  /** The types that the present entry lies in, by depth. */
  const around: (Building | null)[] = [];
  visitEntries(dwarfSections(elf), (entry) => {
    const type = typeOf(entry);
    around.length = entry.depth;
    around.push(type);
    if (type !== null) types.set(entry.at, type);
    const outer = around[entry.depth - 1];
    if (outer === undefined || outer === null) return;
    if (entry.tag === TAG.member && outer.kind === 'struct') addMember(entry, outer);
    if (entry.tag === TAG.subrange && outer.kind === 'array') outer.size *= elements(entry);
  });
  return { types };
}

function addMember(entry: DwarfEntry, outer: Building): void {
  // A bit field has no address.
  if (entry.attributes.has(AT.bitSize) || entry.attributes.has(AT.dataBitOffset)) return;
  const offset = numberOf(entry, AT.memberLocation) ?? 0;
  outer.members.push({ name: textOf(entry, AT.name), offset, type: referenceOf(entry) });
}

function elements(entry: DwarfEntry): number {
  const upper = numberOf(entry, AT.upperBound);
  return numberOf(entry, AT.count) ?? (upper === null ? 0 : upper + 1);
}

function typeOf(entry: DwarfEntry): Building | null {
  const name = textOf(entry, AT.name);
  const of = referenceOf(entry);
  const size = numberOf(entry, AT.byteSize) ?? 0;
  const made = (kind: DebugType['kind'], bytes: number): Building => ({
    kind,
    name,
    size: bytes,
    of,
    members: [],
    declaration: entry.attributes.has(AT.declaration),
  });
  if (ALIASES.has(entry.tag)) return made('alias', 0);
  switch (entry.tag) {
    case TAG.structure:
    case TAG.union:
      return made('struct', size);
    case TAG.array:
      return made('array', 1);
    case TAG.pointer:
      return made('sized', 8);
    case TAG.base:
    case TAG.enumeration:
      return made('sized', size);
    default:
      return null;
  }
}

function textOf({ attributes }: DwarfEntry, name: number): string {
  const value = attributes.get(name);
  return value?.kind === 'text' ? value.text() : '';
}

function numberOf({ attributes }: DwarfEntry, name: number): number | null {
  const value = attributes.get(name);
  return value?.kind === 'number' ? value.value : null;
}

/** @returns -1 for none: void */
function referenceOf({ attributes }: DwarfEntry): number {
  const value = attributes.get(AT.type);
  return value?.kind === 'entry' ? value.at : -1;
}
