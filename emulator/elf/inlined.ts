// Calls in whose place a compiler has put the function itself: DW_TAG_inlined_subroutine entries of .debug_info (DWARF 5, 3.3.8).
// Left out: type units, split DWARF.
import { ElfError } from './bytes.ts';
import type { DwarfSections } from './dwarf-forms.ts';
import { type DwarfEntry, visitEntries } from './dwarf-info.ts';
import {
  addressOf,
  numberOf,
  type RangeSections,
  rangesOf,
  type UnitBases,
} from './dwarf-ranges.ts';
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
export interface InfoSections extends DebugSections, DwarfSections, RangeSections {}

const TAG = { compileUnit: 0x11, inlined: 0x1d, subprogram: 0x2e } as const;
const AT = {
  name: 0x03,
  stmtList: 0x10,
  lowPc: 0x11,
  abstractOrigin: 0x31,
  specification: 0x47,
  callFile: 0x58,
  callLine: 0x59,
  addrBase: 0x73,
  rnglistsBase: 0x74,
} as const;
/** Calls at most: more means damage. */
const MOST = 2 ** 22;

/** Calls of every unit, by address and depth. @throws ElfError for sections that cannot be read */
export function readInlined(sections: InfoSections): InlinedCall[] {
  const reader = new InlinedReader(sections);
  visitEntries(sections, (entry) => reader.visit(entry));
  return reader.calls
    .map(({ origin, ...call }) => ({ ...call, name: nameOf(origin, reader.names) }))
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

class InlinedReader {
  readonly calls: Found[] = [];
  /** Names of functions, or the entries that have them, by their entries. */
  readonly names = new Map<number, string | number>();
  private readonly sections: InfoSections;
  private bases: UnitBases = { version: 0, low: 0n, addrBase: 8, rnglistsBase: 12 };
  private files: readonly string[] = [];
  /** Of each level that is open: how many inlined calls it lies in. */
  private readonly depths: number[] = [];

  constructor(sections: InfoSections) {
    this.sections = sections;
  }

  visit({ at, tag, depth: level, attributes, unit }: DwarfEntry): void {
    const { depths } = this;
    if (level === 0) this.enter(unit.version, tag, attributes);
    const outer = level === 0 ? 0 : (depths[level - 1] ?? 0);
    const depth = tag === TAG.inlined ? outer + 1 : tag === TAG.subprogram ? 0 : outer;
    depths[level] = depth;
    if (tag === TAG.subprogram) {
      const name = attributes.get(AT.name);
      const other = attributes.get(AT.abstractOrigin) ?? attributes.get(AT.specification);
      if (name?.kind === 'text') this.names.set(at, name.text());
      else if (other?.kind === 'entry') this.names.set(at, other.at);
    } else if (tag === TAG.inlined) this.add(at, depth, attributes);
  }

  private enter(version: number, tag: number, attributes: DwarfEntry['attributes']): void {
    this.bases = { version, low: 0n, addrBase: 8, rnglistsBase: 12 };
    this.files = [];
    if (tag !== TAG.compileUnit) return;
    const { bases, sections } = this;
    bases.addrBase = numberOf(attributes.get(AT.addrBase)) ?? bases.addrBase;
    bases.rnglistsBase = numberOf(attributes.get(AT.rnglistsBase)) ?? bases.rnglistsBase;
    bases.low = addressOf(attributes.get(AT.lowPc), bases, sections) ?? 0n;
    const program = numberOf(attributes.get(AT.stmtList));
    if (program !== null) this.files = filesOfUnit(sections, program);
  }

  private add(at: number, depth: number, attributes: DwarfEntry['attributes']): void {
    const entry = attributes.get(AT.abstractOrigin);
    const origin = entry?.kind === 'entry' ? entry.at : 0;
    const file = this.files[numberOf(attributes.get(AT.callFile)) ?? 0] ?? '';
    const line = numberOf(attributes.get(AT.callLine)) ?? 0;
    for (const [start, end] of rangesOf(attributes, this.bases, this.sections)) {
      if (end > start) this.calls.push({ start, end, depth, origin, file, line });
    }
    if (this.calls.length > MOST) throw new ElfError(at, '.debug_info: too many inlined calls');
  }
}
