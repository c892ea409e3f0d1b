// The level loop of a page-table walk, and the record it leaves. It knows shifts and indices from a geometry; what an
// entry means is the architecture's (`arch/*/paging.ts`). Entries are read as 32-bit halves and the record is reused,
// so that a walk makes no garbage. Left out: nested (second-stage) walks.
import type { Ram } from '../emulator/ram.ts';

/** How an architecture slices an address. Shifts and widths are in bits. */
export interface WalkGeometry {
  /** Shift of the first level's index. */
  readonly firstShift: number;
  /** Width of the first level's index; the later ones have `indexBits`. */
  readonly firstBits: number;
  readonly indexBits: number;
  /** log2 of the page size: 12, 14 or 16. */
  readonly pageShift: number;
}

/** What the architecture says of one entry. */
export const DESCEND = 0;
export const LEAF = 1;
export const STOP = 2;
export type Verdict = typeof DESCEND | typeof LEAF | typeof STOP;

/** Why a table could not be read: it lies outside RAM. The architecture makes an abort or a reserved bit of it. */
export const OUTSIDE_RAM = -1;

const MAX_LEVELS = 5;

/** The entries that one walk read, in order. Overwritten by the next walk with it. */
export class WalkRecord {
  /** Entries read so far. */
  length = 0;
  readonly shift = new Uint8Array(MAX_LEVELS);
  readonly tableAddr = new Float64Array(MAX_LEVELS);
  readonly index = new Uint32Array(MAX_LEVELS);
  readonly entryLo = new Uint32Array(MAX_LEVELS);
  readonly entryHi = new Uint32Array(MAX_LEVELS);
  /** Index for {@link Ram.word} of each entry; OUTSIDE_RAM where there is none. */
  readonly word = new Int32Array(MAX_LEVELS);

  entryAddr(step: number): number {
    return this.tableAddr[step] + this.index[step] * 8;
  }

  entry(step: number): bigint {
    return (BigInt(this.entryHi[step]) << 32n) | BigInt(this.entryLo[step]);
  }
}

/** The architecture's part of a walk. */
export interface EntryRules {
  /**
   * Judges the entry just read, step `step` of `record`, and sets `nextTable` for DESCEND.
   * A table outside RAM is offered with `record.word[step] === OUTSIDE_RAM` and an entry of 0.
   */
  visit(record: WalkRecord, step: number): Verdict;
  /** Physical address of the next table, after DESCEND. */
  readonly nextTable: number;
}

/** `bits` (1 to 16) bits of the address hi:lo from bit `shift` (0 to 63) up. */
export function indexAt(hi: number, lo: number, shift: number, bits: number): number {
  const mask = (1 << bits) - 1;
  if (shift >= 32) return (hi >>> (shift - 32)) & mask;
  if (shift + bits <= 32) return (lo >>> shift) & mask;
  return ((lo >>> shift) | (hi << (32 - shift))) & mask;
}

/**
 * Walks from the table at `root` until the rules stop it.
 * @returns true at a leaf, which is the record's last step; false where the rules said STOP
 */
export function walk(
  ram: Ram,
  geometry: WalkGeometry,
  root: number,
  hi: number,
  lo: number,
  rules: EntryRules,
  record: WalkRecord,
): boolean {
  const { shift: shifts, tableAddr, index: indices, word: words, entryLo, entryHi } = record;
  let table = root;
  let bits = geometry.firstBits;
  for (let step = 0, shift = geometry.firstShift; ; step++, shift -= geometry.indexBits) {
    const index = indexAt(hi, lo, shift, bits);
    const word = ram.wordIndex(table + index * 8);
    record.length = step + 1;
    shifts[step] = shift;
    tableAddr[step] = table;
    indices[step] = index;
    words[step] = word;
    entryLo[step] = word < 0 ? 0 : ram.word(word);
    entryHi[step] = word < 0 ? 0 : ram.word(word + 1);
    const verdict = rules.visit(record, step);
    if (verdict !== DESCEND) return verdict === LEAF;
    table = rules.nextTable;
    bits = geometry.indexBits;
  }
}
