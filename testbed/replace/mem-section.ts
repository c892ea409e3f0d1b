// mem_section: by it pfn_valid() of kernels with CONFIG_SPARSEMEM_EXTREME knows which frames are memory. A table of pointers
// to pages of struct mem_section, of which the first holds all the memory that a machine here has.
import { virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';
import { allocate, type Structures } from './structures.ts';

/** SECTION_MARKED_PRESENT, _HAS_MEM_MAP, _IS_ONLINE, _IS_EARLY: all of it is there since the kernel's start. */
const IN_USE = 0xfn;

/** Points `mem_section` to sections laid out as the object says; without their layout it stays NULL. */
export function layMemSections(kernel: Kernel, structures: Structures, variable: bigint): void {
  const layout = structures.optional('mem_section');
  const map = layout?.members.get('section_mem_map');
  if (layout === null || map === undefined) return;
  const { pageSize, ram } = kernel;
  // SECTION_SIZE_BITS
  const sectionSize = 2 ** (pageSize === 0x1_0000 ? 29 : 27);
  const sections = Math.min(Math.ceil(ram.size / sectionSize), Math.floor(pageSize / layout.size));
  const at = allocate(kernel, 2 * pageSize);
  ram.write64(at, structures.virt(at + pageSize));
  for (let i = 0; i < sections; i++) {
    ram.write64(at + pageSize + i * layout.size + map.offset, IN_USE);
  }
  kernel.memory.writeWord(virtAddr(variable), structures.virt(at));
}
