// Source lines of code, out of DWARF line number programs (DWARF 4 and 5, 6.2). Left out: columns,
// compressed sections.
import { ElfError } from './bytes.ts';
import { Cursor, textAt } from './dwarf.ts';

/** Code from `address` to the next row's comes from this line. */
export interface LineRow {
  readonly address: bigint;
  /** As the compiler was given it, without folders. */
  readonly file: string;
  /** From 1; 0: no line, or the end of a sequence. */
  readonly line: number;
}

export interface DebugSections {
  /** `.debug_line`, relocated. */
  readonly line: Uint8Array;
  /** `.debug_line_str` and `.debug_str`: empty where there are none. */
  readonly lineStr: Uint8Array;
  readonly str: Uint8Array;
}

const DW_LNS = {
  copy: 1,
  advancePc: 2,
  advanceLine: 3,
  setFile: 4,
  constAddPc: 8,
  fixedAdvancePc: 9,
};
const DW_LNE = { endSequence: 1, setAddress: 2 };
const DW_LNCT_PATH = 1;
const FORM = {
  data2: 5,
  data4: 6,
  data8: 7,
  string: 8,
  block: 9,
  data1: 0xb,
  strp: 0xe,
  udata: 0xf,
};
const FORM_DATA16 = 0x1e;
const FORM_LINE_STRP = 0x1f;

/** Rows of every unit, by address. @throws ElfError for programs that cannot be read */
export function readLines(sections: DebugSections): LineRow[] {
  const cursor = new Cursor(sections.line, '.debug_line');
  const rows: LineRow[] = [];
  while (cursor.at < sections.line.length) readUnit(cursor, sections, rows);
  return rows.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}

/** File names of the unit whose program begins at `offset`, by the number that its entries use. @throws ElfError */
export function filesOfUnit(sections: DebugSections, offset: number): readonly string[] {
  const cursor = new Cursor(sections.line, '.debug_line');
  cursor.at = offset + 4;
  const version = cursor.u(2);
  return version >= 2 && version <= 5
    ? readHeader(cursor, version, sections).files.map(baseName)
    : [];
}

/** The row of an address: `rows` as {@link readLines} gives them; null where the table says nothing. */
export function rowAt(rows: readonly LineRow[], address: bigint): LineRow | null {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].address <= address) low = middle + 1;
    else high = middle;
  }
  const row = rows[low - 1];
  return row === undefined || row.line === 0 ? null : row;
}

/** Files of a unit. */
const MOST_FILES = 2 ** 16;

interface Header {
  readonly minLength: number;
  readonly lineBase: number;
  readonly lineRange: number;
  readonly opcodeBase: number;
  readonly operands: readonly number[];
  /** By the number that programs use. */
  readonly files: readonly string[];
}

function readUnit(cursor: Cursor, sections: DebugSections, rows: LineRow[]): void {
  const start = cursor.at;
  const length = cursor.u(4);
  if (length >= 0xffff_fff0) throw new ElfError(start, '.debug_line: 64-bit DWARF');
  const end = cursor.at + length;
  const version = cursor.u(2);
  if (version >= 2 && version <= 5)
    runProgram(cursor, end, readHeader(cursor, version, sections), rows);
  cursor.at = end;
}

function readHeader(cursor: Cursor, version: number, sections: DebugSections): Header {
  if (version >= 5) cursor.at += 2;
  const headerLength = cursor.u(4);
  const program = cursor.at + headerLength;
  const minLength = cursor.u(1);
  if (version >= 4) cursor.u(1);
  cursor.u(1); // default_is_stmt
  const lineBase = (cursor.u(1) << 24) >> 24;
  const lineRange = cursor.u(1);
  const opcodeBase = cursor.u(1);
  const operands = Array.from({ length: Math.max(0, opcodeBase - 1) }, () => cursor.u(1));
  const files = version >= 5 ? filesOf5(cursor, sections) : filesOf4(cursor);
  cursor.at = program;
  return { minLength, lineBase, lineRange, opcodeBase, operands, files };
}

function filesOf4(cursor: Cursor): string[] {
  while (cursor.string() !== '');
  const files = [''];
  for (let name = cursor.string(); name !== ''; name = cursor.string()) {
    files.push(name);
    for (let i = 0; i < 3; i++) cursor.uleb();
  }
  return files;
}

function filesOf5(cursor: Cursor, sections: DebugSections): string[] {
  entries(cursor, sections);
  return entries(cursor, sections);
}

function entries(cursor: Cursor, sections: DebugSections): string[] {
  const formats = Array.from({ length: cursor.u(1) }, () => [cursor.uleb(), cursor.uleb()]);
  const names: string[] = [];
  const count = cursor.uleb();
  if (count > MOST_FILES) throw new ElfError(cursor.at, '.debug_line: too many files');
  for (let n = count; n > 0; n--) {
    let name = '';
    for (const [content, form] of formats) {
      const value = formValue(cursor, form, sections);
      if (content === DW_LNCT_PATH) name = value;
    }
    names.push(name);
  }
  return names;
}

/** Text of a string form; of any other nothing, skipped. */
function formValue(cursor: Cursor, form: number, { lineStr, str }: DebugSections): string {
  switch (form) {
    case FORM.string:
      return cursor.string();
    case FORM_LINE_STRP:
      return textAt(lineStr, cursor.u(4));
    case FORM.strp:
      return textAt(str, cursor.u(4));
    case FORM.udata:
      cursor.uleb();
      return '';
    case FORM.block: {
      const size = cursor.uleb();
      cursor.at += size;
      return '';
    }
    case FORM_DATA16:
      cursor.at += 16;
      return '';
    case FORM.data1:
    case FORM.data2:
    case FORM.data4:
    case FORM.data8:
      cursor.u(({ 11: 1, 5: 2, 6: 4, 7: 8 } as const)[form as 11 | 5 | 6 | 7]);
      return '';
    default:
      throw new ElfError(cursor.at, `.debug_line: form 0x${form.toString(16)} is not known here`);
  }
}

function runProgram(cursor: Cursor, end: number, header: Header, rows: LineRow[]): void {
  const { minLength, lineBase, lineRange, opcodeBase, operands, files } = header;
  if (lineRange === 0) throw new ElfError(cursor.at, '.debug_line: a line range of 0');
  let address = 0n;
  let file = 1;
  let line = 1;
  const advance = (operations: number) => {
    address += BigInt(operations * minLength);
  };
  const emit = (number: number) => {
    rows.push({ address, file: baseName(files[file] ?? ''), line: number });
  };
  while (cursor.at < end) {
    const opcode = cursor.u(1);
    if (opcode >= opcodeBase) {
      const special = opcode - opcodeBase;
      advance(Math.floor(special / lineRange));
      line += lineBase + (special % lineRange);
      emit(line);
    } else if (opcode === 0) {
      const length = cursor.uleb();
      const next = cursor.at + length;
      const extended = cursor.u(1);
      if (extended === DW_LNE.endSequence) {
        emit(0);
        address = 0n;
        file = 1;
        line = 1;
      } else if (extended === DW_LNE.setAddress) address = cursor.address();
      cursor.at = next;
    } else if (opcode === DW_LNS.copy) emit(line);
    else if (opcode === DW_LNS.advancePc) advance(cursor.uleb());
    else if (opcode === DW_LNS.advanceLine) line += cursor.sleb();
    else if (opcode === DW_LNS.setFile) file = cursor.uleb();
    else if (opcode === DW_LNS.constAddPc) advance(Math.floor((255 - opcodeBase) / lineRange));
    else if (opcode === DW_LNS.fixedAdvancePc) address += BigInt(cursor.u(2));
    else for (let n = operands[opcode - 1] ?? 0; n > 0; n--) cursor.uleb();
  }
}

const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
