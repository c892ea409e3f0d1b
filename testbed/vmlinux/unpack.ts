// Kernels as boot loaders are given them: x86's bzImage (Documentation/arch/x86/boot.rst) and arm64's EFI zboot image
// hold a compressed kernel. Left out: what surrounds it, the set-up code and the decompressor.
import { createHash } from 'node:crypto';
import { ElfError } from '../../emulator/elf/bytes.ts';
import { decompress } from '../../emulator/elf/decompress.ts';

/** "HdrS", the mark of the set-up header, and the boot protocol that first names the payload: 2.08. */
const HDRS = 0x5372_6448;
const PROTOCOL_PAYLOAD = 0x208;
/** "MZ", "zimg": the header of drivers/firmware/efi/libstub/zboot-header.S. */
const MZ = 0x5a4d;
const ZIMG = 0x676d_697a;
/** "ARM\x64" at 56 bytes: an arm64 Image (Documentation/arch/arm64/booting.rst). */
const ARM64_MAGIC = 0x644d_5241;
const REMEDY = 'copy the image again, or give the vmlinux that it was made from';

/** True for an arm64 Image that is not compressed. */
export const isArm64Image = (bytes: Uint8Array): boolean =>
  bytes.length >= 64 && viewOf(bytes).getUint32(56, true) === ARM64_MAGIC;

/**
 * The kernel inside a boot image: an ELF file or an arm64 Image; any other file as it is.
 * @throws ElfError for an image that is damaged or packed in a way that is not known
 */
export function unpackKernel(bytes: Uint8Array): Uint8Array {
  const payload = bzImagePayload(bytes) ?? zbootPayload(bytes);
  if (payload === null) return bytes;
  const key = createHash('sha256').update(payload).digest('hex');
  const unpacked = known.get(key) ?? decompress(payload, expectedSize(bytes, payload));
  if (unpacked !== payload) {
    remember(key, unpacked);
    return unpacked;
  }
  const magic = [...payload.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0'));
  throw new ElfError(
    payload.byteOffset - bytes.byteOffset,
    `the kernel in it is packed by ${packedBy(payload) ?? `something unknown (it begins with ${magic.join(' ')})`}, which is not unpacked here`,
    'unpack it with the kernel’s scripts/extract-vmlinux',
  );
}

/** Formats that kernels may be packed in and that are seldom met (scripts/Makefile.lib), by how they begin. */
const OTHERS: readonly (readonly [name: string, magic: readonly number[]])[] = [
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lzma', [0x5d, 0x00, 0x00]],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f]],
];

const packedBy = (payload: Uint8Array): string | null =>
  OTHERS.find(([, magic]) => magic.every((byte, i) => payload[i] === byte))?.[0] ?? null;

/** Kernels take seconds to unpack, and the tests of a suite name the same ones: the last are kept, by what is in them. */
const known = new Map<string, Uint8Array>();
const KEPT = 2;

function remember(key: string, unpacked: Uint8Array): void {
  known.delete(key);
  known.set(key, unpacked);
  for (const old of [...known.keys()].slice(0, -KEPT)) known.delete(old);
}

/** What the four bytes behind the payload say; not to be relied on. */
function expectedSize(bytes: Uint8Array, payload: Uint8Array): number {
  const at = payload.byteOffset + payload.length - bytes.byteOffset;
  return at + 4 > bytes.length
    ? 0
    : Math.min(viewOf(bytes).getUint32(at, true), payload.length * 16);
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

function bzImagePayload(bytes: Uint8Array): Uint8Array | null {
  if (bytes.length < 0x260) return null;
  const view = viewOf(bytes);
  if (view.getUint32(0x202, true) !== HDRS) return null;
  if (view.getUint16(0x206, true) < PROTOCOL_PAYLOAD) {
    throw new ElfError(0x206, 'a boot image older than boot protocol 2.08', REMEDY);
  }
  // setup_sects of 0 means 4; the boot sector comes on top.
  const setup = ((bytes[0x1f1] || 4) + 1) * 512;
  const start = setup + view.getUint32(0x248, true);
  const length = view.getUint32(0x24c, true);
  // The size of what comes out follows all formats but gzip, which has it inside.
  const isGzip = bytes[start] === 0x1f && bytes[start + 1] === 0x8b;
  return part(bytes, start, isGzip ? length : length - 4, 0x248);
}

function zbootPayload(bytes: Uint8Array): Uint8Array | null {
  if (bytes.length < 64) return null;
  const view = viewOf(bytes);
  if (view.getUint16(0, true) !== MZ || view.getUint32(4, true) !== ZIMG) return null;
  return part(bytes, view.getUint32(8, true), view.getUint32(12, true), 8);
}

function part(bytes: Uint8Array, start: number, length: number, from: number): Uint8Array {
  if (length > 0 && start + length <= bytes.length) return bytes.subarray(start, start + length);
  throw new ElfError(from, 'the packed kernel reaches past the end of the file', REMEDY);
}
