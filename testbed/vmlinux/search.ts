// Tables of an arm64 Image that neither a section nor a symbol names, found by their form: each is a run of entries that
// point into the code, or are marked as what they are.

/** R_AARCH64_RELATIVE. */
const RELATIVE = 1027n;
const RELA_SIZE = 24;
/** Entries that make a run a table: fewer may be chance. */
const FEWEST = 16;
/** Bytes of an entry of __ex_table, and of `struct alt_instr`. */
const ENTRY_SIZE = 12;
/** EX_TYPE_ numbers of arm64 end far below. */
const MOST_TYPE = 15;
const MOST_CAPABILITY = 0x7fff;

/** A piece of the image: offset and length in bytes. */
export interface Found {
  readonly offset: number;
  readonly length: number;
}

/** Where code lies in the image, bytes. */
export interface CodeRange {
  readonly from: number;
  readonly to: number;
}

/** `.rela.dyn`: what an image that may lie anywhere (CONFIG_RELOCATABLE) patches at its start. */
export function findRelatives(image: Uint8Array): Found | null {
  const view = viewOf(image);
  for (let at = 8; at + 16 <= image.length; at += 8) {
    if (image[at] !== 3 || view.getBigUint64(at, true) !== RELATIVE) continue;
    let end = at;
    while (end + 16 <= image.length && view.getBigUint64(end, true) === RELATIVE) end += RELA_SIZE;
    const length = end - at;
    if (length >= FEWEST * RELA_SIZE) return { offset: at - 8, length };
    at = end;
  }
  return null;
}

/** `__ex_table`: the longest run of instruction, fix-up and type, sorted by instruction. */
export function findExtable(image: Uint8Array, code: readonly CodeRange[]): Found | null {
  const view = viewOf(image);
  let last = -1;
  return longestRun(image, code, (at, isFirst) => {
    const insn = at + view.getInt32(at, true);
    const fixup = at + 4 + view.getInt32(at + 4, true);
    if (!isIn(code, insn) || !isIn(code, fixup) || view.getUint16(at + 8, true) > MOST_TYPE)
      return false;
    if (!isFirst && insn <= last) return false;
    last = insn;
    return true;
  });
}

/** `.altinstructions`: the longest run of code, replacement, capability and two equal lengths. */
export function findAlternatives(image: Uint8Array, code: readonly CodeRange[]): Found | null {
  const view = viewOf(image);
  return longestRun(image, code, (at) => {
    const original = at + view.getInt32(at, true);
    if (!isIn(code, original)) return false;
    const [size, newSize] = [image[at + 10], image[at + 11]];
    const isCallback = newSize === 0;
    const capability = view.getUint16(at + 8, true) & MOST_CAPABILITY;
    return size > 0 && size % 4 === 0 && (isCallback || size === newSize) && capability < 512;
  });
}

/** @param fits true for an entry of the table; all of one are offered in a row */
function longestRun(
  image: Uint8Array,
  code: readonly CodeRange[],
  fits: (at: number, isFirst: boolean) => boolean,
): Found | null {
  let best: Found | null = null;
  for (let at = 0; at + ENTRY_SIZE <= image.length; at += 4) {
    // Code is no table, and most of the image.
    const range = code.find(({ from, to }) => at >= from && at < to);
    if (range !== undefined) {
      at = ((range.to + 3) & ~3) - 4;
      continue;
    }
    if (!fits(at, true)) continue;
    let end = at + ENTRY_SIZE;
    while (end + ENTRY_SIZE <= image.length && fits(end, false)) end += ENTRY_SIZE;
    const length = end - at;
    if (length >= FEWEST * ENTRY_SIZE && length > (best?.length ?? 0))
      best = { offset: at, length };
    if (length >= FEWEST * ENTRY_SIZE) at = end - 4;
  }
  return best;
}

const isIn = (code: readonly CodeRange[], at: number): boolean =>
  at % 4 === 0 && code.some(({ from, to }) => at >= from && at < to);

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
