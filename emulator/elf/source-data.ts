// Source lines and inlined calls out of debugging sections, by their names: those of linked objects, or of a file that was
// linked before.
import { ElfError } from './bytes.ts';
import { type InlinedCall, readInlined } from './inlined.ts';
import { type LineRow, readLines } from './line-table.ts';
import type { ElfFile } from './read.ts';

/** A debugging section as it is linked; empty where there is none. */
export type SectionBytes = (name: string) => Uint8Array;

/** @throws ElfError for tables that cannot be read */
export function linesFrom(bytes: SectionBytes): LineRow[] {
  const line = bytes('.debug_line');
  if (line.length === 0) return [];
  return readLines({ line, lineStr: bytes('.debug_line_str'), str: bytes('.debug_str') });
}

/** @throws ElfError for entries that cannot be read */
export function inlinedFrom(bytes: SectionBytes): InlinedCall[] {
  const info = bytes('.debug_info');
  if (info.length === 0) return [];
  return readInlined({
    info,
    abbrev: bytes('.debug_abbrev'),
    line: bytes('.debug_line'),
    lineStr: bytes('.debug_line_str'),
    str: bytes('.debug_str'),
    strOffsets: bytes('.debug_str_offsets'),
    addr: bytes('.debug_addr'),
    ranges: bytes('.debug_ranges'),
    rnglists: bytes('.debug_rnglists'),
  });
}

/** Where code comes from. */
export interface SourceData {
  readonly lines: readonly LineRow[];
  inlined(): readonly InlinedCall[];
}

const SHF_COMPRESSED = 0x800n;
/** Bytes of .debug_line and .debug_info of a whole kernel beyond which reading them takes too long. */
const MOST_LINE = 2 ** 24;
const MOST_INFO = 2 ** 25;

const kept = new WeakMap<ElfFile, SourceData>();

/** Of a file that was linked; read when it is first asked for, and kept as long as the file is. */
export function linkedSource(elf: ElfFile): SourceData {
  let source = kept.get(elf);
  if (source !== undefined) return source;
  const bytes = (name: string): Uint8Array => {
    const section = elf.sections.find((one) => one.name === name);
    const isPlain = section !== undefined && (section.flags & SHF_COMPRESSED) === 0n;
    return isPlain ? section.data : new Uint8Array(0);
  };
  const within = <T>(name: string, most: number, read: () => T[]): T[] => {
    try {
      return bytes(name).length > most ? [] : read();
    } catch (error) {
      // Debugging data never keeps code from running.
      if (error instanceof ElfError) return [];
      throw error;
    }
  };
  let calls: readonly InlinedCall[] | null = null;
  source = {
    lines: within('.debug_line', MOST_LINE, () => linesFrom(bytes)),
    inlined: () => {
      calls ??= within('.debug_info', MOST_INFO, () => inlinedFrom(bytes));
      return calls;
    },
  };
  kept.set(elf, source);
  return source;
}
