// Zstandard (RFC 8878): what a file's frames ask for is looked at before memory is taken for it.
import { Decompress } from 'fzstd';

const MAGIC = 0xfd2f_b528;
/** Frames for users, which hold no data: 0x184d2a50 to 0x184d2a5f. */
const SKIPPABLE = 0x184d_2a50;
const BLOCK_RLE = 1;

/** @param most bytes that may come out, or that a frame may want to keep @throws RangeError */
export function unzstd(bytes: Uint8Array, most: number): Uint8Array {
  checkFrames(bytes, most);
  const parts: Uint8Array[] = [];
  let total = 0;
  const stream = new Decompress((part) => {
    parts.push(part);
    total += part.length;
    if (total > most) throw new RangeError('it holds more than 128 MiB');
  });
  stream.push(bytes, true);
  return new Uint8Array(Buffer.concat(parts));
}

/** Walks frames and blocks by their headers alone. What does not add up is left for the decoder to tell. */
function checkFrames(bytes: Uint8Array, most: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 8 <= bytes.length; ) {
    const magic = view.getUint32(at, true);
    if ((magic & ~0xf) === SKIPPABLE) {
      at += 8 + view.getUint32(at + 4, true);
      continue;
    }
    if (magic !== MAGIC) return;
    const { window, end, checksum } = frameHeader(view, at + 4);
    if (window > most) {
      throw new RangeError(`a frame with a window of ${window} bytes, more than 128 MiB`);
    }
    at = behindBlocks(view, end) + (checksum ? 4 : 0);
  }
}

/** Frame_Header (RFC 8878, 3.1.1.1). */
function frameHeader(
  view: DataView,
  at: number,
): { window: number; end: number; checksum: boolean } {
  const descriptor = view.getUint8(at);
  const isSingle = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3];
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (isSingle ? 1 : 0) : 2 ** sizeFlag;
  const sizeAt = at + 1 + (isSingle ? 0 : 1) + dictionary;
  const end = sizeAt + sizeBytes;
  if (end > view.byteLength) return { window: 0, end, checksum: false };
  const checksum = (descriptor & 4) !== 0;
  if (isSingle) return { window: contentSize(view, sizeAt, sizeBytes), end, checksum };
  const window = view.getUint8(at + 1);
  const base = 2 ** (10 + (window >> 3));
  return { window: base + (base / 8) * (window & 7), end, checksum };
}

function contentSize(view: DataView, at: number, bytes: number): number {
  if (bytes === 1) return view.getUint8(at);
  if (bytes === 2) return view.getUint16(at, true) + 256;
  return bytes === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}

function behindBlocks(view: DataView, start: number): number {
  for (let at = start; at + 3 <= view.byteLength; ) {
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    at += 3 + ((header >> 1) % 4 === BLOCK_RLE ? 1 : header >> 3);
    if ((header & 1) === 1) return at;
  }
  return view.byteLength;
}
