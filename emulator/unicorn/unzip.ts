// One member of a zip archive (PKWARE APPNOTE 4.3), which is what a wheel is. Left out: zip64, encryption, archives in
// several parts; and checksums, as the whole archive's hash has been checked.

const END = 0x06054b50;
const DIRECTORY = 0x02014b50;
const END_SIZE = 22;
const DIRECTORY_SIZE = 46;
const LOCAL_SIZE = 30;
const STORED = 0;
const DEFLATED = 8;

/** @returns the member's bytes, or null if the archive has none of that name or is no zip archive */
export function unzipMember(zip: Uint8Array, name: string): Uint8Array | null {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  const end = findEnd(view);
  if (end < 0) return null;
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (at + DIRECTORY_SIZE > end || view.getUint32(at, true) !== DIRECTORY) return null;
    const nameEnd = at + DIRECTORY_SIZE + view.getUint16(at + 28, true);
    const found = new TextDecoder().decode(zip.subarray(at + DIRECTORY_SIZE, nameEnd));
    if (found === name) return contents(zip, view, at);
    at = nameEnd + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return null;
}

/** Offset of the end record, which a comment may follow; -1 if there is none. */
function findEnd(view: DataView): number {
  const last = view.byteLength - END_SIZE;
  for (let at = last; at >= Math.max(0, last - 0xffff); at--) {
    if (view.getUint32(at, true) === END) return at;
  }
  return -1;
}

function contents(zip: Uint8Array, view: DataView, entry: number): Uint8Array | null {
  const method = view.getUint16(entry + 10, true);
  const size = view.getUint32(entry + 20, true);
  const local = view.getUint32(entry + 42, true);
  if (local + LOCAL_SIZE > zip.length) return null;
  const start =
    local + LOCAL_SIZE + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  const packed = zip.subarray(start, start + size);
  if (method === STORED) return packed;
  // Loaded when a wheel is unpacked, which is once: every other start would pay for it.
  const { inflateRawSync } = process.getBuiltinModule('node:zlib');
  return method === DEFLATED ? inflateRawSync(packed) : null;
}
