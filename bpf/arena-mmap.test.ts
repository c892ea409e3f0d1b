// The user side: T28, T29 and T33 of the kernel reference, and the rules of mmap().
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { lo32 } from '../emulator/bits.ts';
import { ERRNO, finish } from '../mm/context.ts';
import { BPF_F_MMAPABLE, BPF_F_SEGV_ON_FAULT, type BpfArena } from './arena.ts';
import { arenaAllocPages, arenaReservePages } from './arena-alloc.ts';
import { arenaFreePages } from './arena-free.ts';
import {
  arenaGetUnmappedArea,
  arenaMapMmap,
  arenaMmap,
  arenaMunmap,
  arenaVmClose,
  arenaVmFault,
  arenaVmMaySplit,
  arenaVmMremap,
  arenaVmOpen,
  type MmapRequest,
  userAccess,
} from './arena-mmap.ts';
import {
  A,
  BOTH,
  createArena,
  createArenaAt,
  createWorld,
  kernelAccess,
  kernelFault,
  loadProg,
  pteAt,
  type World,
} from './test-world.ts';
import { UserMm, UserPtes, type Vma } from './user-mm.ts';

const U = 0x7f7d26200000n;
const LEN = 0x3e8000n;
const SZ_4G = 1n << 32n;
const dataPages = (world: World) => world.pages.outstanding().get('arena page') ?? 0;
const freeSlots = (arena: BpfArena) => arena.rt.nodes().map((rn) => [rn.start, rn.last]);

describe('arena_get_unmapped_area', () => {
  const world = createWorld('x86_64');
  const open = createArena(world, { ...A, mapExtra: 0n });
  const fixed = createArena(world, A);
  const at = (addr: bigint) => () => addr;

  it('T33: moves a mapping that would cross 4 GiB up to the border, and no other', () => {
    expect(finish(arenaGetUnmappedArea(open, 0n, SZ_4G, 0, at(U)))).toBe(0x7f7e00000000n);
    expect(finish(arenaGetUnmappedArea(open, 0n, LEN, 0, at(U)))).toBe(U);
    expect(finish(arenaGetUnmappedArea(open, 0n, SZ_4G, 0, at(0x7f7e00000000n)))).toBe(
      0x7f7e00000000n,
    );
  });

  it('asks for twice the length, and passes errors on', () => {
    const asked: bigint[][] = [];
    const find = (addr: bigint, len: bigint) => {
      asked.push([addr, len]);
      return U;
    };
    finish(arenaGetUnmappedArea(open, 7n, LEN, 0, find));
    expect(asked).toEqual([[7n, 2n * LEN]]);
    expect(finish(arenaGetUnmappedArea(open, 0n, LEN, 0, at(-12n)))).toBe(-12n);
  });

  it.each([
    { why: 'an offset', arena: open, addr: 0n, len: LEN, pgoff: 1, errno: ERRNO.EINVAL },
    {
      why: 'more than 4 GiB',
      arena: open,
      addr: 0n,
      len: SZ_4G + 1n,
      pgoff: 0,
      errno: ERRNO.E2BIG,
    },
    { why: 'too long', arena: fixed, addr: U, len: LEN + 4096n, pgoff: 0, errno: ERRNO.E2BIG },
    { why: 'too short', arena: fixed, addr: U, len: LEN - 4096n, pgoff: 0, errno: ERRNO.EINVAL },
    { why: 'elsewhere', arena: fixed, addr: U + 4096n, len: LEN, pgoff: 0, errno: ERRNO.EINVAL },
  ])('refuses $why', ({ arena, addr, len, pgoff, errno }) => {
    expect(finish(arenaGetUnmappedArea(arena, addr, len, pgoff, at(U)))).toBe(BigInt(errno));
  });

  it('warns when an arena with a fixed address would cross 4 GiB', () => {
    expect(finish(arenaGetUnmappedArea(fixed, U, LEN, 0, at(0x7f7dfffff000n)))).toBe(
      BigInt(ERRNO.EFAULT),
    );
    expect(world.kernel.log).toHaveLength(1);
  });
});

describe.each(BOTH)('mmap on $arch, $series', ({ arch, series }) => {
  function setUp(attr = A) {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, attr);
    const mm = new UserMm();
    const mmap = (request: Partial<MmapRequest>, to = mm) =>
      finish(arenaMmap(arena, to, { addr: attr.mapExtra, len: LEN, ...request }));
    return { world, arena, mm, mmap };
  }

  it.each([
    { why: 'private', request: { shared: false }, errno: ERRNO.EINVAL },
    { why: 'writable and frozen', request: { frozen: true }, errno: ERRNO.EPERM },
    { why: 'with an offset', request: { pgoff: 1 }, errno: ERRNO.EINVAL },
    { why: 'of another length', request: { len: LEN * 2n }, errno: ERRNO.E2BIG },
  ])('refuses a mapping that is $why', ({ request, errno }) => {
    const { arena, mm, mmap } = setUp();
    expect(mmap(request)).toBe(errno);
    expect([arena.vmaList, mm.vmas, mm.mmapLock.holder]).toEqual([[], [], -1]);
  });

  it.each([
    { fixed: true, errno: ERRNO.ENOMEM },
    { fixed: false, errno: ERRNO.EBUSY },
  ])('does not map addresses of the kernel, MAP_FIXED $fixed', ({ fixed, errno }) => {
    const { mm, mmap } = setUp({ ...A, mapExtra: 0xffff_8000_0000_0000n });
    expect(mmap({ fixed })).toBe(errno);
    expect(finish(userAccess(mm, 0xffff_8000_0000_0000n, 8, null)).result).toBe('SIGSEGV');
  });

  it('maps a frozen arena for reading', () => {
    const { mm, mmap } = setUp();
    expect(mmap({ frozen: true, write: false })).toBeTypeOf('object');
    expect(finish(userAccess(mm, U, 8, 1n)).result).toBe('SIGSEGV');
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('ok');
  });

  it('fixes the user range by the first mapping, for ever', () => {
    const { arena, mmap } = setUp({ ...A, mapExtra: 0n });
    const vma = mmap({ addr: 0n, len: 0x10000n }) as Vma;
    expect([arena.userVmStart, arena.userVmEnd]).toEqual([vma.start, vma.end]);
    expect(arena.pageCntMax).toBe(16);
    finish(arenaMunmap(vma));
    expect(arena.userVmStart).toBe(vma.start);
    const other = new UserMm('other');
    expect(mmap({ addr: 0n, len: 0x10000n }, other)).toBe(ERRNO.EINVAL);
    expect(mmap({ addr: vma.start, len: 0x10000n }, other)).toBeTypeOf('object');
  });

  it('arena_map_mmap refuses another place or size, and a lack of memory', () => {
    const { world, arena, mm } = setUp();
    const vma = (start: bigint, end: bigint, pgoff = 0): Vma => {
      return { mm, start, end, write: true, arena, vml: null, ptes: new UserPtes(), pgoff };
    };
    expect(finish(arenaMapMmap(arena, vma(U + 4096n, U + LEN)))).toBe(ERRNO.EBUSY);
    expect(finish(arenaMapMmap(arena, vma(U, U + LEN + 4096n)))).toBe(ERRNO.EBUSY);
    expect(finish(arenaMapMmap(arena, vma(U, U + LEN, 1)))).toBe(ERRNO.EFAULT);
    world.kernel.inject('vma', 1, ERRNO.ENOMEM);
    expect(finish(arenaMapMmap(arena, vma(U, U + LEN)))).toBe(ERRNO.ENOMEM);
    expect(arena.vmaList).toEqual([]);
    expect(arena.lock.holder).toBe(-1);
  });

  it('does not map over another mapping', () => {
    const { mmap } = setUp();
    expect(mmap({})).toBeTypeOf('object');
    expect(typeof mmap({ fixed: true })).toBe('number');
  });

  it('keeps its entry until the last VMA that shares it is closed', () => {
    const { arena, mmap } = setUp();
    const vma = mmap({}) as Vma;
    finish(arenaVmOpen(vma));
    finish(arenaVmClose(vma));
    expect(arena.vmaList).toHaveLength(1);
    finish(arenaVmClose(vma));
    expect([arena.vmaList, vma.vml]).toEqual([[], null]);
    expect([arenaVmMaySplit(vma, vma.start), arenaVmMremap(vma)]).toEqual([
      ERRNO.EINVAL,
      ERRNO.EINVAL,
    ]);
  });

  it('T29: brings a page in by the first touch, for the kernel as well', () => {
    const { world, arena, mm, mmap } = setUp();
    mmap({});
    expect(finish(userAccess(mm, U + 0x3008n, 8, 0x1122334455667788n)).result).toBe('ok');
    expect(freeSlots(arena)).toEqual([
      [0, 2],
      [4, 999],
    ]);
    expect(kernelAccess(world, arena.kernVmStart + 0x2620_3008n, null)).toBe(0x88);
    expect(finish(userAccess(mm, U + 0x3008n, 8, null))).toEqual({
      result: 'ok',
      value: 0x1122334455667788n,
    });
    expect(dataPages(world)).toBe(1);
    expect(arena.memcgDepth).toBe(0);
  });

  it('T29: BPF_F_SEGV_ON_FAULT: only pages that a program allocated', () => {
    const flags = BPF_F_MMAPABLE | BPF_F_SEGV_ON_FAULT;
    const { world, arena, mm, mmap } = setUp({ ...A, mapFlags: flags });
    mmap({});
    expect(finish(userAccess(mm, U, 8, null))).toEqual({ result: 'SIGSEGV', value: null });
    expect([freeSlots(arena), dataPages(world)]).toEqual([[[0, 999]], 0]);
    finish(arenaAllocPages(arena, 0n, 1, -1, true));
    expect(finish(userAccess(mm, U, 8, null))).toEqual({ result: 'ok', value: 0n });
  });

  it('T28: SIGSEGV over a scratched page, and nothing changes', () => {
    const { world, arena, mm, mmap } = setUp();
    mmap({});
    world.stack = [loadProg(world, arena).ip];
    const addr = arena.kernVmStart + 0x2620_0000n;
    kernelFault(world, addr, true);
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('SIGSEGV');
    expect(pteAt(world, addr)).toBe(arena.scratchPte);
    expect([freeSlots(arena), dataPages(world)]).toEqual([[[0, 999]], 0]);
    expect([arena.memcgDepth, arena.spinlock.holder]).toEqual([0, -1]);
  });

  it('SIGSEGV outside of every mapping, and over the end of one', () => {
    const { mm, mmap } = setUp();
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('SIGSEGV');
    mmap({});
    expect(finish(userAccess(mm, U - 8n, 8, null)).result).toBe('SIGSEGV');
    expect(finish(userAccess(mm, U + LEN - 4n, 8, null)).result).toBe('SIGSEGV');
    expect(finish(userAccess(mm, U + LEN - 8n, 8, null)).result).toBe('ok');
  });

  it('brings in both pages of an access that crosses', () => {
    const { world, mm, mmap } = setUp();
    mmap({});
    expect(finish(userAccess(mm, U + 0xffcn, 8, 0x1122334455667788n)).result).toBe('ok');
    expect(dataPages(world)).toBe(2);
    expect(finish(userAccess(mm, U + 0x1000n, 4, null)).value).toBe(0x11223344n);
  });

  it('shares pages between processes', () => {
    const { world, arena, mm, mmap } = setUp();
    const other = new UserMm('other');
    mmap({});
    mmap({}, other);
    finish(userAccess(mm, U, 8, 7n));
    expect(finish(userAccess(other, U, 8, null)).value).toBe(7n);
    expect(dataPages(world)).toBe(1);
    const page = world.mm.vmallocToPage(virtAddr(arena.kernVmStart + 0x2620_0000n));
    expect(world.pages.pageRefCount(page as never)).toBe(3);
  });

  it('RETRY without the spinlock', () => {
    const { world, mm, mmap } = setUp();
    mmap({});
    world.kernel.inject('spinlock', 1, ERRNO.EBUSY);
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('RETRY');
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('ok');
  });

  it.each(['alloc_page', 'range_node'] as const)('SIGSEGV when %s fails', (at) => {
    const { world, arena, mm, mmap } = setUp();
    mmap({});
    world.kernel.inject(at, 1, ERRNO.ENOMEM);
    expect(finish(userAccess(mm, U + 0x1000n, 8, null)).result).toBe('SIGSEGV');
    // The slot comes back, unless the tree lost it.
    expect(freeSlots(arena)).toEqual(at === 'alloc_page' ? [[0, 999]] : [[0, 0]]);
    expect(dataPages(world)).toBe(0);
    expect([arena.memcgDepth, arena.spinlock.holder]).toEqual([0, -1]);
  });

  it('SIGSEGV over an entry that is neither none nor present, and the slot comes back', () => {
    const { world, arena, mm, mmap } = setUp();
    mmap({});
    const entry = 0x5000n;
    const ptep = world.mm.ptepOffset(arena.kaddr(lo32(U)))!;
    world.ram.write64(ptep, entry);
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('SIGSEGV');
    expect(world.ram.read64(ptep)).toBe(entry);
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect([dataPages(world), arena.memcgDepth, arena.spinlock.holder]).toEqual([0, 0, -1]);
  });

  it('fills reserved slots, and slots past max_entries of a longer mapping', () => {
    const { arena, mm, mmap } = setUp({ ...A, maxEntries: 2, mapExtra: 0n });
    const vma = mmap({ addr: 0n, len: 0x10000n }) as Vma;
    finish(arenaReservePages(arena, vma.start, 1));
    for (const page of [0n, 9n]) {
      expect(finish(userAccess(mm, vma.start + page * 4096n, 8, null)).result).toBe('ok');
    }
    expect(freeSlots(arena)).toEqual([[1, 1]]);
  });

  it('a page in use by a process dies with its last mapping only', () => {
    const { world, arena, mm, mmap } = setUp();
    const vma = mmap({}) as Vma;
    finish(userAccess(mm, U, 8, 5n));
    const page = finish(arenaVmFault(vma, U)) as never;
    finish(arenaFreePages(arena, U, 1, true));
    expect(vma.ptes.size).toBe(0);
    expect(world.pages.pageRefCount(page)).toBe(1);
    expect(world.pages.freePage(page)).toBe(true);
    finish(arenaMunmap(vma));
    expect([world.pages.bugs, dataPages(world)]).toEqual([[], 0]);
  });

  it('gives user references back at munmap', () => {
    const { world, arena, mm, mmap } = setUp();
    const vma = mmap({}) as Vma;
    for (const page of [0n, 1n, 2n]) finish(userAccess(mm, U + page * 4096n, 8, 1n));
    finish(arenaMunmap(vma));
    expect([arena.vmaList, mm.vmas]).toEqual([[], []]);
    expect(dataPages(world)).toBe(3);
    finish(arenaFreePages(arena, U, 3, true));
    expect(dataPages(world)).toBe(0);
  });
});
