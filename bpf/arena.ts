// kernel/bpf/arena.c: the map. Constants, struct bpf_arena, creation with its unwinding, and destruction. The rest of
// the file is beside it: arena-pte (callbacks), arena-alloc, arena-free, arena-mmap (user side), arena-fault (the patch).
// Left out: BTF, NUMA placement, the file descriptor.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hi32, lo32, u64 } from '../emulator/bits.ts';
import { type Activity, ERRNO, finish, type Shared } from '../mm/context.ts';
import type { PageOwner } from '../mm/page-alloc.ts';
import { VM_SPARSE, VM_USERMAP, type VmStruct } from '../mm/vmalloc.ts';
import { warnOnce } from '../mm/warn.ts';
import { flushFreeWork } from './arena-free.ts';
import { existingPages, populatePgtableExceptPte } from './arena-pte.ts';
import type { BpfContext } from './context.ts';
import { RangeTree } from './range-tree.ts';
import { Lock } from './rqspinlock.ts';
import type { Vma } from './user-mm.ts';

/** include/uapi/linux/bpf.h */
export const BPF_MAP_TYPE_ARENA = 33;
export const BPF_F_MMAPABLE = 1 << 10;
export const BPF_F_SEGV_ON_FAULT = 1 << 17;
export const BPF_F_NO_USER_CONV = 1 << 18;

export const SZ_4G = 2 ** 32;
/** Reach of the 16-bit `off` of an instruction, rounded up to two pages. In bytes, both halves. */
export const guardSize = (pageSize: number): number =>
  Math.ceil(2 ** 16 / (2 * pageSize)) * 2 * pageSize;
/** KERN_VM_SZ: bytes of kernel addresses that an arena asks for. */
export const kernVmSize = (pageSize: number): number => SZ_4G + guardSize(pageSize);
/** Bytes from kern_vm_start on in which kernel faults are recovered: the band and the upper half-guard. */
export const recoverySize = (pageSize: number): number => SZ_4G + guardSize(pageSize) / 2;

/** The part of union bpf_attr that BPF_MAP_CREATE reads. */
export interface ArenaAttr {
  readonly keySize?: number;
  readonly valueSize?: number;
  /** Pages, a u32. */
  readonly maxEntries: number;
  readonly mapFlags: number;
  /** Wanted user_vm_start, or 0. */
  readonly mapExtra: bigint;
}

/** What a scenario, and no kernel, may ask for. */
export interface ArenaWishes {
  readonly name?: string;
  /** kern_vm_start; a page boundary. */
  readonly kernVmStart?: VirtAddr;
  /** Frame of the scratch page. */
  readonly scratchPfn?: number;
  /** bpf_jit_supports_arena(); default true. */
  readonly jitSupportsArena?: boolean;
}

/** struct vma_list: a user mapping that the arena knows. */
export interface VmaListEntry {
  vma: Vma;
  mmapCount: number;
  zapGen: number;
}

/** struct arena_free_span */
export interface ArenaFreeSpan {
  readonly uaddr: number;
  readonly pageCnt: number;
}

/** struct bpf_arena. Addresses are bigint, offsets within the 4 GiB band (lo32 of a pointer) numbers. */
export class BpfArena {
  readonly mapType = BPF_MAP_TYPE_ARENA;
  readonly name: string;
  readonly bpf: BpfContext;
  readonly maxEntries: number;
  readonly mapFlags: number;
  readonly kernVm: VmStruct;
  /**
   * bpf_arena_get_kern_vm_start(): kern_vm->addr + GUARD_SZ / 2.
   * @kernel bpf_arena_get_kern_vm_start kernel/bpf/arena.c read
   */
  readonly kernVmStart: VirtAddr;
  /** First address behind kern_vm_start that is not recovered. */
  readonly recoveryEnd: VirtAddr;
  /**
   * bpf_arena_get_user_vm_start(): 0 until map_extra or the first mmap() sets it, and then for ever.
   * @kernel bpf_arena_get_user_vm_start kernel/bpf/arena.c read
   */
  userVmStart = 0n;
  userVmEnd = 0n;
  scratchPage = -1 as Pfn;
  /** mk_pte(scratch_page, PAGE_KERNEL) */
  scratchPte = 0n;
  /** Free slots, guarded by `spinlock`. */
  readonly rt: RangeTree;
  /** Guards `rt`, and the PTEs against alloc, free and user faults; not against the patch's handler. */
  readonly spinlock = new Lock('arena->spinlock');
  vmaList: VmaListEntry[] = [];
  /** Guards vmaList and user_vm_start, user_vm_end. */
  readonly lock = new Lock('arena->lock');
  zapGen = 0;
  readonly zapMutex = new Lock('arena->zap_mutex');
  /** What irq_work and the workqueue know of the arena. */
  readonly deferred: Shared = {
    label: 'arena->free_spans',
    fingerprint: () =>
      `${this.freeWorkQueued} ${this.freeSpans.map(({ uaddr, pageCnt }) => `${uaddr}+${pageCnt}`)}`,
  };
  /** The list of mappings and the marks on it. */
  readonly mappings: Shared = {
    label: 'arena->vma_list',
    fingerprint: () => `${this.zapGen} ${this.vmaList.map(({ zapGen }) => zapGen)}`,
  };
  /** Last in, first out. */
  freeSpans: ArenaFreeSpan[] = [];
  /** free_irq or free_work is queued. */
  freeWorkQueued = false;
  /** Data pages mapped in the kernel; the newest kernels count them. */
  nrPages = 0;
  /** bpf_map_memcg_enter() without its exit; 0 between calls. */
  memcgDepth = 0;
  /** Pages charged to the map. */
  readonly dataPages: PageOwner;
  readonly scratchPages: PageOwner;

  constructor(bpf: BpfContext, attr: ArenaAttr, kernVm: VmStruct, name: string) {
    const { pageSize } = bpf.kernel.config;
    this.bpf = bpf;
    this.name = name;
    this.maxEntries = attr.maxEntries;
    this.mapFlags = attr.mapFlags;
    this.kernVm = kernVm;
    this.kernVmStart = u64(kernVm.addr + BigInt(guardSize(pageSize) / 2)) as VirtAddr;
    this.recoveryEnd = u64(this.kernVmStart + BigInt(recoverySize(pageSize))) as VirtAddr;
    this.rt = new RangeTree(bpf.kernel, bpf);
    this.dataPages = bpf.pages.owner('arena page');
    this.scratchPages = bpf.pages.owner('scratch page');
  }

  /** (user_vm_end - user_vm_start) >> PAGE_SHIFT: pages that user space maps, which bounds all that programs name. */
  get pageCntMax(): number {
    return Number(this.userVmEnd - this.userVmStart) / this.bpf.kernel.config.pageSize;
  }

  /**
   * compute_pgoff(): slot of a pointer, of which only the low 32 bits count. It wraps below user_vm_start.
   * @kernel compute_pgoff kernel/bpf/arena.c read
   */
  pgoff(uaddr: number): number {
    return Math.floor(((uaddr - lo32(this.userVmStart)) >>> 0) / this.bpf.kernel.config.pageSize);
  }

  /**
   * clear_lo32(user_vm_start) + offset: the full user address of an offset in the band.
   * @kernel clear_lo32 kernel/bpf/arena.c read
   */
  fullUaddr(offset: number): bigint {
    return (BigInt(hi32(this.userVmStart)) << 32n) + BigInt(offset);
  }

  /** Kernel address of an offset in the band. */
  kaddr(offset: number): VirtAddr {
    return u64(this.kernVmStart + BigInt(offset)) as VirtAddr;
  }

  /**
   * bpf_map_memcg_enter(): until the exit, memory is charged to the map's owner.
   * @kernel bpf_map_memcg_enter kernel/bpf/syscall.c read
   */
  memcgEnter(): void {
    this.memcgDepth++;
  }

  /** @kernel bpf_map_memcg_exit kernel/bpf/syscall.c read */
  memcgExit(): void {
    this.memcgDepth--;
  }
}

/**
 * arena_map_alloc()
 * @returns the arena, or the negative errno of the first check or step that fails, with everything given back
 * @kernel arena_map_alloc kernel/bpf/arena.c read
 */
export function arenaMapAlloc(
  bpf: BpfContext,
  attr: ArenaAttr,
  wishes: ArenaWishes = {},
): BpfArena | number {
  const { compiled, kernel, vmalloc } = bpf;
  if (compiled?.arenaMapAlloc) return finish(compiled.arenaMapAlloc(attr, wishes));
  const { pageSize } = kernel.config;
  const err = checkAttr(attr, pageSize, wishes.jitSupportsArena ?? true);
  if (err) return err;

  const wanted = wishes.kernVmStart;
  const at = wanted && (u64(wanted - BigInt(guardSize(pageSize) / 2)) as VirtAddr);
  const kernVm = vmalloc.getVmArea(kernVmSize(pageSize), VM_SPARSE | VM_USERMAP, at);
  if (!kernVm) return ERRNO.ENOMEM;
  if (kernel.failure('map_area')) return giveBack(bpf, kernVm);

  const arena = new BpfArena(bpf, attr, kernVm, wishes.name ?? 'arena');
  arena.userVmStart = attr.mapExtra;
  if (attr.mapExtra) arena.userVmEnd = attr.mapExtra + BigInt(attr.maxEntries * pageSize);

  const scratch = bpfMapAllocPage(arena, arena.scratchPages, wishes.scratchPfn);
  if (scratch < 0) return unwind(arena, ERRNO.ENOMEM);
  arena.scratchPage = scratch as Pfn;
  arena.scratchPte = bpf.mm.format.mkPte(arena.scratchPage, 'PAGE_KERNEL');

  arena.rt.init();
  if (arena.rt.set(0, attr.maxEntries)) return unwind(arena, ERRNO.ENOMEM);
  const populated = populatePgtableExceptPte(arena);
  return populated ? unwind(arena, populated) : arena;
}

/** err_destroy_rt and the labels below it. A tree or scratch page that was not made yet is passed over. */
function unwind(arena: BpfArena, err: number): number {
  arena.rt.destroy();
  if (arena.scratchPage >= 0) arena.bpf.pages.freePage(arena.scratchPage);
  return giveBack(arena.bpf, arena.kernVm, err);
}

function giveBack(bpf: BpfContext, kernVm: VmStruct, err: number = ERRNO.ENOMEM): number {
  finish(bpf.vmalloc.freeVmArea(kernVm));
  return err;
}

function checkAttr(attr: ArenaAttr, pageSize: number, jitSupportsArena: boolean): number {
  if (!jitSupportsArena) return ERRNO.EOPNOTSUPP;
  const allowed = BPF_F_SEGV_ON_FAULT | BPF_F_MMAPABLE | BPF_F_NO_USER_CONV;
  const wrong =
    attr.keySize ||
    attr.valueSize ||
    attr.maxEntries === 0 ||
    !(attr.mapFlags & BPF_F_MMAPABLE) ||
    attr.mapFlags & ~allowed;
  if (wrong) return ERRNO.EINVAL;
  if (attr.mapExtra % BigInt(pageSize)) return ERRNO.EINVAL;
  const vmRange = attr.maxEntries * pageSize;
  if (vmRange > SZ_4G) return ERRNO.E2BIG;
  // A user mapping must not cross a 4 GiB boundary: programs hold the low 32 bits of its addresses.
  const last = u64(attr.mapExtra + BigInt(vmRange) - 1n);
  return attr.mapExtra >> 32n === last >> 32n ? 0 : ERRNO.ERANGE;
}

/**
 * One page of bpf_map_alloc_pages(), zeroed and charged to `owner`.
 * @param at a particular frame, for the scratch page of a scenario
 * @returns its frame, or -ENOMEM (or what was injected)
 */
export function bpfMapAllocPage(arena: BpfArena, owner: PageOwner, at?: number): Pfn | number {
  const { kernel, pages } = arena.bpf;
  const injected = kernel.failure('alloc_page');
  if (injected) return injected;
  const pfn = at === undefined ? pages.allocPage(owner) : pages.allocPageAt(at, owner);
  return pfn < 0 ? ERRNO.ENOMEM : pfn;
}

/** What arena_map_free() came to, in pages: data pages given back and lost. The scratch page counts only if lost. */
export interface FreedArena {
  readonly freed: number;
  readonly leaked: number;
}

/**
 * arena_map_free(). With a user mapping alive it warns and gives nothing back. The kernel calls it once, when the last
 * reference is gone.
 * @kernel arena_map_free kernel/bpf/arena.c read
 */
export function* arenaMapFree(arena: BpfArena): Activity<FreedArena> {
  const { compiled, kernel } = arena.bpf;
  const held = arena.dataPages.outstanding;
  if (kernel.events.on) kernel.enter('arena_map_free', { arena: arena.name });
  yield* compiled?.arenaMapFree ? compiled.arenaMapFree(arena) : giveEverythingBack(arena);
  const leaked = arena.dataPages.outstanding + arena.scratchPages.outstanding;
  return { freed: held - arena.dataPages.outstanding, leaked };
}

function* giveEverythingBack(arena: BpfArena): Activity<void> {
  const { kernel, pages, vmalloc } = arena.bpf;
  if (arena.vmaList.length > 0) {
    warnOnce(kernel, 'arena_map_free', 'user mappings are still around');
    return;
  }
  yield* flushFreeWork(arena);
  // A worker that did not get the lock has queued itself again, and will find the arena gone.
  if (arena.freeWorkQueued && kernel.events.on) {
    kernel.decide('arena_map_free', 'free_work is still queued on an arena that goes away');
  }
  yield* existingPages(arena);
  yield* vmalloc.freeVmArea(arena.kernVm);
  arena.rt.destroy();
  const frees = kernel.replaced('arena_map_free/free_scratch');
  for (let i = frees === 'skip' ? 2 : frees === 'twice' ? 0 : 1; i < 2; i++) {
    if (kernel.stepping) yield { kind: 'page', what: 'free the scratch page' };
    pages.freePage(arena.scratchPage);
  }
}

/**
 * arena_map_direct_value_addr(). @param off a u32. @returns the address, whatever `off` is, or -ERANGE
 * @kernel arena_map_direct_value_addr kernel/bpf/arena.c read
 */
export function arenaMapDirectValueAddr(arena: BpfArena, off: number): bigint | number {
  const { compiled } = arena.bpf;
  if (compiled?.arenaMapDirectValueAddr)
    return finish(compiled.arenaMapDirectValueAddr(arena, off));
  if (BigInt(off) >= u64(arena.userVmEnd - arena.userVmStart)) return ERRNO.ERANGE;
  return arena.userVmStart;
}

/**
 * arena_map_mem_usage(): bytes. Only the newest kernels count data pages; the scratch page never counts.
 * @kernel arena_map_mem_usage kernel/bpf/arena.c read - v2: 0; mainline: data pages, which 7.3 counts and 7.2 does not
 */
export function arenaMapMemUsage(arena: BpfArena): number {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.arenaMapMemUsage) return finish(compiled.arenaMapMemUsage(arena));
  const { series, pageSize } = kernel.config;
  return series === 'mainline' ? arena.nrPages * pageSize : 0;
}

/**
 * Map operations that an arena refuses, with what they return. arena_map_check_btf() accepts everything.
 * @kernel arena_map_check_btf, arena_map_lookup_elem, arena_map_update_elem, arena_map_get_next_key kernel/bpf/arena.c
 *   read
 */
export const ARENA_MAP_OPS = {
  peekElem: ERRNO.EOPNOTSUPP,
  pushElem: ERRNO.EOPNOTSUPP,
  popElem: ERRNO.EOPNOTSUPP,
  deleteElem: ERRNO.EOPNOTSUPP,
  getNextKey: ERRNO.EOPNOTSUPP,
  updateElem: ERRNO.EOPNOTSUPP,
  lookupElem: ERRNO.EINVAL,
  checkBtf: 0,
} as const;

/** One of them, with arguments that are all NULL or 0. */
export function arenaMapOp(arena: BpfArena, op: keyof typeof ARENA_MAP_OPS): number {
  const name = `arenaMap${op[0].toUpperCase()}${op.slice(1)}` as `arenaMap${Capitalize<typeof op>}`;
  const own = arena.bpf.compiled?.[name];
  return own ? finish(own(arena)) : ARENA_MAP_OPS[op];
}
