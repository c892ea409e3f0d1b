// Where the code of debugging entries lies: addresses, and lists of ranges (DWARF 2 to 5, 2.17). Left out: address sizes
// other than 8, and lists of 64-bit DWARF, whose entries lie nowhere.
import { ElfError } from './bytes.ts';
import { Cursor } from './dwarf.ts';
import type { FormValue } from './dwarf-forms.ts';

/** Sections, relocated; empty where there are none. */
export interface RangeSections {
  readonly ranges: Uint8Array;
  readonly rnglists: Uint8Array;
  readonly addr: Uint8Array;
}

/** What a unit says once for all its entries. */
export interface UnitBases {
  readonly version: number;
  low: bigint;
  addrBase: number;
  rnglistsBase: number;
}

type Value = NonNullable<FormValue>;
type Attributes = ReadonlyMap<number, Value>;

const AT = { lowPc: 0x11, highPc: 0x12, ranges: 0x55 } as const;
/** Ranges of one list at most: more means damage. */
const MOST = 2 ** 22;

export const numberOf = (value: Value | undefined): number | null =>
  value?.kind === 'number' ? value.value : null;

export function addressOf(
  value: Value | undefined,
  unit: UnitBases,
  sections: RangeSections,
): bigint | null {
  if (value?.kind === 'address') return value.value;
  return value?.kind === 'addrx' ? indexedAddress(value.index, unit, sections) : null;
}

function indexedAddress(index: number, { addrBase }: UnitBases, { addr }: RangeSections): bigint {
  return new Cursor(addr, '.debug_addr', addrBase + index * 8).address();
}

/** Where an entry's code lies: one stretch, or a list of them. */
export function rangesOf(
  attributes: Attributes,
  unit: UnitBases,
  sections: RangeSections,
): [bigint, bigint][] {
  const list = attributes.get(AT.ranges);
  if (list !== undefined) return listAt(list, unit, sections);
  const low = addressOf(attributes.get(AT.lowPc), unit, sections);
  const high = attributes.get(AT.highPc);
  if (low === null || high === undefined) return [];
  const end = high.kind === 'number' ? low + BigInt(high.value) : addressOf(high, unit, sections);
  return end === null ? [] : [[low, end]];
}

function listAt(list: Value, unit: UnitBases, sections: RangeSections): [bigint, bigint][] {
  if (unit.version < 5) return ranges4(numberOf(list) ?? 0, unit, sections.ranges);
  const cursor = new Cursor(sections.rnglists, '.debug_rnglists');
  cursor.at = numberOf(list) ?? 0;
  if (list.kind === 'rnglistx') {
    cursor.at = unit.rnglistsBase + list.index * 4;
    cursor.at = unit.rnglistsBase + cursor.u(4);
  }
  return ranges5(cursor, unit, sections);
}

/** .debug_ranges (DWARF 4, 2.17.3). */
function ranges4(offset: number, { low }: UnitBases, bytes: Uint8Array): [bigint, bigint][] {
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
function ranges5(cursor: Cursor, unit: UnitBases, sections: RangeSections): [bigint, bigint][] {
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
