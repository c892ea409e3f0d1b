// Files that hold compiled code, by the paths that people write: foo.o, module.ko.xz, libc.a(memcpy.o), libc.a, vmlinux.
import { Archive, isArchive } from '../emulator/elf/archive.ts';
import { decompress } from '../emulator/elf/decompress.ts';
import { ElfError } from '../emulator/elf/read.ts';
import { nearest } from './scenario-error.ts';
import type { ArchName } from './scenario-model.ts';
import { isArm64Image, unpackKernel } from './vmlinux/unpack.ts';

/** An object, and the archive around it. */
export interface ObjectFile {
  /** As errors name it: a member as libc.a(memcpy.o). */
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Where the names that it leaves undefined are looked up; null if it is a member of none. */
  readonly library: Library | null;
}

export interface Library {
  readonly path: string;
  readonly archive: Archive;
}

/** What is wrong with a file, said with the path in front. */
export class ObjectFileError extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.name = 'ObjectFileError';
    this.remedy = remedy;
  }
}

/** True for a name that means a file with code rather than a built-in routine. */
export const isObjectPath = (name: string): boolean =>
  /\.(?:o|ko|elf)(?:\.(?:gz|xz|zst))?$|\.a(?:\([^()]+\))?$/.test(name) || IMAGE_NAME.test(name);

/** vmlinux, vmlinuz-6.1.0-amd64, bzImage, Image.gz: a whole kernel. */
const IMAGE_NAME = /(?:^|\/)(?:vmlinu[xz]|bzImage|Image)(?:[-.][^/]*)?$/;

/** @param path may name a member of an archive in brackets */
export function splitObjectPath(path: string): { file: string; member: string | null } {
  const match = /^(.+)\(([^()]+)\)$/.exec(path);
  return match === null ? { file: path, member: null } : { file: match[1], member: match[2] };
}

/**
 * The object that a path means, decompressed and taken out of its archive.
 * @param read reads a file by the path that was given
 * @param symbol of an archive without a member in brackets: the member that defines it is meant
 * @throws ObjectFileError, and what `read` throws
 */
export function openObject(
  path: string,
  symbol: string | null,
  read: (file: string) => Uint8Array,
): ObjectFile {
  const { file, member } = splitObjectPath(path);
  return named(file, () => {
    const bytes = unpackKernel(decompress(read(file)));
    if (!isArchive(bytes)) {
      if (member === null) return { path, bytes, library: null };
      throw new ObjectFileError(`${file}: is no archive`, `leave (${member}) out`);
    }
    return memberOf({ path: file, archive: archiveOf(bytes) }, member, symbol);
  });
}

/** Archives are large and named again and again: one is read once as long as its bytes live. */
const archives = new WeakMap<ArrayBufferLike, Archive>();

function archiveOf(bytes: Uint8Array): Archive {
  const known = archives.get(bytes.buffer) ?? new Archive(bytes);
  if (bytes.length === bytes.buffer.byteLength) archives.set(bytes.buffer, known);
  return known;
}

function memberOf(library: Library, member: string | null, symbol: string | null): ObjectFile {
  const { path, archive } = library;
  if (member === null && symbol === null) {
    throw new ObjectFileError(
      `${path}: is an archive of ${archive.members.length} objects`,
      `name one in brackets, as ${path}(${archive.members[0]?.name ?? 'memcpy.o'}), or a symbol`,
    );
  }
  const found = member === null ? archive.definer(symbol!) : archive.member(member);
  if (found !== null) return { path: `${path}(${found.name})`, bytes: found.bytes, library };
  if (member === null) {
    throw new ObjectFileError(
      `${path}: no member defines ${symbol}`,
      `see what it holds: ar t ${path}`,
    );
  }
  const near = nearest(
    member,
    archive.members.map(({ name }) => name),
  );
  throw new ObjectFileError(
    `${path}: has no member ${member}`,
    near === null ? `see what it holds: ar t ${path}` : `did you mean ${near}?`,
  );
}

function named<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new ObjectFileError(`${file}: ${error.message}`, error.remedy);
  }
}

/** ELF's e_machine of each architecture. */
const E_MACHINE: Record<number, ArchName> = { 62: 'x86_64', 183: 'arm64' };

/** The architecture that an object is for, or null if it is none of ours. */
export function objectArch(bytes: Uint8Array): ArchName | null {
  if (isArm64Image(bytes)) return 'arm64';
  const isElf = [0x7f, 0x45, 0x4c, 0x46].every((byte, i) => bytes[i] === byte);
  return isElf && bytes.length > 20 ? (E_MACHINE[bytes[18] | (bytes[19] << 8)] ?? null) : null;
}
