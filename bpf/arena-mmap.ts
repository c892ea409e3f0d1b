// The user side of kernel/bpf/arena.c: where an arena may be mapped, mmap() and munmap(), the fault that brings in a
// page, and an access of user space as a scenario asks for it.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hex, lo32 } from '../emulator/bits.ts';
import { type Activity, CHANGED, ERRNO, finish, LOOKED } from '../mm/context.ts';
import { vmallocToPage } from '../mm/pte-steps.ts';
import { warnOnce } from '../mm/warn.ts';
import { BPF_F_SEGV_ON_FAULT, type BpfArena, SZ_4G } from './arena.ts';
import { bpfMapAllocPages } from './arena-alloc.ts';
import { applyRangeSet } from './arena-pte.ts';
import type { FindUnmapped } from './compiled-maps.ts';
import { mutexLock, rawResSpinLock, unlock } from './rqspinlock.ts';
import { TASK_SIZE, type UserMm, UserPtes, userPhys, type Vma, zapVmaRange } from './user-mm.ts';

/** include/linux/mm.h */
const VM_WRITE = 0x2;
const VM_SHARED = 0x8;
/** VM_READ, VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE. */
const VM_OF_EVERY_MAPPING = 0x1 | 0x10 | 0x20 | 0x40 | 0x80;

/** What mmap() of an arena's descriptor asks for. */
export interface MmapRequest {
  /** Address wanted, or 0. */
  readonly addr: bigint;
  /** Bytes, whole pages. */
  readonly len: bigint;
  readonly pgoff?: number;
  /** PROT_WRITE; default true. */
  readonly write?: boolean;
  /** MAP_SHARED; default true. */
  readonly shared?: boolean;
  /** MAP_FIXED_NOREPLACE; default false. */
  readonly fixed?: boolean;
  /** The map was frozen with BPF_MAP_FREEZE; default false. */
  readonly frozen?: boolean;
}

/**
 * arena_get_unmapped_area(): an address for a mapping that crosses no 4 GiB boundary.
 * @param find mm_get_unmapped_area(): an address for so many bytes, or a negative errno
 * @returns the address, or a negative errno
 * @kernel arena_get_unmapped_area kernel/bpf/arena.c read
 */
export function* arenaGetUnmappedArea(
  arena: BpfArena,
  addr: bigint,
  len: bigint,
  pgoff: number,
  find: FindUnmapped,
): Activity<bigint> {
  const { compiled } = arena.bpf;
  if (compiled?.arenaGetUnmappedArea)
    return yield* compiled.arenaGetUnmappedArea(arena, addr, len, pgoff, find);
  if (pgoff) return BigInt(ERRNO.EINVAL);
  if (len > BigInt(SZ_4G)) return BigInt(ERRNO.E2BIG);
  if (arena.userVmStart) {
    const size = arena.userVmEnd - arena.userVmStart;
    if (len > size) return BigInt(ERRNO.E2BIG);
    if (len !== size || addr !== arena.userVmStart) return BigInt(ERRNO.EINVAL);
  }
  // Twice the length leaves room to move up to a boundary.
  const ret = find(addr, len * 2n);
  if (ret < 0n || ret >> 32n === (ret + len - 1n) >> 32n) return ret;
  if (arena.userVmStart) {
    warnOnce(arena.bpf.kernel, 'arena_get_unmapped_area', 'user_vm_start crosses 4 GiB');
    return BigInt(ERRNO.EFAULT);
  }
  return ((ret + BigInt(SZ_4G) - 1n) >> 32n) << 32n;
}

/**
 * mmap() of an arena: arena_get_unmapped_area(), bpf_map_mmap(), arena_map_mmap(). The first one of an arena without
 * map_extra fixes its user addresses for ever; its length is not compared with max_entries.
 * @returns the mapping, or a negative errno
 */
export function* arenaMmap(
  arena: BpfArena,
  mm: UserMm,
  request: MmapRequest,
): Activity<Vma | number> {
  const { kernel } = arena.bpf;
  const { addr, len, pgoff = 0, write = true, shared = true, fixed = false } = request;
  yield* mutexLock(kernel, mm.mmapLock);
  const start = yield* arenaGetUnmappedArea(arena, addr, len, pgoff, (hint, size) =>
    mm.getUnmappedArea(hint, size, fixed),
  );
  let result: Vma | number = Number(start);
  if (start > TASK_SIZE - len) result = ERRNO.ENOMEM;
  else if (start >= 0n && !mm.isFree(start, len))
    result = -17; // EEXIST of MAP_FIXED_NOREPLACE
  else if (start >= 0n) {
    const vmFlags = VM_OF_EVERY_MAPPING | (write ? VM_WRITE : 0) | (shared ? VM_SHARED : 0);
    const vma = { mm, start, end: start + len, write, arena, vml: null, ptes: new UserPtes() };
    const mapped: Vma = { ...vma, pgoff, vmFlags };
    const err = yield* bpfMapMmap(arena, mapped, request.frozen ?? false);
    kernel.access?.object(mm, LOOKED | CHANGED);
    if (!err) mm.vmas.push(mapped);
    result = err || mapped;
  }
  unlock(kernel, mm.mmapLock);
  return result;
}

/**
 * bpf_map_mmap(): what every map asks of a mapping.
 * @kernel bpf_map_mmap kernel/bpf/syscall.c read
 */
function* bpfMapMmap(arena: BpfArena, vma: Vma, frozen: boolean): Activity<number> {
  const { compiled } = arena.bpf;
  if (compiled?.bpfMapMmap) return yield* compiled.bpfMapMmap(arena, vma, frozen);
  if (!((vma.vmFlags ?? 0) & VM_SHARED)) return ERRNO.EINVAL;
  if (vma.write && frozen) return ERRNO.EPERM;
  return yield* arenaMapMmap(arena, vma);
}

/** @kernel arena_map_mmap kernel/bpf/arena.c read */
export function* arenaMapMmap(arena: BpfArena, vma: Vma): Activity<number> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.arenaMapMmap) return yield* compiled.arenaMapMmap(arena, vma);
  yield* mutexLock(kernel, arena.lock);
  let err = 0;
  // All user processes see an arena at the same addresses.
  if (arena.userVmStart && arena.userVmStart !== vma.start) err = ERRNO.EBUSY;
  else if (arena.userVmEnd && arena.userVmEnd !== vma.end) err = ERRNO.EBUSY;
  else if (vma.end - vma.start > BigInt(SZ_4G) || vma.pgoff) {
    warnOnce(kernel, 'arena_map_mmap', 'size or offset');
    err = ERRNO.EFAULT;
  } else err = yield* rememberVma(arena, vma);
  if (!err) {
    vma.vmOps = undefined;
    arena.userVmStart = vma.start;
    arena.userVmEnd = vma.end;
  }
  unlock(kernel, arena.lock);
  return err;
}

/** @kernel remember_vma kernel/bpf/arena.c read */
export function* rememberVma(arena: BpfArena, vma: Vma): Activity<number> {
  const { compiled, kernel } = arena.bpf;
  if (compiled?.rememberVma) return yield* compiled.rememberVma(arena, vma);
  if (kernel.failure('vma')) return ERRNO.ENOMEM;
  kernel.access?.object(arena.mappings, LOOKED | CHANGED);
  vma.vml = { vma, mmapCount: 1, zapGen: 0 };
  arena.vmaList.unshift(vma.vml);
  return 0;
}

/**
 * arena_vm_open(): another VMA shares the entry.
 * @kernel arena_vm_open kernel/bpf/arena.c read
 */
export function* arenaVmOpen(vma: Vma): Activity<void> {
  const { compiled } = vma.arena.bpf;
  if (compiled?.arenaVmOpen) yield* compiled.arenaVmOpen(vma);
  else if (vma.vml) vma.vml.mmapCount++;
}

/**
 * arena_vm_may_split(), arena_vm_mremap(): never allowed.
 * @kernel arena_vm_may_split, arena_vm_mremap kernel/bpf/arena.c read
 */
export function arenaVmMaySplit(vma: Vma, addr: bigint): number {
  const { compiled } = vma.arena.bpf;
  return compiled?.arenaVmMaySplit ? finish(compiled.arenaVmMaySplit(vma, addr)) : ERRNO.EINVAL;
}

export function arenaVmMremap(vma: Vma): number {
  const { compiled } = vma.arena.bpf;
  return compiled?.arenaVmMremap ? finish(compiled.arenaVmMremap(vma)) : ERRNO.EINVAL;
}

/** @kernel arena_vm_close kernel/bpf/arena.c read */
export function* arenaVmClose(vma: Vma): Activity<void> {
  const { arena, vml } = vma;
  const { compiled, kernel } = arena.bpf;
  if (compiled?.arenaVmClose) {
    yield* compiled.arenaVmClose(vma);
    return;
  }
  if (!vml || --vml.mmapCount > 0) return;
  yield* mutexLock(kernel, arena.lock);
  kernel.access?.object(arena.mappings, LOOKED | CHANGED);
  arena.vmaList = arena.vmaList.filter((entry) => entry !== vml);
  vma.vml = null;
  unlock(kernel, arena.lock);
}

/** munmap() of a whole mapping. Parts are refused: arena_vm_may_split(). */
export function* arenaMunmap(vma: Vma): Activity<void> {
  const { kernel, pages } = vma.arena.bpf;
  const { mm } = vma;
  yield* mutexLock(kernel, mm.mmapLock);
  const pageCnt = Number(vma.end - vma.start) / kernel.config.pageSize;
  if (kernel.stepping) yield { kind: 'pte', what: `unmap user pages from ${hex(vma.start)}` };
  zapVmaRange(kernel, pages, vma, vma.start, pageCnt);
  kernel.access?.object(mm, LOOKED | CHANGED);
  mm.vmas.splice(mm.vmas.indexOf(vma), 1);
  yield* arenaVmClose(vma);
  unlock(kernel, mm.mmapLock);
}

/** Result of a user fault or access. */
export type VmFault = 'RETRY' | 'SIGSEGV' | 'SIGBUS';

/**
 * arena_vm_fault(): the page for a user address, with a reference for the user PTE.
 * @param address in the VMA
 * @returns its frame, or why there is none
 * @kernel arena_vm_fault kernel/bpf/arena.c read - no lock: VM_FAULT_RETRY; the newest kernels answer SIGBUS
 */
export function* arenaVmFault(vma: Vma, address: bigint): Activity<Pfn | VmFault> {
  const { arena } = vma;
  const { compiled, kernel, mm, pages } = arena.bpf;
  if (kernel.events.on) kernel.enter('arena_vm_fault', { address: hex(address) });
  if (compiled?.arenaVmFault) return yield* compiled.arenaVmFault(vma, address);
  const offset = lo32(address);
  const kaddr = arena.kaddr(offset - (offset % kernel.config.pageSize));
  if (yield* rawResSpinLock(kernel, arena.spinlock)) return 'RETRY';
  const mapped = yield* vmallocToPage(mm, kaddr);
  let result: Pfn | VmFault;
  // A program made the kernel scratch this slot: nothing is allocated over it.
  if (mapped === arena.scratchPage) result = 'SIGSEGV';
  else if (mapped >= 0) result = mapped as Pfn;
  else result = yield* bringIn(arena, vma, address, kaddr);
  if (typeof result === 'number') pages.pageRefAdd(result);
  if (kernel.stepping) yield { kind: 'lock', what: 'release arena->spinlock' };
  unlock(kernel, arena.spinlock);
  return result;
}

/** The part of arena_vm_fault() under memcg: takes the slot, free or not, and maps a new page in the kernel. */
function* bringIn(
  arena: BpfArena,
  vma: Vma,
  address: bigint,
  kaddr: VirtAddr,
): Activity<Pfn | 'SIGSEGV'> {
  const { kernel, pages } = arena.bpf;
  const { pageSize } = kernel.config;
  if (arena.mapFlags & BPF_F_SEGV_ON_FAULT) return 'SIGSEGV';
  arena.memcgEnter();
  const pgoff = Math.floor(Number(address - vma.start) / pageSize);
  let result: Pfn | 'SIGSEGV' = 'SIGSEGV';
  // Nobody asks whether the slot was free, so reserved slots and those past max_entries are filled as well.
  if (arena.rt.clear(pgoff, 1) === 0) {
    const taken = yield* bpfMapAllocPages(arena, 1);
    const pfn = taken?.[0];
    if (pfn === undefined) arena.rt.set(pgoff, 1);
    else if (yield* applyRangeSet(arena, kaddr, pageSize, { pages: [pfn], i: 0 })) {
      arena.rt.set(pgoff, 1);
      pages.freePage(pfn);
    } else result = pfn;
  }
  arena.memcgExit();
  return result;
}

/** What a user access came to; `value` after an `ok` read. */
export interface UserAccess {
  readonly result: 'ok' | VmFault;
  readonly value: bigint | null;
}

/**
 * User space reads or writes `length` (1 to 8) bytes, faulting pages in as the CPU and handle_mm_fault() would. A
 * fault that asks for a retry ends the access with RETRY.
 * @param value what to write, or null to read
 */
export function* userAccess(
  mm: UserMm,
  addr: bigint,
  length: number,
  value: bigint | null,
): Activity<UserAccess> {
  const failed = (result: VmFault): UserAccess => ({ result, value: null });
  for (;;) {
    const vma = mm.findVma(addr);
    if (vma) noteLookup(vma);
    if (!vma || addr + BigInt(length) > vma.end) return failed('SIGSEGV');
    if (value !== null && !vma.write) return failed('SIGSEGV');
    const missing = firstMissing(vma, addr, length);
    if (missing === null) return { result: 'ok', value: touch(vma, addr, length, value) };
    // Without vm_ops->fault.
    if (vma.vmOps === 0n) return failed('SIGBUS');
    const page = yield* arenaVmFault(vma, missing);
    if (typeof page === 'string') return failed(page);
    const { kernel } = vma.arena.bpf;
    if (kernel.stepping) yield { kind: 'pte', what: `finish_fault ${hex(missing)}` };
    finishFault(vma, missing, page);
    if (kernel.stepping) yield { kind: 'pte', what: `user access to ${hex(addr)} again` };
  }
}

/** Tells whoever asks that the mapping was looked up, and its user PTEs read. */
function noteLookup({ arena, mm, ptes }: Vma): void {
  const { access } = arena.bpf.kernel;
  access?.object(mm, LOOKED);
  access?.object(ptes, LOOKED);
}

/**
 * finish_fault(): the user PTE is set unless the mapping is gone or somebody was faster.
 * @kernel finish_fault mm/memory.c read - single pages; that the mapping is gone the kernel keeps from happening
 */
function finishFault(vma: Vma, addr: bigint, pfn: Pfn): void {
  const { kernel, pages } = vma.arena.bpf;
  const page = Math.floor(Number(addr - vma.start) / kernel.config.pageSize);
  kernel.access?.object(vma.mm, LOOKED);
  kernel.access?.object(vma.ptes, LOOKED | CHANGED);
  if (!vma.mm.vmas.includes(vma) || vma.ptes.has(page)) {
    pages.freePage(pfn);
    return;
  }
  vma.ptes.set(page, pfn);
  pages.mapCountAdd(pfn, 1);
}

/** The first address of the access whose page no user PTE maps. */
function firstMissing(vma: Vma, addr: bigint, length: number): bigint | null {
  const { pageSize } = vma.arena.bpf.kernel.config;
  const last = addr + BigInt(length - 1);
  if (userPhys(pageSize, vma, addr) === null) return addr;
  return userPhys(pageSize, vma, last) === null ? last - (last % BigInt(pageSize)) : null;
}

/** Reads or writes byte by byte, since an access may lie on two pages. @returns the value read, or null */
function touch(vma: Vma, addr: bigint, length: number, value: bigint | null): bigint | null {
  const { ram, kernel } = vma.arena.bpf;
  let read = 0n;
  for (let i = 0; i < length; i++) {
    const pa = userPhys(kernel.config.pageSize, vma, addr + BigInt(i))!;
    const shift = BigInt(8 * i);
    kernel.access?.word(pa, value === null ? LOOKED : LOOKED | CHANGED);
    if (value === null) read |= ram.readUint(pa, 1) << shift;
    else ram.write(pa, Uint8Array.of(Number((value >> shift) & 0xffn)));
  }
  return value === null ? read : null;
}
