// Members of an archive that objects ask for, as a static linker takes them: whoever defines a name that is used and not
// defined, and then what those use.
import type { LinkInput } from '../emulator/elf/link.ts';
import { ElfError, readElf, SHN_UNDEF, STB_WEAK } from '../emulator/elf/read.ts';
import type { Library } from './object-file.ts';

/** Members at most: a C library's malloc() or printf() asks for half of it. */
const MOST = 400;

/**
 * Adds the members that are needed to `inputs`, by path.
 * @param isBound true for a name that is bound to something else
 */
export function pullMembers(
  { path, archive }: Library,
  inputs: Map<string, LinkInput>,
  isBound: (name: string) => boolean,
): void {
  const seen = new Set<string>();
  const defined = new Set<string>();
  const wanted: string[] = [];
  const note = ({ elf }: LinkInput) => {
    for (const { name, section, binding } of elf.symbols) {
      if (section !== SHN_UNDEF) defined.add(name);
      else if (name !== '' && binding !== STB_WEAK) wanted.push(name);
    }
  };
  for (const input of [...inputs.values()]) note(input);
  for (let name = wanted.shift(); name !== undefined; name = wanted.shift()) {
    if (seen.has(name) || defined.has(name) || isBound(name)) continue;
    seen.add(name);
    const member = archive.definer(name);
    if (member === null) continue;
    const full = `${path}(${member.name})`;
    if (inputs.has(full) || inputs.size >= MOST) continue;
    const input = readable(full, member.bytes);
    if (input === null) continue;
    inputs.set(full, input);
    note(input);
  }
}

/** Null for a member that is no object of ours: what it would define stays undefined. */
function readable(name: string, bytes: Uint8Array): LinkInput | null {
  try {
    return { name, elf: readElf(bytes) };
  } catch (error) {
    if (error instanceof ElfError) return null;
    throw error;
  }
}
