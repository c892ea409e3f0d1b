// What the model keeps in objects of its own, as compiled code sees it in memory: struct page, struct bpf_arena, struct
// bpf_prog and what hangs on them, laid out as the object's debugging data says. Members that the model does not know are
// not there: an access to one is told by its name.
import type { BpfArena } from '../../bpf/arena.ts';
import type { BpfProg } from '../../bpf/prog.ts';
import type { Lock } from '../../bpf/rqspinlock.ts';
import type { Vma } from '../../bpf/user-mm.ts';
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { Layouts, StructLayout } from '../../emulator/elf/layouts.ts';
import { WRITE } from '../../emulator/engine.ts';
import type { InitMm } from '../../mm/init-mm.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import { OutOfMemory } from '../kernel-memory.ts';
import type { ProgExtables } from './prog-extables.ts';
import type { Caught } from './watch.ts';

/** A structure of the model in memory. */
export interface Laid {
  readonly pa: number;
  readonly layout: StructLayout;
  /** Members that hold what the model has. */
  readonly known: ReadonlySet<string>;
  /** Members that the code may use as it likes: the model looks at them when it is told to. */
  readonly shared: ReadonlySet<string>;
  readonly live: Live;
  /** What has members made in memory that the code reaches. @returns false if it cannot */
  lend(member: string, by: string, base: bigint): boolean;
}

/** A member whose value the model and the code both change: it is brought up to date around each access. */
export interface LiveMember {
  get(): bigint;
  set(value: bigint): void;
}

type Live = Readonly<Record<string, LiveMember>>;

/** A live member, where it lies. */
export interface LivePlace extends LiveMember {
  readonly pa: number;
  readonly size: number;
}

/** Makes what the model keeps in lists of its own in memory, for code that reaches it there. */
export interface Lender {
  /** @returns false where the object does not tell how it is laid out */
  lendTree(arena: BpfArena, at: bigint, by: string): boolean;
}

const LENDS_NOTHING = (): boolean => false;

/** Members with what they hold. */
type Values = Readonly<Record<string, bigint | number>>;

/** sizeof(struct page) of most kernels: for objects that never look into one. */
const USUAL_PAGE = 64;

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
  private readonly laid: Laid[] = [];
  private readonly arenas = new Map<BpfArena, Laid>();
  private readonly progs = new Map<BpfProg, Laid>();
  private readonly pools: number[];
  /** Bytes of the last pool. */
  private used = 0;
  /** sizeof(struct page) */
  readonly pageSize: number;

  /**
   * @param layouts null: none are known
   * @param path of the object, for what is wrong with it
   * @param extables where programs' exception tables lie
   * @throws CallError for an object that does not tell how it lays structures out
   */
  constructor(kernel: Kernel, layouts: Layouts | null, path: string, extables: ProgExtables) {
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
    this.pools = [allocate(kernel, POOL)];
    this.pageSize = layouts.struct('page')?.size ?? USUAL_PAGE;
  }

  /** How the object lays a structure out; null where it does not say. */
  optional(name: string): StructLayout | null {
    return this.layouts.struct(name);
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

  /** The structure with the members of a member of it, as `map.map_type`, in the member's place. */
  private flattened(name: string, member: string, struct: string): StructLayout | null {
    const [outer, inner] = [this.layouts.struct(name), this.layouts.struct(struct)];
    const at = outer?.members.get(member);
    if (outer === null || inner === null || at === undefined) return outer;
    const members = new Map(outer.members);
    members.delete(member);
    for (const [one, { offset, size }] of inner.members) {
      members.set(`${member}.${one}`, { offset: at.offset + offset, size });
    }
    return { ...outer, members };
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
    const index = pfn / this.kernel.pages.framesPerPage;
    return this.kernel.layout.vmemmap + BigInt(index * this.pageSize);
  }

  /** page_to_pfn(), in frames; null for an address that is no page's. */
  pfn(page: bigint): Pfn | null {
    const offset = page - this.kernel.layout.vmemmap;
    if (offset < 0n || offset % BigInt(this.pageSize) !== 0n) return null;
    const pfn = Number(offset / BigInt(this.pageSize)) * this.kernel.pages.framesPerPage;
    return this.kernel.pages.pfnValid(pfn) ? (pfn as Pfn) : null;
  }

  /** struct bpf_arena of an arena, with what it holds now. */
  arena(arena: BpfArena): bigint {
    const kernVm = this.put(this.kernVms, arena, 'vm_struct', {
      addr: arena.kernVm.addr,
      size: arena.kernVm.size,
    });
    const values = {
      user_vm_start: arena.userVmStart,
      user_vm_end: arena.userVmEnd,
      kern_vm: kernVm,
      scratch_page: this.page(arena.scratchPage),
      'map.map_type': arena.mapType,
      'map.max_entries': arena.maxEntries,
      'map.map_flags': arena.mapFlags,
    };
    this.arenaLayout ??= this.flattened('bpf_arena', 'map', 'bpf_map');
    const live = {
      nr_pages: {
        get: () => BigInt(arena.nrPages),
        set: (value: bigint) => {
          arena.nrPages = Number(value);
        },
      },
    };
    const lend = (member: string, by: string, base: bigint): boolean =>
      member === 'rt' &&
      (this.lender?.lendTree(arena, base + this.offsetOf('bpf_arena', 'rt'), by) ?? false);
    const { arenas, arenaLayout } = this;
    return this.put(arenas, arena, 'bpf_arena', values, arenaLayout, ['free_spans'], live, lend);
  }

  private offsetOf(struct: string, member: string): bigint {
    return BigInt(this.layouts.struct(struct)?.members.get(member)?.offset ?? 0);
  }

  /** A structure all of whose members are made when the code reaches them. @returns its address */
  lentWhole(name: string, lend: (by: string) => boolean): bigint {
    const owner = {};
    return this.put(new Map(), owner, name, {}, this.layout(name), [], {}, (_, by) => lend(by));
  }

  /** True if the object's struct bpf_arena has a member: its code then keeps it. */
  arenaHas(member: string): boolean {
    return this.layouts.struct('bpf_arena')?.members.has(member) ?? false;
  }

  /** The live member that has a byte at a physical address; null: none. */
  liveAt(pa: number): LivePlace | null {
    const at = this.laidAt(pa);
    for (const [name, member] of Object.entries(at?.live ?? {})) {
      const place = at!.layout.members.get(name);
      if (place === undefined) continue;
      const start = at!.pa + place.offset;
      if (pa >= start && pa < start + place.size) {
        return { pa: start, size: place.size, get: member.get, set: member.set };
      }
    }
    return null;
  }

  private laidAt(pa: number): Laid | undefined {
    return this.laid.find((one) => pa >= one.pa && pa < one.pa + one.layout.size);
  }

  private arenaLayout: StructLayout | null = null;

  private readonly kernVms = new Map<BpfArena, Laid>();
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
    this.auxLayout ??= this.flattened('bpf_prog_aux', 'ksym', 'bpf_ksym');
    const table = this.extables.table(prog);
    const values = {
      arena: prog.arena === null ? 0n : this.arena(prog.arena),
      prog: at,
      main_prog_aux: 0n,
      extable: table.at,
      num_exentries: table.count,
    };
    return this.put(map, owner, 'bpf_prog_aux', values, this.auxLayout, KSYM_MEMBERS);
  }

  private auxLayout: StructLayout | null = null;

  /** struct bpf_prog_aux of a program. */
  auxOf(prog: BpfProg): bigint {
    this.prog(prog);
    return this.virt(this.auxes.get(prog)!.pa);
  }

  /** struct vm_fault of a fault, with its VMA and file. @returns addresses of it and of its `page` */
  vmFault(vma: Vma, address: bigint): { at: bigint; page: bigint } {
    const file = this.put(this.files, vma, 'file', { private_data: this.arena(vma.arena) });
    const mapping = this.put(this.mappings, vma, 'vm_area_struct', {
      vm_start: vma.start,
      vm_end: vma.end,
      vm_file: file,
    });
    const values = {
      vma: mapping,
      address: address - (address % BigInt(this.kernel.pageSize)),
      pgoff: (address - vma.start) / BigInt(this.kernel.pageSize),
    };
    const at = this.put(this.vmFaults, vma, 'vm_fault', values, undefined, ['page']);
    return { at, page: at + BigInt(this.layout('vm_fault').members.get('page')?.offset ?? 0) };
  }

  private readonly files = new Map<Vma, Laid>();
  private readonly mappings = new Map<Vma, Laid>();
  private readonly vmFaults = new Map<Vma, Laid>();

  /** The arena whose structure lies at an address, or around it; or the program whose structure does. */
  arenaAt(address: bigint): BpfArena | null {
    for (const [arena, { pa }] of this.arenas) if (this.virt(pa) === address) return arena;
    return null;
  }

  arenaAround(address: bigint): BpfArena | null {
    for (const [arena, { pa, layout }] of this.arenas) {
      if (within(address, this.virt(pa), BigInt(layout.size))) return arena;
    }
    return null;
  }

  /** The kernel address of a member of an arena's structure; null where the object knows none. */
  memberOf(arena: BpfArena, member: string): bigint | null {
    const laid = this.arenas.get(arena);
    const found = laid?.layout.members.get(member);
    return laid === undefined || found === undefined
      ? null
      : this.virt(laid.pa) + BigInt(found.offset);
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

  /** Puts the counts of a page into its struct page, if the code has that mapped. */
  countPage(pfn: Pfn): void {
    const { memory, pages } = this.kernel;
    const members = this.layouts.struct('page')?.members;
    const { refs, maps } = pages.countsOf(pfn);
    for (const [name, value] of [
      ['_refcount', refs],
      ['_mapcount', maps - 1],
    ] as const) {
      const member = members?.get(name);
      if (member === undefined) continue;
      const pa = memory.physOf(virtAddr(this.page(pfn) + BigInt(member.offset)));
      if (pa !== null) writeUint(this.kernel, pa, member.size, BigInt(value));
    }
  }

  progAt(address: bigint): BpfProg | null {
    for (const [prog, { pa }] of this.progs) if (this.virt(pa) === address) return prog;
    return null;
  }

  /**
   * Maps a page of the direct map or of the array of struct page, as a running kernel has them. Nobody is told.
   * @returns false for an address in neither
   */
  provide(va: bigint): boolean {
    const { kernel } = this;
    const { layout, ram, mm, pages } = kernel;
    const pageSize = BigInt(kernel.pageSize);
    const at = va - (va % pageSize);
    const structs = (BigInt(ram.size) / pageSize) * BigInt(this.pageSize);
    if (within(va, layout.directMap, BigInt(ram.size))) {
      const pfn = Number(at - layout.directMap) / FRAME_SIZE;
      return this.quietly(() => mm.mapRange(virtAddr(at), pfn as Pfn, 1, 'PAGE_KERNEL') === 0);
    }
    if (!within(va, layout.vmemmap, structs)) return false;
    return this.quietly(() => {
      const pfn = pages.allocPage(kernel.dataPages);
      if (pfn < 0 || mm.mapRange(virtAddr(at), pfn as Pfn, 1, 'PAGE_KERNEL') !== 0) return false;
      const first = (at - layout.vmemmap) / BigInt(this.pageSize);
      for (let i = first; i * BigInt(this.pageSize) < at - layout.vmemmap + pageSize; i++) {
        this.countPage((Number(i) * pages.framesPerPage) as Pfn);
      }
      return true;
    });
  }

  private quietly<T>(action: () => T): T {
    const { context, events, pages } = this.kernel;
    const { access } = context;
    context.access = null;
    try {
      return events.silently(() => pages.fromTop(action));
    } finally {
      context.access = access;
    }
  }

  /** True if the frame holds structures of the model. */
  holds(frame: number): boolean {
    const pa = frame * FRAME_SIZE;
    return this.pools.some((pool) => pa >= pool && pa < pool + POOL);
  }

  /** What is wrong with an access to a frame that {@link holds}; null: nothing. */
  judge({ pa, kind }: Caught, by: string): string | null {
    const at = this.laidAt(pa);
    if (at === undefined) return `an access behind the structures of the model`;
    const { layout, known, shared, live } = at;
    const offset = pa - at.pa;
    const member = memberAt(layout, offset);
    const place = `${layout.name}.${member ?? hex(offset)}`;
    if (member !== null && (shared.has(member) || Object.hasOwn(live, member))) return null;
    if (member !== null && at.lend(member, by, this.virt(at.pa))) return null;
    if (member === null || !known.has(member)) {
      return `${kind === WRITE ? 'writes' : 'reads'} ${place}, which the model does not keep`;
    }
    return kind === WRITE ? `writes ${place}, which is the model’s own` : null;
  }

  /** The code has a function of the model work on what lies at an address: it is made there if it is to be. */
  reach(address: bigint, by: string): void {
    const pa = Number(address - this.kernel.layout.directMap);
    const at = this.laid.find((one) => pa >= one.pa && pa < one.pa + one.layout.size);
    const member = at === undefined ? null : memberAt(at.layout, pa - at.pa);
    if (member !== null) at!.lend(member, by, this.virt(at!.pa));
  }

  /** Lays a structure down, or writes what it holds now. @param map where places are remembered. @returns its address */
  put<T>(
    map: Map<T, Laid>,
    owner: T,
    name: string,
    values: Values,
    told: StructLayout | null = null,
    shared: readonly string[] = [],
    live: Live = {},
    lend: Laid['lend'] = LENDS_NOTHING,
  ): bigint {
    let laid = map.get(owner);
    if (laid === undefined) {
      // Code that only hands the structure on needs no layout of it.
      const layout = told ?? this.layouts.struct(name) ?? { name, size: 64, members: new Map() };
      const known = new Set(Object.keys(values).filter((member) => layout.members.has(member)));
      laid = { pa: this.reserve(layout.size), layout, known, shared: new Set(shared), live, lend };
      this.laid.push(laid);
      map.set(owner, laid);
    }
    this.write(laid, values);
    return this.virt(laid.pa);
  }

  /** Memory among the structures. @throws OutOfMemory */
  reserve(bytes: number): number {
    // Apart from each other: an access past an end is one to nothing.
    const size = Math.ceil(bytes / 64) * 64 + 64;
    if (size > POOL) throw new OutOfMemory(`a structure of ${bytes} bytes is too large`);
    if (this.used + size > POOL) {
      this.pools.push(this.quietly(() => allocate(this.kernel, POOL)));
      this.used = 0;
    }
    this.used += size;
    return this.pools.at(-1)! + this.used - size;
  }

  private write({ pa, layout }: Laid, values: Values): void {
    for (const [name, value] of Object.entries(values)) {
      const member = layout.members.get(name);
      if (member === undefined) continue;
      writeUint(this.kernel, pa + member.offset, member.size, BigInt(value));
    }
  }
}

const within = (va: bigint, start: bigint, size: bigint): boolean =>
  va >= start && va < start + size;

const memberAt = ({ members }: StructLayout, at: number): string | null =>
  [...members].find(([, { offset, size }]) => at >= offset && at < offset + size)?.[0] ?? null;

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

export function writeUint(kernel: Kernel, pa: number, size: number, value: bigint): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  kernel.ram.write(pa, bytes.subarray(0, Math.min(size, 8)));
}
