// What the model keeps in objects of its own, as compiled code sees it in memory: struct page, struct bpf_arena, struct
// bpf_prog and what hangs on them, laid out as the object's debugging data says. Members that the model does not know are
// not there: an access to one is told by its name.
import type { BpfArena } from '../../bpf/arena.ts';
import type { BpfProg } from '../../bpf/prog.ts';
import type { Lock } from '../../bpf/rqspinlock.ts';
import type { Vma } from '../../bpf/user-mm.ts';
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Layouts, StructLayout } from '../../emulator/elf/layouts.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { InitMm } from '../../mm/init-mm.ts';
import type { VmStruct } from '../../mm/vmalloc.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import { OutOfMemory } from '../kernel-memory.ts';
import { arenaMembers } from './arena-members.ts';
import type { CodeHeap } from './code-heap.ts';
import { FreeSpans } from './free-spans.ts';
import { type Binding, type Laid, LaidMemory, type Members, writeUint } from './laid.ts';
import { PageStructs } from './mapped-pages.ts';
import { Mappings } from './mappings.ts';
import { NewArena } from './new-arena.ts';
import type { ProgExtables } from './prog-extables.ts';

/** Makes what the model keeps in lists of its own in memory, for code that reaches it there. */
export interface Lender {
  /** @returns false where the object does not tell how it is laid out */
  lendTree(arena: BpfArena, at: bigint, by: string): boolean;
  /** @param first where the first of the two is */
  lendStreams(prog: BpfProg, first: bigint, by: string): boolean;
}

/** Members with what they hold. */
type Values = Readonly<Record<string, bigint | number>>;

/** Bytes that structures of the model are given at a time: a few pages hold all of a scenario's. */
const POOL = 0x1_0000;

/** Members of struct bpf_ksym in struct bpf_prog_aux, which the code may use as it likes. */
const KSYM_MEMBERS = ['start', 'end', 'name', 'lnode', 'tnode', 'prog'].map((one) => `ksym.${one}`);

export class Structures {
  readonly kernel: Kernel;
  readonly path: string;
  /** Set once the object is loaded. */
  lender: Lender | null = null;
  private readonly layouts: Layouts;
  readonly extables: ProgExtables;
  /** Where structures lie. */
  readonly memory: LaidMemory;
  readonly mappings: Mappings;
  readonly spans: FreeSpans;
  /** The arena that compiled code is making. */
  readonly made: NewArena;
  private readonly arenas = new Map<BpfArena, Laid>();
  private readonly vmStructs = new Map<VmStruct, Laid>();
  private readonly progs = new Map<BpfProg, Laid>();
  /** Where the model's arena_map_mmap() is called. */
  mapMmap = 0n;
  private opsOfMaps: Laid | null = null;
  readonly pages: PageStructs;

  /**
   * @param layouts null: none are known
   * @param path of the object, for what is wrong with it
   * @param extables where programs' exception tables lie
   * @throws CallError for an object that does not tell how it lays structures out
   */
  constructor(
    kernel: Kernel,
    layouts: Layouts | null,
    path: string,
    extables: ProgExtables,
    heap: CodeHeap,
  ) {
    if (layouts === null) {
      throw new CallError(
        `${path}: has no debugging data, which must tell how its structures are laid out`,
        'compile it with -g (and without -gz), or put BTF into it with pahole -J',
      );
    }
    this.kernel = kernel;
    this.layouts = layouts;
    this.extables = extables;
    this.path = path;
    this.memory = new LaidMemory(kernel, POOL, () => allocate(kernel, POOL));
    this.mappings = new Mappings(kernel, this);
    this.spans = new FreeSpans(kernel, this, heap);
    this.made = new NewArena(kernel, this);
    this.pages = new PageStructs(kernel, layouts.struct('page'));
  }

  /** @throws CallError if the object does not tell it */
  layout(name: string): StructLayout {
    const layout = this.layouts.struct(name);
    if (layout !== null) return layout;
    throw new CallError(
      `${this.path}: its debugging data does not define struct ${name}`,
      'compile it, with -g, from source that uses the structure',
    );
  }

  /**
   * The layout of a structure, with the members of members of it, as `map.map_type`, in their places. Code that only hands
   * the structure on needs none.
   * @param inner the structures that members are, by the members' names
   */
  shape(name: string, inner: Readonly<Record<string, string>> = {}): StructLayout {
    const outer = this.layouts.struct(name);
    if (outer === null) return { name, size: 64, members: new Map() };
    const members = new Map(outer.members);
    for (const [member, struct] of Object.entries(inner)) {
      const at = outer.members.get(member);
      const within = this.layouts.struct(struct);
      if (at === undefined || within === null) continue;
      members.delete(member);
      for (const [one, { offset, size }] of within.members) {
        members.set(`${member}.${one}`, { offset: at.offset + offset, size });
      }
    }
    return { ...outer, members };
  }

  /** How the object lays a structure out; null where it does not say. */
  optional(name: string): StructLayout | null {
    return this.layouts.struct(name);
  }

  /** The kernel address of physical memory, in the direct map. */
  virt(pa: number): VirtAddr {
    return virtAddr(this.kernel.layout.directMap + BigInt(pa));
  }

  /** The physical address behind one of the direct map; null for any other. */
  physical(va: bigint): number | null {
    const { layout, ram } = this.kernel;
    return within(va, layout.directMap, BigInt(ram.size)) ? Number(va - layout.directMap) : null;
  }

  /** init_mm, with its top-level table. @returns its address; null for an object that does not look into one */
  initMm(pgd: bigint): bigint | null {
    if (this.layouts.struct('mm_struct') === null) return null;
    return this.put(this.mms, this.kernel.mm, 'mm_struct', { pgd });
  }

  private readonly mms = new Map<InitMm, Laid>();

  /** pfn_to_page(). @param pfn in frames */
  page(pfn: Pfn): bigint {
    return this.pages.page(pfn);
  }

  /** page_to_pfn(), in frames; null for an address that is no page's. */
  pfn(page: bigint): Pfn | null {
    return this.pages.pfn(page);
  }

  /** The physical address of what the direct map has at `va`. */
  phys(va: bigint): number {
    return Number(va - this.kernel.layout.directMap);
  }

  /** struct bpf_arena of an arena. */
  arena(arena: BpfArena): bigint {
    const members = () => arenaMembers(this.kernel, this, arena);
    return this.place(this.arenas, arena, 'bpf_arena', members, ARENA_INNER);
  }

  /** Where the range tree of the struct bpf_arena at `pa` lies. */
  treeAddress(pa: number): bigint {
    return this.virt(pa) + BigInt(this.optional('bpf_arena')?.members.get('rt')?.offset ?? 0);
  }

  /** A structure all of whose members are made when the code reaches them. @returns its address */
  lentWhole(name: string, lend: (by: string) => boolean): bigint {
    return this.virt(this.memory.lay(this.layout(name), { lend: (_, by) => lend(by) }).pa);
  }

  /** True if the object's struct bpf_arena has a member: its code then keeps it. */
  arenaHas(member: string): boolean {
    return this.layouts.struct('bpf_arena')?.members.has(member) ?? false;
  }

  /** Memory that compiled code has made an arena in is its structure from now on. */
  adoptArena(arena: BpfArena, memory: Laid): void {
    const members = arenaMembers(this.kernel, this, arena);
    const shape = this.shape('bpf_arena', ARENA_INNER);
    this.arenas.set(arena, this.memory.adopt(memory, shape, members));
  }

  /** The arena is gone, and its structure with it. */
  forgetArena(arena: BpfArena): void {
    const laid = this.arenas.get(arena);
    if (laid === undefined) return;
    this.memory.free(laid);
    this.arenas.delete(arena);
  }

  /** map->ops: struct bpf_map_ops with what bpf_map_mmap() calls. */
  mapOps(): bigint {
    const bound = { map_mmap: { get: () => this.mapMmap } };
    this.opsOfMaps ??= this.memory.lay(this.shape('bpf_map_ops'), { bound });
    return this.virt(this.opsOfMaps.pa);
  }

  vmStruct(area: VmStruct): bigint {
    const bound = {
      addr: { get: () => area.addr as bigint },
      size: { get: () => BigInt(area.size) },
      flags: { get: () => BigInt(area.flags) },
    };
    return this.place(this.vmStructs, area, 'vm_struct', () => ({ bound }));
  }

  vmStructAt(address: bigint): VmStruct | null {
    return this.keyAt(this.vmStructs, address);
  }

  private readonly auxes = new Map<BpfProg, Laid>();

  /** struct bpf_prog of a program. */
  prog(prog: BpfProg): bigint {
    const main = prog.mainProg;
    // The two name each other: the first round makes the places.
    const at = this.put(this.progs, prog, 'bpf_prog', { aux: 0n });
    const aux = this.aux(this.auxes, prog, prog, at);
    this.put(this.progs, prog, 'bpf_prog', { aux });
    if (main !== prog) this.prog(main);
    const mainAux = main === prog ? aux : this.virt(this.auxes.get(main)!.pa);
    this.write(this.auxes.get(prog)!, { main_prog_aux: mainAux });
    return at;
  }

  /** struct bpf_prog_aux. @param owner whose it is: a program's, or a further image's of it */
  aux<T>(map: Map<T, Laid>, owner: T, prog: BpfProg, at: bigint): bigint {
    this.auxLayout ??= this.shape('bpf_prog_aux', { ksym: 'bpf_ksym' });
    const table = this.extables.table(prog);
    const values = {
      arena: prog.arena === null ? 0n : this.arena(prog.arena),
      prog: at,
      main_prog_aux: 0n,
      extable: table.at,
      num_exentries: table.count,
    };
    const lend = (member: string, by: string, pa: number): boolean => {
      if (member !== 'stream') return false;
      return this.lender?.lendStreams(prog, this.virt(pa) + this.streamOffset, by) ?? false;
    };
    return this.put(map, owner, 'bpf_prog_aux', values, this.auxLayout, KSYM_MEMBERS, lend);
  }

  private get streamOffset(): bigint {
    return BigInt(this.layouts.struct('bpf_prog_aux')?.members.get('stream')?.offset ?? 0);
  }

  /** struct bpf_stream of a main program. @param i 0: stdout, 1: stderr. @returns its address */
  stream(prog: BpfProg, i: number): bigint {
    const first = this.auxOf(prog) + this.streamOffset;
    return first + BigInt(i * this.layout('bpf_stream').size);
  }

  /** The program whose struct bpf_prog_aux an address lies in. */
  auxAround(address: bigint): BpfProg | null {
    for (const [prog, { pa, layout }] of this.auxes) {
      if (within(address, this.virt(pa), BigInt(layout.size))) return prog;
    }
    return null;
  }

  private auxLayout: StructLayout | null = null;

  /** struct bpf_prog_aux of a program. */
  auxOf(prog: BpfProg): bigint {
    this.prog(prog);
    return this.virt(this.auxes.get(prog)!.pa);
  }

  /** struct vm_fault of a fault, until it is freed. @returns addresses of it and of its `page` */
  vmFault(vma: Vma, address: bigint): { at: bigint; page: bigint; free(): void } {
    const pageSize = BigInt(this.kernel.pageSize);
    const bound = {
      vma: { get: () => this.mappings.vma(vma) },
      address: { get: () => address - (address % pageSize) },
      pgoff: { get: () => (address - vma.start) / pageSize },
    };
    const laid = this.memory.lay(this.shape('vm_fault'), { bound, shared: ['page'] });
    const at: bigint = this.virt(laid.pa);
    const page = at + BigInt(this.layout('vm_fault').members.get('page')?.offset ?? 0);
    return { at, page, free: () => this.memory.free(laid) };
  }

  /** The arena whose structure lies at an address, or around it; or the program whose structure does. */
  arenaAt(address: bigint): BpfArena | null {
    return this.keyAt(this.arenas, address) ?? this.made.at(address);
  }

  arenaAround(address: bigint): BpfArena | null {
    for (const [arena, { pa, layout }] of this.arenas) {
      if (within(address, this.virt(pa), BigInt(layout.size))) return arena;
    }
    return this.made.at(address);
  }

  /** The kernel address of a member of an arena's structure. @throws KernelStuck where the object knows none */
  memberOf(arena: BpfArena, member: string): bigint {
    const at = this.arena(arena);
    const found = this.layout('bpf_arena').members.get(member);
    if (found !== undefined) return at + BigInt(found.offset);
    throw new KernelStuck(`${this.path}: struct bpf_arena has no member ${member}`);
  }

  /** The member of an arena's structure that an address lies in. */
  arenaMemberAt(address: bigint): string | null {
    const arena = this.arenaAround(address);
    if (arena === null) return null;
    const offset = Number(address - (this.made.start ?? this.arena(arena)));
    for (const [name, one] of this.layout('bpf_arena').members) {
      if (offset >= one.offset && offset < one.offset + one.size) return name;
    }
    return null;
  }

  /** The lock whose word lies at a physical address, with the word's place; null: none. */
  lockAt(pa: number): { readonly lock: Lock; readonly word: number } | null {
    for (const [arena, { pa: start, layout }] of this.arenas) {
      const member = layout.members.get('spinlock');
      if (member === undefined) continue;
      const word = start + member.offset;
      if (pa >= word && pa < word + member.size) return { lock: arena.spinlock, word };
    }
    return null;
  }

  progAt(address: bigint): BpfProg | null {
    return this.keyAt(this.progs, address);
  }

  /** The address of an object's structure, which is made when it is first asked for. */
  place<T>(
    map: Map<T, Laid>,
    owner: T,
    name: string,
    members: () => Partial<Members>,
    inner: Readonly<Record<string, string>> = {},
  ): bigint {
    let laid = map.get(owner);
    if (laid === undefined) {
      laid = this.memory.lay(this.shape(name, inner), members());
      map.set(owner, laid);
    }
    return this.virt(laid.pa);
  }

  keyAt<T>(map: ReadonlyMap<T, Laid>, address: bigint): T | null {
    for (const [key, { pa }] of map) if (this.virt(pa) === address) return key;
    return null;
  }

  /** The code has a function of the model work on what lies at an address: it is made there if it is to be. */
  reach(address: bigint, by: string): void {
    this.memory.reach(this.phys(address), by);
  }

  /** Lays a structure down, or writes what it holds now. @param map where places are remembered. @returns its address */
  put<T>(
    map: Map<T, Laid>,
    owner: T,
    name: string,
    values: Values,
    told: StructLayout | null = null,
    shared: readonly string[] = [],
    lend: Members['lend'] = () => false,
  ): bigint {
    let laid = map.get(owner);
    if (laid === undefined) {
      const layout = told ?? this.shape(name);
      // Memory holds the values: the code may not change them.
      const held: Binding = { get: () => null };
      const bound = Object.fromEntries(Object.keys(values).map((member) => [member, held]));
      laid = this.memory.lay(layout, { bound, shared, lend });
      map.set(owner, laid);
    }
    this.write(laid, values);
    return this.virt(laid.pa);
  }

  /** Memory among the structures. @throws OutOfMemory */
  reserve(bytes: number): number {
    return this.memory.reserve(bytes);
  }

  private write({ pa, layout }: Laid, values: Values): void {
    for (const [name, value] of Object.entries(values)) {
      const member = layout.members.get(name);
      if (member === undefined) continue;
      writeUint(this.kernel, pa + member.offset, member.size, BigInt(value));
    }
  }
}

/** Structures within struct bpf_arena that the model knows members of. */
const ARENA_INNER = { map: 'bpf_map', vma_list: 'list_head' };

const within = (va: bigint, start: bigint, size: bigint): boolean =>
  va >= start && va < start + size;

/** Physically contiguous memory from the end of RAM. @returns its physical address */
export function allocate(kernel: Kernel, bytes: number): number {
  const at = tryAllocate(kernel, bytes);
  if (at === null) throw new OutOfMemory('no memory is left for replaced functions');
  return at;
}

/** The same; null without room. Pages that do not lie side by side are passed over. */
export function tryAllocate(kernel: Kernel, bytes: number): number | null {
  const { context, events, pages, dataPages } = kernel;
  const { access } = context;
  // It is no memory of the modelled kernel's: no step of another CPU can tell.
  context.access = null;
  const take = (): number | null => {
    const wanted = kernel.memory.pagesFor(bytes);
    let lowest = -1;
    for (let count = 0; count < wanted; count++) {
      const pfn = pages.allocPage(dataPages);
      if (pfn < 0) return null;
      if (count > 0 && pfn !== lowest - pages.framesPerPage) count = 0;
      lowest = pfn;
    }
    return lowest * FRAME_SIZE;
  };
  try {
    return events.silently(() => pages.fromTop(take));
  } finally {
    context.access = access;
  }
}
