// The relocations of each machine.
import type { ElfFile } from './read.ts';
import type { RelocationTable } from './relocation.ts';
import { ARM64_RELOCATIONS } from './relocation-arm64.ts';
import { X86_RELOCATIONS } from './relocation-x86.ts';

export const relocationsOf = ({ machine }: ElfFile): RelocationTable =>
  machine === 'x86_64' ? X86_RELOCATIONS : ARM64_RELOCATIONS;
