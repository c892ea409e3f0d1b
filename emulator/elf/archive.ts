// Reads ar archives (System V and BSD forms): members by name, and which of them defines a symbol. Left out: thin
// archives, whose members are files elsewhere.
import { ElfError } from './bytes.ts';
import { readElf, SHN_COMMON, SHN_UNDEF, STB_LOCAL } from './read.ts';

const MAGIC = '!<arch>\n';
const THIN = '!<thin>\n';
const HEADER_SIZE = 60;
const REMEDY = 'build the archive again with ar rcs';

export interface ArchiveMember {
  /** As `ar t` prints it. */
  readonly name: string;
  /** A view of the archive. */
  readonly bytes: Uint8Array;
}

const ascii = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** True for the bytes of an archive, thin ones included. */
export const isArchive = (bytes: Uint8Array): boolean =>
  [MAGIC, THIN].includes(ascii(bytes.subarray(0, MAGIC.length)));

export class Archive {
  /** In the archive's order; several may have one name. */
  readonly members: readonly ArchiveMember[];
  private definitions: Map<string, ArchiveMember> | null = null;

  /** @throws ElfError for bytes that are no archive, or damaged */
  constructor(bytes: Uint8Array) {
    const magic = ascii(bytes.subarray(0, MAGIC.length));
    if (magic === THIN) {
      throw new ElfError(0, 'a thin archive, whose members are elsewhere', REMEDY);
    }
    if (magic !== MAGIC) throw new ElfError(0, 'this is no archive', REMEDY);
    this.members = readMembers(bytes);
  }

  member(name: string): ArchiveMember | null {
    return this.members.find((member) => member.name === name) ?? null;
  }

  /** The first member with a global definition of `symbol`, as a linker picks it; null if there is none. */
  definer(symbol: string): ArchiveMember | null {
    this.definitions ??= this.indexed();
    return this.definitions.get(symbol) ?? null;
  }

  private indexed(): Map<string, ArchiveMember> {
    const index = new Map<string, ArchiveMember>();
    for (const member of this.members) {
      for (const name of definedNames(member.bytes)) {
        if (!index.has(name)) index.set(name, member);
      }
    }
    return index;
  }
}

/** Names that an object defines for others; none for a member that is no object of ours. */
function definedNames(bytes: Uint8Array): string[] {
  try {
    return readElf(bytes)
      .symbols.filter(({ section, binding }) => {
        return section !== SHN_UNDEF && section !== SHN_COMMON && binding !== STB_LOCAL;
      })
      .map(({ name }) => name);
  } catch (error) {
    if (error instanceof ElfError) return [];
    throw error;
  }
}

function readMembers(bytes: Uint8Array): ArchiveMember[] {
  const members: ArchiveMember[] = [];
  let longNames = new Uint8Array();
  for (let at = MAGIC.length; at < bytes.length; ) {
    if (at + HEADER_SIZE > bytes.length) {
      throw new ElfError(at, 'the archive ends inside the header of a member', REMEDY);
    }
    const header = ascii(bytes.subarray(at, at + HEADER_SIZE));
    const size = Number(header.slice(48, 58).trim() || 'none');
    if (header.slice(58) !== '`\n' || !Number.isInteger(size) || size < 0) {
      throw new ElfError(at, 'this is no header of an archive member', REMEDY);
    }
    const start = at + HEADER_SIZE;
    if (start + size > bytes.length) {
      throw new ElfError(at, 'a member reaches past the end of the archive', REMEDY);
    }
    const content = bytes.subarray(start, start + size);
    const field = header.slice(0, 16).trimEnd();
    if (field === '//') longNames = new Uint8Array(content);
    else if (!['/', '/SYM64/', '__.SYMDEF'].includes(field)) {
      members.push(readMember(field, content, longNames, at));
    }
    // Members begin at even offsets.
    at = start + size + (size % 2);
  }
  return members;
}

function readMember(
  field: string,
  content: Uint8Array,
  longNames: Uint8Array,
  at: number,
): ArchiveMember {
  const bsd = /^#1\/(\d+)$/.exec(field);
  if (bsd !== null) {
    const length = Math.min(Number(bsd[1]), content.length);
    const name = ascii(content.subarray(0, length)).replace(/\0+$/, '');
    return { name, bytes: content.subarray(length) };
  }
  const long = /^\/(\d+)$/.exec(field);
  if (long === null) return { name: field.replace(/\/$/, ''), bytes: content };
  const from = Number(long[1]);
  const end = longNames.indexOf('\n'.charCodeAt(0), from);
  if (from >= longNames.length || end < 0) {
    throw new ElfError(at, 'the name of a member lies outside the table of names', REMEDY);
  }
  return { name: ascii(longNames.subarray(from, end)).replace(/\/$/, ''), bytes: content };
}
