// Compressed objects, as distributions install modules: .ko.gz, .ko.zst, .ko.xz; and kernels, which lz4 packs too.
import { gunzipSync } from 'node:zlib';
import { ElfError } from './bytes.ts';
import { unlz4Legacy } from './lz4.ts';
import { unxz, XzError } from './xz.ts';
import { unzstd } from './zstd.ts';

/** Bytes that come out at most: a small file can hold very much. */
const MOST = 2 ** 27;

const FORMATS = [
  { name: 'gzip', magic: [0x1f, 0x8b], open: gunzip },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], open: (b: Uint8Array) => unzstd(b, MOST) },
  {
    name: 'xz',
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    open: (b: Uint8Array, expected: number) => unxz(b, MOST, expected),
  },
  {
    name: 'lz4',
    magic: [0x02, 0x21, 0x4c, 0x18],
    open: (b: Uint8Array) => unlz4Legacy(b, MOST),
  },
];

/**
 * What a compressed file holds; any other file as it is.
 * @param expected bytes that will come out, where that is known: memory is then taken once
 * @throws ElfError for one that is damaged or holds more than 128 MiB
 */
export function decompress(bytes: Uint8Array, expected = 0): Uint8Array {
  const format = FORMATS.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte));
  if (format === undefined) return bytes;
  try {
    return format.open(bytes, expected);
  } catch (error) {
    const at = error instanceof XzError ? error.offset : 0;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ElfError(at, `not to be decompressed as ${format.name}: ${reason}`, REMEDY);
  }
}

const REMEDY = 'copy the file again, or decompress it yourself';

function gunzip(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(gunzipSync(bytes, { maxOutputLength: MOST }));
}
