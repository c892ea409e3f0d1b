// Calls in whose place a compiler has put the function itself: DW_TAG_inlined_subroutine entries of .debug_info (DWARF 4 and 5, 3.3.8).
// Left out: type units, split DWARF, 64-bit DWARF, DWARF 3 and before.
import { ElfError } from './bytes.ts';
import { Cursor, textAt } from './dwarf.ts';
import { type DebugSections, filesOfUnit } from './line-table.ts';

/** One stretch of the code of a function that was inlined. */
export interface InlinedCall {
  readonly start: bigint;
  /** First address behind it. */
  readonly end: bigint;
  /** How deep it lies in others: 1 is called by the function that has the code. */
  readonly depth: number;
  readonly name: string;
  /** Where it is called, as the compiler was given it, without folders. */
  readonly file: string;
  /** From 1; 0: not said. */
  readonly line: number;
}

/** Sections, relocated; empty where there are none. */
export interface InfoSections extends DebugSections {
  readonly info: Uint8Array;
  readonly abbrev: Uint8Array;
  readonly ranges: Uint8Array;
  readonly rnglists: Uint8Array;
  readonly addr: Uint8Array;
  readonly strOffsets: Uint8Array;
}

const TAG = { compileUnit: 0x11, inlined: 0x1d, subprogram: 0x2e } as const;
const AT = {
  name: 0x03,
  stmtList: 0x10,
  lowPc: 0x11,
  highPc: 0x12,
  abstractOrigin: 0x31,
  specification: 0x47,
  ranges: 0x55,
  callFile: 0x58,
  callLine: 0x59,
  strOffsetsBase: 0x72,
  addrBase: 0x73,
  rnglistsBase: 0x74,
} as const;
const WANTED: ReadonlySet<number> = new Set(Object.values(AT));
const UNIT_COMPILE = 1;
/** Entries, of abbreviations and of ranges, at most: more means damage. */
const MOST = 2 ** 22;

/** Calls of every unit, by address and depth. @throws ElfError for sections that cannot be read */
export function readInlined(sections: InfoSections): InlinedCall[] {
  const cursor = new Cursor(sections.info, '.debug_info');
  const calls: Found[] = [];
  const names = new Map<number, string | number>();
  while (cursor.at < cursor.end) readUnit(cursor, sections, calls, names);
  return calls
    .map(({ origin, ...call }) => ({ ...call, name: nameOf(origin, names) }))
    .sort((a, b) => (a.start !== b.start ? (a.start < b.start ? -1 : 1) : a.depth - b.depth));
}

/** The calls whose code holds an address, innermost first. @param calls as {@link readInlined} gives them */
export function inlinedAt(calls: readonly InlinedCall[], address: bigint): InlinedCall[] {
  const around = calls.filter(({ start, end }) => address >= start && address < end);
  return around.sort((a, b) => b.depth - a.depth);
}

interface Found extends Omit<InlinedCall, 'name'> {
  /** Entry that says what is called. */
  readonly origin: number;
}

/** A name may be given by another entry, and that by another. */
function nameOf(origin: number, names: ReadonlyMap<number, string | number>): string {
  let found = names.get(origin);
  for (let hops = 0; typeof found === 'number' && hops < 4; hops++) found = names.get(found);
  return typeof found === 'string' ? found : '?';
}

interface Abbreviation {
  readonly tag: number;
  readonly hasChildren: boolean;
  readonly attributes: readonly (readonly [attribute: number, form: number, implied: number])[];
}

/** What a unit says once for all its entries. */
interface Unit {
  readonly start: number;
  readonly version: number;
  low: bigint;
  strOffsetsBase: number;
  addrBase: number;
  rnglistsBase: number;
  files: readonly string[];
}

type Attributes = Map<number, Value>;
/** A number; the index of a string, an address or a list, resolved once the unit's bases are known; a string. */
type Value =
  | { readonly kind: 'number' | 'address' | 'strx' | 'addrx' | 'rnglistx'; readonly value: bigint }
  | { readonly kind: 'text'; readonly text: string };

function readUnit(
  cursor: Cursor,
  sections: InfoSections,
  calls: Found[],
  names: Map<number, string | number>,
): void {
  const start = cursor.at;
  const length = cursor.u(4);
  if (length >= 0xffff_fff0) throw new ElfError(start, '.debug_info: 64-bit DWARF');
  const end = Math.min(cursor.end, cursor.at + length);
  const version = cursor.u(2);
  if (version === 4 || version === 5) {
    const type = version === 5 ? cursor.u(1) : UNIT_COMPILE;
    const addressSize = version === 5 ? cursor.u(1) : 0;
    const abbreviations = readAbbreviations(sections.abbrev, cursor.u(4));
    if (version === 4) cursor.u(1);
    const isKnown = type === UNIT_COMPILE && (version === 4 || addressSize === 8);
    const unit = {
      start,
      version,
      low: 0n,
      files: [],
      strOffsetsBase: 8,
      addrBase: 8,
      rnglistsBase: 12,
    };
    if (isKnown) readEntries({ cursor, end, unit, abbreviations, sections, calls, names });
  }
  cursor.at = end;
}

interface Entries {
  readonly cursor: Cursor;
  readonly end: number;
  readonly unit: Unit;
  readonly abbreviations: ReadonlyMap<number, Abbreviation>;
  readonly sections: InfoSections;
  readonly calls: Found[];
  readonly names: Map<number, string | number>;
}

function readEntries(parts: Entries): void {
  const { cursor, end, unit, abbreviations, sections, calls, names } = parts;
  /** Of each level that is open: how many inlined calls it lies in. */
  const depths: number[] = [];
  while (cursor.at < end) {
    const at = cursor.at;
    const code = cursor.uleb();
    if (code === 0) {
      depths.pop();
      continue;
    }
    const abbreviation = abbreviations.get(code);
    if (abbreviation === undefined) throw new ElfError(at, `.debug_info: no abbreviation ${code}`);
    const { tag, hasChildren } = abbreviation;
    const attributes = readAttributes(cursor, abbreviation, unit);
    const outer = depths.at(-1) ?? 0;
    const depth = tag === TAG.inlined ? outer + 1 : tag === TAG.subprogram ? 0 : outer;
    if (tag === TAG.compileUnit) describe(unit, attributes, sections);
    else if (tag === TAG.subprogram) {
      const name = attributes.get(AT.name);
      const other = numberOf(attributes.get(AT.abstractOrigin) ?? attributes.get(AT.specification));
      if (name !== undefined) names.set(at, textOf(name, unit, sections));
      else if (other !== null) names.set(at, other);
    } else if (tag === TAG.inlined) {
      const origin = numberOf(attributes.get(AT.abstractOrigin)) ?? 0;
      const file = unit.files[numberOf(attributes.get(AT.callFile)) ?? 0] ?? '';
      const line = numberOf(attributes.get(AT.callLine)) ?? 0;
      for (const [from, to] of rangesOf(attributes, unit, sections)) {
        if (to > from) calls.push({ start: from, end: to, depth, origin, file, line });
      }
      if (calls.length > MOST) throw new ElfError(at, '.debug_info: too many inlined calls');
    }
    if (hasChildren) depths.push(depth);
  }
}

function describe(unit: Unit, attributes: Attributes, sections: InfoSections): void {
  unit.strOffsetsBase = numberOf(attributes.get(AT.strOffsetsBase)) ?? unit.strOffsetsBase;
  unit.addrBase = numberOf(attributes.get(AT.addrBase)) ?? unit.addrBase;
  unit.rnglistsBase = numberOf(attributes.get(AT.rnglistsBase)) ?? unit.rnglistsBase;
  unit.low = addressOf(attributes.get(AT.lowPc), unit, sections) ?? 0n;
  const program = numberOf(attributes.get(AT.stmtList));
  if (program !== null) unit.files = filesOfUnit(sections, program);
}

function readAbbreviations(bytes: Uint8Array, offset: number): Map<number, Abbreviation> {
  const cursor = new Cursor(bytes, '.debug_abbrev');
  cursor.at = offset;
  const found = new Map<number, Abbreviation>();
  for (let code = cursor.uleb(); code !== 0; code = cursor.uleb()) {
    const tag = cursor.uleb();
    const hasChildren = cursor.u(1) !== 0;
    const attributes: [number, number, number][] = [];
    for (;;) {
      const attribute = cursor.uleb();
      const form = cursor.uleb();
      const implied = form === FORM.implicitConst ? cursor.sleb() : 0;
      if (attribute === 0 && form === 0) break;
      attributes.push([attribute, form, implied]);
    }
    found.set(code, { tag, hasChildren, attributes });
  }
  return found;
}

function readAttributes(cursor: Cursor, { attributes }: Abbreviation, unit: Unit): Attributes {
  const found: Attributes = new Map();
  for (const [attribute, form, implied] of attributes) {
    const value = readForm(cursor, form, implied, unit);
    if (value !== null && WANTED.has(attribute)) found.set(attribute, value);
  }
  return found;
}

const FORM = { implicitConst: 0x21, indirect: 0x16 } as const;
/** Forms of a plain number, or of an offset into a section, of so many bytes. */
const SIZES: Readonly<Record<number, 1 | 2 | 4 | 8>> = {
  ...{ 5: 2, 6: 4, 7: 8, 11: 1, 12: 1, 23: 4, 16: 4, 32: 8, 28: 4, 36: 8 },
};
const UNIT_REFERENCES: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 17: 1, 18: 2, 19: 4, 20: 8 };
/** Bytes of the index forms: strx1 to strx4 from 0x25 on, addrx1 to addrx4 from 0x29 on. */
const INDEX_SIZES = [1, 2, 3, 4] as const;

const number = (value: number): Value => ({ kind: 'number', value: BigInt(value) });
const indexed = (kind: 'strx' | 'addrx' | 'rnglistx', value: number): Value => {
  return { kind, value: BigInt(value) };
};

/** The value of a form, or null for one that nothing here wants, skipped (DWARF 5, 7.5.6). */
function readForm(cursor: Cursor, form: number, implied: number, unit: Unit): Value | null {
  const size = SIZES[form];
  if (size !== undefined) return number(cursor.u(size));
  const reference = UNIT_REFERENCES[form];
  if (reference !== undefined) return number(unit.start + cursor.u(reference));
  if (form >= 0x25 && form <= 0x2c) {
    const index = smallIndex(cursor, INDEX_SIZES[(form - 0x25) & 3]);
    return indexed(form < 0x29 ? 'strx' : 'addrx', index);
  }
  switch (form) {
    case 0x01: // addr
      return { kind: 'address', value: cursor.address() };
    case 0x03: // block2
      return skip(cursor, cursor.u(2));
    case 0x04: // block4
      return skip(cursor, cursor.u(4));
    case 0x08: // string
      return { kind: 'text', text: cursor.string() };
    case 0x09: // block
    case 0x18: // exprloc
      return skip(cursor, cursor.uleb());
    case 0x0a: // block1
      return skip(cursor, cursor.u(1));
    case 0x0d: // sdata
      return number(cursor.sleb());
    case 0x0e: // strp
    case 0x1f: // line_strp
      return { kind: 'text', text: `${form === 0x0e ? STR : LINE_STR}${cursor.u(4)}` };
    case 0x0f: // udata
      return number(cursor.uleb());
    case 0x15: // ref_udata
      return number(unit.start + cursor.uleb());
    case FORM.indirect:
      return readForm(cursor, cursor.uleb(), 0, unit);
    case 0x19: // flag_present
      return number(1);
    case 0x1a: // strx
      return indexed('strx', cursor.uleb());
    case 0x1b: // addrx
      return indexed('addrx', cursor.uleb());
    case 0x1e: // data16
      return skip(cursor, 16);
    case FORM.implicitConst:
      return number(implied);
    case 0x22: // loclistx
      cursor.uleb();
      return null;
    case 0x23: // rnglistx
      return indexed('rnglistx', cursor.uleb());
    default:
      throw new ElfError(cursor.at, `.debug_info: form 0x${form.toString(16)} is not known here`);
  }
}

/** Marks of strings that lie in another section: they are looked up when somebody wants them. */
const STR = '\0s';
const LINE_STR = '\0l';

function smallIndex(cursor: Cursor, size: 1 | 2 | 3 | 4): number {
  if (size !== 3) return cursor.u(size);
  const low = cursor.u(2);
  return low | (cursor.u(1) << 16);
}

function skip(cursor: Cursor, bytes: number): null {
  cursor.at += bytes;
  return null;
}

const numberOf = (value: Value | undefined): number | null =>
  value?.kind === 'number' ? Number(value.value) : null;

function textOf(
  value: Value,
  { strOffsetsBase }: Unit,
  { str, lineStr, strOffsets }: InfoSections,
): string {
  if (value.kind === 'text') {
    const { text } = value;
    if (text.startsWith(STR)) return textAt(str, Number(text.slice(2)));
    return text.startsWith(LINE_STR) ? textAt(lineStr, Number(text.slice(2))) : text;
  }
  if (value.kind !== 'strx') return '?';
  const cursor = new Cursor(strOffsets, '.debug_str_offsets');
  cursor.at = strOffsetsBase + Number(value.value) * 4;
  return textAt(str, cursor.u(4));
}

function addressOf(value: Value | undefined, unit: Unit, sections: InfoSections): bigint | null {
  if (value?.kind === 'address') return value.value;
  return value?.kind === 'addrx' ? indexedAddress(Number(value.value), unit, sections) : null;
}

function indexedAddress(index: number, { addrBase }: Unit, { addr }: InfoSections): bigint {
  const cursor = new Cursor(addr, '.debug_addr');
  cursor.at = addrBase + index * 8;
  return cursor.address();
}

/** Where an entry's code lies: one stretch, or a list of them. */
function rangesOf(attributes: Attributes, unit: Unit, sections: InfoSections): [bigint, bigint][] {
  const list = attributes.get(AT.ranges);
  if (list !== undefined) return listAt(list, unit, sections);
  const low = addressOf(attributes.get(AT.lowPc), unit, sections);
  const high = attributes.get(AT.highPc);
  if (low === null || high === undefined) return [];
  const end = high.kind === 'number' ? low + high.value : addressOf(high, unit, sections);
  return end === null ? [] : [[low, end]];
}

function listAt(list: Value, unit: Unit, sections: InfoSections): [bigint, bigint][] {
  if (unit.version === 4) return ranges4(numberOf(list) ?? 0, unit, sections.ranges);
  const cursor = new Cursor(sections.rnglists, '.debug_rnglists');
  cursor.at = numberOf(list) ?? 0;
  if (list.kind === 'rnglistx') {
    cursor.at = unit.rnglistsBase + Number(list.value) * 4;
    cursor.at = unit.rnglistsBase + cursor.u(4);
  }
  return ranges5(cursor, unit, sections);
}

/** .debug_ranges (DWARF 4, 2.17.3). */
function ranges4(offset: number, { low }: Unit, bytes: Uint8Array): [bigint, bigint][] {
  const cursor = new Cursor(bytes, '.debug_ranges');
  cursor.at = offset;
  const found: [bigint, bigint][] = [];
  for (let base = low; found.length < MOST; ) {
    const [from, to] = [cursor.address(), cursor.address()];
    if (from === 0n && to === 0n) return found;
    if (from === 2n ** 64n - 1n) base = to;
    else found.push([base + from, base + to]);
  }
  return found;
}

/** .debug_rnglists (DWARF 5, 7.25). */
function ranges5(cursor: Cursor, unit: Unit, sections: InfoSections): [bigint, bigint][] {
  const found: [bigint, bigint][] = [];
  const address = () => indexedAddress(cursor.uleb(), unit, sections);
  const offset = () => BigInt(cursor.uleb());
  for (let base = unit.low; found.length < MOST; ) {
    const from = cursor.at;
    const kind = cursor.u(1);
    if (kind === 0) return found;
    if (kind === 1) base = address();
    else if (kind === 5) base = cursor.address();
    else if (kind === 4) found.push([base + offset(), base + offset()]);
    else if (kind === 2) found.push([address(), address()]);
    else if (kind === 6) found.push([cursor.address(), cursor.address()]);
    else if (kind === 3 || kind === 7) {
      const start = kind === 3 ? address() : cursor.address();
      found.push([start, start + offset()]);
    } else throw new ElfError(from, `.debug_rnglists: an entry of kind ${kind}`);
  }
  return found;
}
