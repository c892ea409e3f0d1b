// The tree of debugging entries of an object (.debug_info, DWARF 2 to 5), shown to a visitor in the order of the file.
import { ElfError } from './bytes.ts';
import { debugSection } from './debug-section.ts';
import { Cursor } from './dwarf.ts';
import { type DwarfSections, type FormValue, readForm, type UnitForms } from './dwarf-forms.ts';
import type { ElfFile } from './read.ts';

/** One debugging entry. */
export interface DwarfEntry {
  /** Offset in .debug_info. */
  readonly at: number;
  /** DW_TAG_ number. */
  readonly tag: number;
  /** How many entries it lies in; 0 for a unit's own. */
  readonly depth: number;
  readonly unit: UnitForms;
  /** By DW_AT_ number; those whose values are skipped are left out. */
  readonly attributes: ReadonlyMap<number, NonNullable<FormValue>>;
}

interface Abbreviation {
  readonly tag: number;
  readonly hasChildren: boolean;
  readonly attributes: readonly { readonly name: number; form: number; implicit: number }[];
}

const DW_AT_STR_OFFSETS_BASE = 0x72;
const FORM_IMPLICIT_CONST = 0x21;
const DW_UT = { compile: 1, partial: 3, skeleton: 4, splitCompile: 5 };

/** True if the object has debugging entries that {@link visitEntries} can read. */
export const hasDwarf = (elf: ElfFile): boolean => debugSection(elf, '.debug_info').length > 0;

/** The sections of an object that is not linked. */
export function dwarfSections(elf: ElfFile): DwarfSections {
  const bytes = (name: string) => debugSection(elf, name);
  return {
    info: bytes('.debug_info'),
    abbrev: bytes('.debug_abbrev'),
    str: bytes('.debug_str'),
    lineStr: bytes('.debug_line_str'),
    strOffsets: bytes('.debug_str_offsets'),
  };
}

/** Shows every entry of every unit. @throws ElfError for sections that contradict themselves */
export function visitEntries(sections: DwarfSections, visit: (entry: DwarfEntry) => void): void {
  const cursor = new Cursor(sections.info, '.debug_info');
  const tables = new Map<number, Map<number, Abbreviation>>();
  while (cursor.at < sections.info.length) {
    const { unit, end, abbreviations } = readHeader(cursor);
    let table = tables.get(abbreviations);
    if (table === undefined) {
      table = readAbbreviations(sections.abbrev, abbreviations);
      tables.set(abbreviations, table);
    }
    if (unit !== null) visitUnit(cursor, end, unit, table, sections, visit);
    cursor.at = end;
  }
}

/** @returns the unit null if it is of a version or kind that is passed over */
function readHeader(cursor: Cursor): {
  unit: UnitForms | null;
  end: number;
  abbreviations: number;
} {
  const start = cursor.at;
  let length = cursor.u(4);
  const offsetSize = length === 0xffff_ffff ? 8 : 4;
  if (offsetSize === 8) length = cursor.u(8);
  const end = cursor.at + length;
  if (end > cursor.end) throw new ElfError(start, '.debug_info: a unit is too long');
  const version = cursor.u(2);
  const type = version >= 5 ? cursor.u(1) : DW_UT.compile;
  let addressSize = version >= 5 ? cursor.u(1) : 0;
  const abbreviations = cursor.u(offsetSize);
  if (version < 5) addressSize = cursor.u(1);
  if (type === DW_UT.skeleton || type === DW_UT.splitCompile) cursor.skip(8);
  const known = version >= 2 && version <= 5;
  const base = version >= 5 ? (offsetSize === 8 ? 16 : 8) : 0;
  const unit = { start, version, addressSize, offsetSize, strOffsetsBase: base } as const;
  const isType = type !== DW_UT.compile && type !== DW_UT.partial && type < DW_UT.skeleton;
  return { unit: known && !isType ? { ...unit } : null, end, abbreviations };
}

function readAbbreviations(bytes: Uint8Array, at: number): Map<number, Abbreviation> {
  const cursor = new Cursor(bytes, '.debug_abbrev', at);
  const table = new Map<number, Abbreviation>();
  for (let code = cursor.uleb(); code !== 0; code = cursor.uleb()) {
    const tag = cursor.uleb();
    const hasChildren = cursor.u(1) === 1;
    const attributes: { name: number; form: number; implicit: number }[] = [];
    for (;;) {
      const name = cursor.uleb();
      const form = cursor.uleb();
      const implicit = form === FORM_IMPLICIT_CONST ? cursor.sleb() : 0;
      if (name === 0 && form === 0) break;
      attributes.push({ name, form, implicit });
    }
    table.set(code, { tag, hasChildren, attributes });
  }
  return table;
}

function visitUnit(
  cursor: Cursor,
  end: number,
  unit: UnitForms,
  table: ReadonlyMap<number, Abbreviation>,
  sections: DwarfSections,
  visit: (entry: DwarfEntry) => void,
): void {
  let depth = 0;
  while (cursor.at < end) {
    const at = cursor.at;
    const code = cursor.uleb();
    if (code === 0) {
      depth--;
      if (depth <= 0) return;
      continue;
    }
    const abbreviation = table.get(code);
    if (abbreviation === undefined) throw new ElfError(at, '.debug_info: an unknown abbreviation');
    const attributes = new Map<number, NonNullable<FormValue>>();
    for (const { name, form, implicit } of abbreviation.attributes) {
      const value = readForm(cursor, form, implicit, unit, sections);
      if (value === null) continue;
      attributes.set(name, value);
      if (name === DW_AT_STR_OFFSETS_BASE && value.kind === 'number')
        unit.strOffsetsBase = value.value;
    }
    visit({ at, tag: abbreviation.tag, depth, unit, attributes });
    if (abbreviation.hasChildren) depth++;
    else if (depth === 0) return;
  }
}
