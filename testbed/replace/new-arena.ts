// An arena that compiled arena_map_alloc() is making: what it has got so far, and struct bpf_arena as memory of the code's
// own. When the function returns the map, what the structure holds is the model's arena.
import {
  type ArenaAttr,
  type ArenaWishes,
  BpfArena,
  bpfMapAllocPage,
  guardSize,
} from '../../bpf/arena.ts';
import { type Pfn, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex, u64 } from '../../emulator/bits.ts';
import { type Activity, KernelStuck } from '../../mm/context.ts';
import type { VmStruct } from '../../mm/vmalloc.ts';
import type { Kernel } from '../kernel.ts';
import { type Laid, readMember, writeUint } from './laid.ts';
import type { Structures } from './structures.ts';

const ARENA = 'arena_map_alloc';
/** Bytes that one structure may have here. */
const MOST_BYTES = 0x4000;
/** MAX_ERRNO */
const MOST_ERRNO = 4095n;

export class NewArena {
  private readonly kernel: Kernel;
  private readonly structures: Structures;
  private attr: ArenaAttr | null = null;
  /** What the scenario wants of it. */
  wishes: ArenaWishes = {};
  private kernVm: VmStruct | null = null;
  private memory: Laid | null = null;
  private arena: BpfArena | null = null;

  constructor(kernel: Kernel, structures: Structures) {
    this.kernel = kernel;
    this.structures = structures;
  }

  begin(attr: ArenaAttr, wishes: ArenaWishes): void {
    this.attr = attr;
    this.wishes = wishes;
  }

  /** Address of the structure in the making; null: there is none. */
  get start(): bigint | null {
    return this.memory === null ? null : this.structures.virt(this.memory.pa);
  }

  /** The arena in whose structure, as yet unfinished, an address lies. */
  at(address: bigint): BpfArena | null {
    const { start, memory } = this;
    if (memory === null || start === null) return null;
    if (address < start || address >= start + BigInt(memory.layout.size)) return null;
    this.arena ??= this.construct(memory);
    return this.arena;
  }

  /** get_vm_area(): the first one where the scenario wants it. */
  getVmArea(size: number, flags: number): VmStruct | null {
    const { bpf, pageSize } = this.kernel;
    const wanted = this.kernVm === null ? this.wishes.kernVmStart : undefined;
    const at = wanted && (u64(wanted - BigInt(guardSize(pageSize) / 2)) as VirtAddr);
    const area = bpf.vmalloc.getVmArea(size, flags, at);
    if (this.attr !== null) this.kernVm ??= area;
    return area;
  }

  /** bpf_map_area_alloc(). @returns an address, or 0 */
  allocate(bytes: number): bigint {
    if (this.kernel.context.failure('map_area')) return 0n;
    const shape = this.structures.shape('bpf_arena', { map: 'bpf_map', vma_list: 'list_head' });
    if (bytes <= 0 || bytes > MOST_BYTES) return 0n;
    const laid = this.structures.memory.layRaw(
      { ...shape, size: bytes },
      { lend: (member, by, pa) => member === 'rt' && this.lendTree(pa, by) },
    );
    if (this.attr !== null) this.memory ??= laid;
    return this.structures.virt(laid.pa);
  }

  private lendTree(pa: number, by: string): boolean {
    const { lender } = this.structures;
    const arena = this.memory?.pa === pa ? this.at(this.structures.virt(pa)) : null;
    return (
      arena !== null && (lender?.lendTree(arena, this.structures.treeAddress(pa), by) ?? false)
    );
  }

  /** bpf_map_area_free() of the structure in the making. @returns false for another address */
  free(address: bigint): boolean {
    if (this.memory === null || address !== this.start) return false;
    this.structures.memory.free(this.memory);
    this.memory = null;
    return true;
  }

  isMaking(arena: BpfArena): boolean {
    return arena === this.arena;
  }

  /** bpf_map_alloc_pages() for the scratch page, which lies where the scenario wants it. */
  // biome-ignore lint/correctness/useYield: an Activity that has no step
  *allocScratch(count: number): Activity<Pfn[] | null> {
    const { arena, wishes, kernel } = this;
    const taken: Pfn[] = [];
    for (let i = 0; i < count; i++) {
      const at = i === 0 ? wishes.scratchPfn : undefined;
      const pfn = bpfMapAllocPage(arena!, arena!.scratchPages, at);
      if (pfn < 0) {
        for (const earlier of taken) kernel.pages.freePage(earlier);
        return null;
      }
      taken.push(pfn as Pfn);
    }
    return taken;
  }

  /** bpf_map_init_from_attr() */
  initMap(map: bigint, attr: bigint): void {
    const [to, from] = [this.structures.layout('bpf_map'), this.structures.layout('bpf_attr')];
    const { ram } = this.kernel;
    for (const name of [
      'map_type',
      'key_size',
      'value_size',
      'max_entries',
      'map_flags',
      'map_extra',
    ]) {
      const [at, member] = [to.members.get(name), from.members.get(name)];
      if (at === undefined || member === undefined) continue;
      const value = ram.readUint(this.structures.phys(attr) + member.offset, member.size);
      writeUint(this.kernel, this.structures.phys(map) + at.offset, at.size, value);
    }
  }

  /** The function has returned. @returns the arena, or its negative errno */
  end(result: bigint): BpfArena | number {
    const { memory, start, arena } = this;
    const errno = BigInt.asUintN(64, -result);
    if (errno !== 0n && errno <= MOST_ERRNO) return -Number(errno);
    const map = this.structures.optional('bpf_arena')?.members.get('map')?.offset ?? 0;
    if (memory === null || start === null || result !== start + BigInt(map)) {
      throw new KernelStuck(`${ARENA} returns ${hex(result)}, which is no map that it has made`);
    }
    const made = arena ?? this.construct(memory);
    const read = (name: string) => readMember(this.kernel, memory, name);
    made.userVmStart = read('user_vm_start');
    made.userVmEnd = read('user_vm_end');
    const scratch = this.structures.pfn(read('scratch_page'));
    if (scratch === null) {
      const what = `scratch_page ${hex(read('scratch_page'))}`;
      throw new KernelStuck(`${ARENA} leaves ${what}, which is no struct page`);
    }
    made.scratchPage = scratch;
    made.scratchPte = this.kernel.bpf.mm.format.mkPte(scratch, 'PAGE_KERNEL');
    this.structures.adoptArena(made, memory);
    this.structures.mappings.links(made).take();
    this.structures.mappings.check(ARENA);
    return made;
  }

  /** Nothing is being made any more, whatever came of it. */
  forget(): void {
    this.attr = null;
    this.wishes = {};
    this.kernVm = null;
    this.memory = null;
    this.arena = null;
  }

  private construct(memory: Laid): BpfArena {
    const { attr, wishes } = this;
    const read = (name: string) => readMember(this.kernel, memory, name);
    const kernVm = this.structures.vmStructAt(read('kern_vm'));
    if (attr === null || kernVm === null) {
      throw new KernelStuck(`${ARENA} uses struct bpf_arena before its kern_vm is set`);
    }
    const made = {
      maxEntries: Number(read('map.max_entries')),
      mapFlags: Number(read('map.map_flags')),
    };
    return new BpfArena(this.kernel.bpf, { ...attr, ...made }, kernVm, wishes.name ?? 'arena');
  }
}

/** union bpf_attr of BPF_MAP_CREATE at a physical address. @returns its kernel address */
export function writeAttr(
  kernel: Kernel,
  structures: Structures,
  pa: number,
  attr: ArenaAttr,
): bigint {
  const layout = structures.layout('bpf_attr');
  const values: Readonly<Record<string, bigint>> = {
    map_type: 33n,
    key_size: BigInt(attr.keySize ?? 0),
    value_size: BigInt(attr.valueSize ?? 0),
    max_entries: BigInt(attr.maxEntries),
    map_flags: BigInt(attr.mapFlags),
    map_extra: attr.mapExtra,
  };
  kernel.ram.write(pa, new Uint8Array(layout.size));
  for (const [name, value] of Object.entries(values)) {
    const member = layout.members.get(name);
    if (member !== undefined) writeUint(kernel, pa + member.offset, member.size, value);
  }
  return virtAddr(structures.virt(pa));
}
