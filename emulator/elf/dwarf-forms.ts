// Attribute values of DWARF 2 to 5 (DWARF 5, 7.5): how long each form is, and what those mean that say a number, a text
// or another entry. Left out: supplementary files and type units, whose references mean nothing here.
import { ElfError } from './bytes.ts';
import { Cursor, textAt } from './dwarf.ts';

/** The sections that entries refer to, relocated; empty where there are none. */
export interface DwarfSections {
  readonly info: Uint8Array;
  readonly abbrev: Uint8Array;
  readonly str: Uint8Array;
  readonly lineStr: Uint8Array;
  readonly strOffsets: Uint8Array;
}

/** What a unit's header says of its forms. */
export interface UnitForms {
  /** Offset of the unit in .debug_info. */
  readonly start: number;
  readonly version: number;
  readonly addressSize: number;
  /** Bytes of an offset: 4, or 8 in 64-bit DWARF. */
  readonly offsetSize: 4 | 8;
  /** DW_AT_str_offsets_base; where the unit's part of .debug_str_offsets begins. */
  strOffsetsBase: number;
}

/** What a form says; the offset of another entry is one in .debug_info. null for what is skipped. */
export type FormValue =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'text'; text(): string }
  | { readonly kind: 'entry'; readonly at: number }
  | { readonly kind: 'address'; readonly value: bigint }
  /** A place in .debug_addr, or in the offsets of .debug_rnglists. */
  | { readonly kind: 'addrx' | 'rnglistx'; readonly index: number }
  | null;

const number = (value: number): FormValue => ({ kind: 'number', value });

/** Bytes of each form that is only skipped or is a number of that size. */
const DATA: Readonly<Record<number, number>> = { 11: 1, 5: 2, 6: 4, 7: 8, 12: 1 };
const REF: Readonly<Record<number, number>> = { 17: 1, 18: 2, 19: 4, 20: 8 };
const STRX: Readonly<Record<number, number>> = { 37: 1, 38: 2, 39: 3, 40: 4 };
const SKIPPED: Readonly<Record<number, number>> = {
  ...{ 30: 16, 32: 8, 28: 4, 36: 8 },
};
const ADDRX: Readonly<Record<number, number>> = { 41: 1, 42: 2, 43: 3, 44: 4 };
const BLOCK: Readonly<Record<number, number>> = { 10: 1, 3: 2, 4: 4 };

/** Reads the value of one attribute. @throws ElfError for a form that nobody defines */
export function readForm(
  cursor: Cursor,
  form: number,
  implicit: number,
  unit: UnitForms,
  sections: DwarfSections,
): FormValue {
  if (form in DATA) return number(cursor.u(DATA[form]));
  if (form in REF) return { kind: 'entry', at: unit.start + cursor.u(REF[form]) };
  if (form in STRX) return indexedText(cursor.u(STRX[form]), unit, sections);
  if (form in ADDRX) return { kind: 'addrx', index: cursor.u(ADDRX[form]) };
  if (form in SKIPPED) cursor.skip(SKIPPED[form]);
  else if (form in BLOCK) cursor.skip(cursor.u(BLOCK[form]));
  else return readOther(cursor, form, implicit, unit, sections);
  return null;
}

const addressAt = (cursor: Cursor, size: number): bigint =>
  size === 8 ? cursor.address() : BigInt(cursor.u(size));

function readOther(
  cursor: Cursor,
  form: number,
  implicit: number,
  unit: UnitForms,
  sections: DwarfSections,
): FormValue {
  switch (form) {
    case 0x01: // addr
      return { kind: 'address', value: addressAt(cursor, unit.addressSize) };
    case 0x08: {
      const text = cursor.string();
      return { kind: 'text', text: () => text };
    }
    case 0x09: // block
    case 0x18: // exprloc
      cursor.skip(cursor.uleb());
      return null;
    case 0x0d: // sdata
      return number(cursor.sleb());
    case 0x0f: // udata
      return number(cursor.uleb());
    case 0x0e: {
      const at = cursor.u(unit.offsetSize);
      return { kind: 'text', text: () => textAt(sections.str, at) };
    }
    case 0x1f: {
      const at = cursor.u(unit.offsetSize);
      return { kind: 'text', text: () => textAt(sections.lineStr, at) };
    }
    case 0x10: // ref_addr
      return {
        kind: 'entry',
        at: cursor.u(unit.version <= 2 ? unit.addressSize : unit.offsetSize),
      };
    case 0x15: // ref_udata
      return { kind: 'entry', at: unit.start + cursor.uleb() };
    case 0x16: // indirect
      return readForm(cursor, cursor.uleb(), 0, unit, sections);
    case 0x17: // sec_offset
      return number(cursor.u(unit.offsetSize));
    case 0x19: // flag_present
      return number(1);
    case 0x1a: // strx
    case 0x1f02: // GNU_str_index
      return indexedText(cursor.uleb(), unit, sections);
    case 0x1b: // addrx
      return { kind: 'addrx', index: cursor.uleb() };
    case 0x23: // rnglistx
      return { kind: 'rnglistx', index: cursor.uleb() };
    case 0x22: // loclistx
    case 0x1f01: // GNU_addr_index
      cursor.uleb();
      return null;
    case 0x1d: // strp_sup
    case 0x1f20: // GNU_ref_alt
    case 0x1f21: // GNU_strp_alt
      cursor.skip(unit.offsetSize);
      return null;
    case 0x21: // implicit_const
      return number(implicit);
    default:
      throw new ElfError(cursor.at, `.debug_info: form 0x${form.toString(16)} is not known here`);
  }
}

function indexedText(index: number, unit: UnitForms, sections: DwarfSections): FormValue {
  return {
    kind: 'text',
    text() {
      const { strOffsets } = sections;
      const at = unit.strOffsetsBase + index * unit.offsetSize;
      if (at + unit.offsetSize > strOffsets.length) return '';
      const cursor = new Cursor(strOffsets, '.debug_str_offsets', at);
      return textAt(sections.str, cursor.u(unit.offsetSize));
    },
  };
}
