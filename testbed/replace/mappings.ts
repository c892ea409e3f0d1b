// The user side as compiled code sees it: struct vm_area_struct, file and mm_struct, and arena->vma_list with its struct
// vma_list. An entry that the code makes in memory of its own becomes the model's when something first leads to it.
import type { BpfArena, VmaListEntry } from '../../bpf/arena.ts';
import type { UserMm, Vma } from '../../bpf/user-mm.ts';
import { hex } from '../../emulator/bits.ts';
import { CHANGED, KernelStuck, LOOKED } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import { counter } from './arena-members.ts';
import { type Laid, type Members, readMember } from './laid.ts';
import type { Structures } from './structures.ts';

/** Structures within struct vma_list that the model knows members of. */
const ENTRY_INNER = { head: 'list_head' };

export class Mappings {
  private readonly kernel: Kernel;
  private readonly structures: Structures;
  private readonly vmas = new Map<Vma, Laid>();
  private readonly files = new Map<BpfArena, Laid>();
  private readonly mms = new Map<UserMm, Laid>();
  private readonly entries = new Map<VmaListEntry, Laid>();
  /** What arena->vma_list is in memory. */
  private readonly shown = new Map<BpfArena, readonly VmaListEntry[]>();
  /** Where lists lead that lead nowhere. */
  private readonly damaged = new Map<BpfArena, bigint>();
  /** The map that is being mapped was frozen. */
  frozen = false;
  /** What lies in vm_private_data that is no entry. */
  private readonly foreign = new Map<Vma, bigint>();
  /** References that code has got to an mm, beside the tasks' own. */
  readonly gotten = new Map<UserMm, number>();

  constructor(kernel: Kernel, structures: Structures) {
    this.kernel = kernel;
    this.structures = structures;
  }

  /** struct vm_area_struct of a mapping. */
  vma(vma: Vma): bigint {
    const bound = {
      vm_start: { get: () => vma.start },
      vm_end: { get: () => vma.end },
      // Not write-locked yet: code that changes a mapping asks for it, by __vma_start_write().
      vm_lock_seq: { get: () => 0n },
      vm_pgoff: { get: () => BigInt(vma.pgoff ?? 0) },
      vm_mm: { get: () => this.mm(vma.mm) },
      vm_file: { get: () => this.file(vma.arena) },
      vm_private_data: {
        get: () => (vma.vml === null ? (this.foreign.get(vma) ?? 0n) : this.entry(vma.vml)),
        set: (value: bigint) => {
          // What is common to all maps leaves the map there.
          const isMap = value === this.structures.arena(vma.arena);
          vma.vml = value === 0n || isMap ? null : this.entryAt(value, vma);
          this.foreign.set(vma, isMap ? value : 0n);
          if (value === 0n || isMap || vma.vml !== null) return null;
          return `${hex(value)} is no struct vma_list`;
        },
      },
      vm_ops: {
        get: () => vma.vmOps ?? 0n,
        set: (value: bigint) => {
          vma.vmOps = value;
          return null;
        },
      },
    };
    const flags = counter(vma, 'vmFlags');
    const members = { bound: { ...bound, vm_flags: flags, __vm_flags: flags }, shared: [] };
    return this.structures.place(this.vmas, vma, 'vm_area_struct', () => members);
  }

  vmaAt(address: bigint): Vma | null {
    return this.structures.keyAt(this.vmas, address);
  }

  /** The mapping is gone, and its structure with it. */
  forget(vma: Vma): void {
    const laid = this.vmas.get(vma);
    if (laid !== undefined) this.structures.memory.free(laid);
    this.vmas.delete(vma);
  }

  /** struct file of an arena's descriptor. */
  file(arena: BpfArena): bigint {
    const bound = { private_data: { get: () => this.structures.arena(arena) } };
    return this.structures.place(this.files, arena, 'file', () => ({ bound }));
  }

  fileAt(address: bigint): BpfArena | null {
    return this.structures.keyAt(this.files, address);
  }

  /** struct mm_struct of an address space. */
  mm(mm: UserMm): bigint {
    const bound = {
      mm_lock_seq: { get: () => 1n },
      // RWSEM_WRITER_LOCKED, which code asserts before it changes a mapping.
      mmap_lock: { get: () => (mm.mmapLock.holder >= 0 ? 1n : 0n) },
      mm_users: {
        get: () => BigInt((mm.alive ? 1 : 0) + (this.gotten.get(mm) ?? 0)),
        set: (value: bigint) => {
          this.gotten.set(mm, Number(BigInt.asIntN(32, value)) - (mm.alive ? 1 : 0));
          return null;
        },
      },
    };
    return this.structures.place(this.mms, mm, 'mm_struct', () => ({
      bound,
      touches: (_, access) => access.object(mm, LOOKED),
    }));
  }

  /** The address space whose structure lies around an address. */
  mmAround(address: bigint): UserMm | null {
    for (const [mm, { pa, layout }] of this.mms) {
      const at = this.structures.virt(pa);
      if (address >= at && address < at + BigInt(layout.size)) return mm;
    }
    return null;
  }

  /** struct vma_list of a mapping. */
  entry(entry: VmaListEntry): bigint {
    const members = () => this.entryMembers(entry);
    return this.structures.place(this.entries, entry, 'vma_list', members, ENTRY_INNER);
  }

  /** The entry at an address, also one that the code has just made. @param owner the mapping that leads to it, if known */
  entryAt(address: bigint, owner: Vma | null): VmaListEntry | null {
    const known = this.structures.keyAt(this.entries, address);
    if (known !== null) return known;
    const { memory } = this.structures;
    const raw = memory.at(this.structures.phys(address));
    const shape = this.structures.shape('vma_list', ENTRY_INNER);
    if (raw === null || !raw.raw || raw.layout.size < shape.size) return null;
    const laid = { ...raw, layout: shape };
    const read = (name: string) => readMember(this.kernel, laid, name);
    const vma = this.vmaAt(read('vma')) ?? owner;
    if (vma === null) return null;
    const count = Number(BigInt.asIntN(32, read('mmap_count')));
    const entry = { vma, mmapCount: count, zapGen: Number(read('zap_gen')) };
    this.entries.set(entry, memory.adopt(raw, shape, this.entryMembers(entry)));
    return entry;
  }

  /** kfree(). @returns false for what is no entry, nor memory that the code asked for */
  free(address: bigint): boolean {
    const { memory } = this.structures;
    const laid = memory.at(this.structures.phys(address));
    const entry = this.structures.keyAt(this.entries, address);
    if (laid === null || (!laid.raw && entry === null)) return false;
    if (entry !== null) this.entries.delete(entry);
    memory.free(laid);
    return true;
  }

  private entryMembers(entry: VmaListEntry): Members {
    const { context } = this.kernel;
    const mappings = this;
    return {
      bound: {
        vma: {
          get: () => this.vma(entry.vma),
          set: (value) => {
            const vma = this.vmaAt(value);
            if (vma !== null) entry.vma = vma;
            return vma === null ? `${hex(value)} is no struct vm_area_struct` : null;
          },
        },
        mmap_count: counter(entry, 'mmapCount'),
        zap_gen: counter(entry, 'zapGen'),
      },
      shared: ['head.next', 'head.prev'],
      get links() {
        return mappings.links(entry.vma.arena);
      },
      lend: () => false,
      touches(member, access, writes) {
        const { mappings } = entry.vma.arena;
        if (isOfList(member)) access.object(mappings, writes ? LOOKED | CHANGED : LOOKED);
      },
      step(member) {
        const { lock } = entry.vma.arena;
        if (!isOfList(member) || lock.holder === context.cpu) return null;
        return { kind: 'lock', what: `vma_list.${member} without ${lock.name}` };
      },
    };
  }

  /** The links of arena->vma_list. */
  links(arena: BpfArena): { lay(): void; take(): void } {
    return { lay: () => this.lay(arena), take: () => this.take(arena) };
  }

  /** Where the model has changed the list, memory follows. */
  private lay(arena: BpfArena): void {
    const { vmaList } = arena;
    const shown = this.shown.get(arena);
    const same = shown?.length === vmaList.length && shown.every((one, i) => one === vmaList[i]);
    const head = this.headOf(arena);
    if (same || head === null) return;
    this.shown.set(arena, [...vmaList]);
    const offset = this.linkOffset();
    const chain = [head, ...vmaList.map((one) => this.entry(one) + offset), head];
    for (let i = 0; i + 1 < chain.length; i++) {
      this.write(chain[i], chain[i + 1]);
      this.write(chain[i + 1] + 8n, chain[i]);
    }
  }

  /** What the code has made of the list is the model's. Between two stores it may lead nowhere. */
  private take(arena: BpfArena): void {
    const head = this.headOf(arena);
    if (head === null) return;
    const offset = this.linkOffset();
    const entries: VmaListEntry[] = [];
    for (let at = this.read(head); at !== head; at = this.read(at)) {
      const entry = at === 0n ? null : this.entryAt(at - offset, null);
      if (entry === null || entries.includes(entry)) {
        this.damaged.set(arena, at);
        return;
      }
      entries.push(entry);
    }
    this.damaged.delete(arena);
    const { vmaList } = arena;
    if (entries.length === vmaList.length && entries.every((one, i) => one === vmaList[i])) return;
    arena.vmaList = entries;
    this.shown.set(arena, [...entries]);
  }

  /** A function has returned. @throws KernelStuck if it leaves a list damaged */
  check(name: string): void {
    for (const [arena, at] of this.damaged) {
      this.damaged.delete(arena);
      this.shown.delete(arena);
      throw new KernelStuck(
        `${name} leaves ${arena.name}->vma_list leading to ${hex(at)}, which is no struct vma_list`,
      );
    }
  }

  /** Address of the list's head; null where the object does not know it. */
  private headOf(arena: BpfArena): bigint | null {
    const member = this.structures.optional('bpf_arena')?.members.get('vma_list');
    if (member === undefined) return null;
    return this.structures.arena(arena) + BigInt(member.offset);
  }

  private linkOffset(): bigint {
    return BigInt(this.structures.optional('vma_list')?.members.get('head')?.offset ?? 0);
  }

  private read(at: bigint): bigint {
    const pa = this.structures.phys(at);
    return this.structures.memory.around(pa) === null ? 0n : this.kernel.ram.read64(pa);
  }

  private write(at: bigint, value: bigint): void {
    this.kernel.ram.write64(this.structures.phys(at), value);
  }
}

const isOfList = (member: string): boolean => /^(?:head|zap_gen)/.test(member);
