// Allocation and reservation: T24 to T27 and T35 of the kernel reference.
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { ERRNO, finish, type InjectionPoint, KernelStuck } from '../mm/context.ts';
import { arenaAllocPages, arenaReservePages, batchSize } from './arena-alloc.ts';
import { arenaFreePages, arenaFreeWorker } from './arena-free.ts';
import { arenaMmap, userAccess } from './arena-mmap.ts';
import { dataPages, freeSlots, PAGE0, setUp, U } from './test-arena.ts';
import {
  A,
  ARCHES,
  B,
  BOTH,
  createArenaAt,
  createWorld,
  FACTS,
  kernelAccess,
  pteAt,
  record,
} from './test-world.ts';
import { UserMm } from './user-mm.ts';

const none = (series: string) => (series === 'v2' ? 0n : U);

describe.each(BOTH)('arena_alloc_pages on $arch, $series', ({ arch, series }) => {
  it('maps zeroed pages for the kernel at kern_vm_start + lo32 of the user address', () => {
    const { world, arena, pte, alloc } = setUp(arch, series);
    expect(alloc(null, 2)).toBe(U);
    const [first, second] = [0, 1].map((p) => world.format.ptePfn(pte(p)));
    expect(pte(0)).toBe(world.format.mkPte(first, 'PAGE_KERNEL'));
    expect(first).not.toBe(second);
    expect(pte(2)).toBe(0n);
    expect(kernelAccess(world, arena.kernVmStart + PAGE0 + 8n, null)).toBe(0);
    expect(freeSlots(arena)).toEqual([[2, 999]]);
    expect(world.flushes).toEqual([]);
    expect(arena.memcgDepth).toBe(0);
  });

  it('counts only the low 32 bits of a hint', () => {
    const { arena } = setUp(arch, series);
    expect(finish(arenaAllocPages(arena, 0x12345_2620_3000n, 1, -1, true))).toBe(U + 0x3000n);
  });

  it.each([
    { why: 'an unaligned hint', hint: U + 8n, count: 1, node: -1 },
    { why: 'more pages than the user mapping has', hint: 0n, count: 1001, node: -1 },
    { why: 'a hint whose end lies outside', hint: U + 999n * 4096n, count: 2, node: -1 },
    { why: 'a hint below user_vm_start', hint: U - 4096n, count: 1, node: -1 },
    { why: 'a node that does not exist', hint: 0n, count: 1, node: 1 },
    { why: 'a negative node', hint: 0n, count: 1, node: -2 },
  ])('refuses $why', ({ hint, count, node }) => {
    const { world, arena } = setUp(arch, series);
    expect(finish(arenaAllocPages(arena, hint, count, node, true))).toBe(0n);
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect(dataPages(world)).toBe(0);
    expect(arena.memcgDepth).toBe(0);
  });

  it('stays within a user mapping that is shorter than the arena', () => {
    const { arena, alloc } = setUp(arch, series);
    arena.userVmEnd = U + 16n * 4096n;
    expect(alloc(15, 2)).toBe(0n);
    expect(alloc(15, 1)).toBe(U + 15n * 4096n);
    expect(alloc(16, 1)).toBe(0n);
    expect(alloc(null, 17)).toBe(0n);
    expect(freeSlots(arena)).toEqual([
      [0, 14],
      [16, 999],
    ]);
  });

  it('refuses a hint that is taken in part, and takes node 0', () => {
    const { arena, alloc } = setUp(arch, series);
    alloc(5, 1);
    expect(alloc(4, 2)).toBe(0n);
    expect(alloc(4, 1)).toBe(U + 0x4000n);
    expect(finish(arenaAllocPages(arena, U, 1, 0, true))).toBe(U);
  });

  it('takes all there is, and then nothing', () => {
    const { arena, alloc } = setUp(arch, series);
    expect(alloc(null, 1000)).toBe(U);
    expect(freeSlots(arena)).toEqual([]);
    expect(alloc(null, 1)).toBe(0n);
    expect(arena.spinlock.holder).toBe(-1);
  });

  it('T34: takes the most recently freed of equal holes', () => {
    const { alloc, free } = setUp(arch, series);
    for (let page = 0; page < 6; page++) expect(alloc(null, 1)).toBe(U + BigInt(page * 4096));
    for (const page of [0, 2, 4]) free(page, 1);
    expect([0, 0, 0, 0].map(() => alloc(null, 1))).toEqual([
      0x7f7d26204000n,
      0x7f7d26202000n,
      0x7f7d26200000n,
      0x7f7d26206000n,
    ]);
  });

  it('T24: a free below user_vm_start puts a wrapped slot into the tree', () => {
    const { world, arena, alloc } = setUp(arch, series);
    finish(arenaFreePages(arena, 0x7f7d00001000n, 1, true));
    expect(freeSlots(arena)).toEqual([
      [0, 999],
      [0xd9e01, 0xd9e01],
    ]);
    expect(alloc(null, 1)).toBe(0x7f7d00001000n);
    expect(pteAt(world, arena.kernVmStart + 0x1000n)).not.toBe(0n);
  });

  it('T25: v2 never allocates a scratched page again, mainline replaces it', () => {
    const { world, arena, K, pte, alloc, scratch } = setUp(arch, series);
    scratch(0);
    const changes = record(world, 'pteChange');
    for (let i = 0; i < 3; i++) {
      expect(alloc(null, 1)).toBe(
        i === 0 ? none(series) : series === 'v2' ? 0n : U + BigInt(i * 4096),
      );
    }
    const scratchPte = FACTS[arch].scratchPte;
    if (series === 'v2') {
      expect(pte(0)).toBe(scratchPte);
      expect(freeSlots(arena)).toEqual([[0, 999]]);
      expect(changes).toEqual([]);
      expect(world.flushes).toEqual([]);
      expect(dataPages(world)).toBe(0);
    } else {
      expect(changes.slice(0, 2)).toMatchObject([
        { va: K + PAGE0, before: scratchPte, after: 0n, by: 'ptep_get_and_clear' },
        { va: K + PAGE0, before: 0n, after: pte(0), by: 'ptep_try_set' },
      ]);
      expect(world.flushes).toEqual([`before ${(K + PAGE0).toString(16)}`]);
      expect(world.format.ptePfn(pte(0))).not.toBe(arena.scratchPage);
    }
  });

  it('T26: v2 rolls a range back at its scratched page, mainline maps it', () => {
    const { world, arena, pte, alloc, scratch } = setUp(arch, series);
    scratch(3);
    expect(alloc(0, 8)).toBe(none(series));
    if (series === 'v2') {
      expect([0, 1, 2, 3, 4].map(pte)).toEqual([0n, 0n, 0n, FACTS[arch].scratchPte, 0n]);
      expect(freeSlots(arena)).toEqual([[0, 999]]);
      expect(dataPages(world)).toBe(0);
    } else {
      expect(new Set([0, 1, 2, 3, 4, 5, 6, 7].map(pte)).size).toBe(8);
      expect(dataPages(world)).toBe(8);
    }
    expect(world.pages.bugs).toEqual([]);
    expect(arena.memcgDepth).toBe(0);
  });

  it('T26: a roll-back in a context that may not sleep waits for the worker', () => {
    const { world, arena, pte, alloc, scratch } = setUp(arch, 'v2');
    scratch(3);
    expect(alloc(0, 8, false)).toBe(0n);
    expect(freeSlots(arena)).toEqual([[3, 999]]);
    expect(pte(0)).not.toBe(0n);
    expect(dataPages(world)).toBe(3);
    finish(arenaFreeWorker(arena));
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect([pte(0), pte(2)]).toEqual([0n, 0n]);
    expect(dataPages(world)).toBe(0);
  });

  it('T27: a free over the scratched page heals it and keeps the scratch frame', () => {
    const { world, pte, alloc, free, scratch } = setUp(arch, series);
    scratch(0);
    const events = record(world, 'page');
    free(0, 1);
    expect(pte(0)).toBe(0n);
    expect(events).toEqual([]);
    expect(alloc(null, 1)).toBe(U);
    expect(world.pages.outstanding().get('scratch page')).toBe(1);
  });

  it.each<{ at: InjectionPoint; nth: number }>([
    { at: 'pages_array', nth: 1 },
    { at: 'spinlock', nth: 1 },
    { at: 'alloc_page', nth: 2 },
    { at: 'alloc_page', nth: 5 },
  ])('gives everything back when $at $nth fails', ({ at, nth }) => {
    const { world, arena, pte, alloc } = setUp(arch, series);
    world.kernel.inject(at, nth, ERRNO.ENOMEM);
    expect(alloc(2, 5)).toBe(0n);
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect([2, 3, 4, 5, 6].map(pte)).toEqual([0n, 0n, 0n, 0n, 0n]);
    expect(dataPages(world)).toBe(0);
    expect([arena.memcgDepth, arena.spinlock.holder]).toEqual([0, -1]);
    expect(alloc(2, 5)).toBe(U + 0x2000n);
  });

  it('loses slots when the tree cannot be split, and gives none out', () => {
    const { world, arena, alloc } = setUp(arch, series);
    world.kernel.inject('range_node', 1, ERRNO.ENOMEM);
    expect(alloc(2, 5)).toBe(0n);
    expect(freeSlots(arena)).toEqual([[0, 1]]);
    expect(dataPages(world)).toBe(0);
  });

  it('maps in batches and rolls back the ones before a failure', () => {
    const { world, arena, alloc } = setUp(arch, series, { ...A, maxEntries: 3000 });
    expect(batchSize(4096)).toBe(1024);
    const calls: number[] = [];
    world.kernel.events.read((e) => {
      if (e.type === 'page' && e.op === 'free') calls.push(e.pfn);
    });
    world.kernel.inject('alloc_page', 2100, ERRNO.ENOMEM);
    expect(alloc(null, 2500)).toBe(0n);
    expect(freeSlots(arena)).toEqual([[0, 2999]]);
    // 51 pages of the third batch, then the 2048 that were mapped.
    expect(calls.length).toBe(2099);
    expect(new Set(calls).size).toBe(2099);
    expect(dataPages(world)).toBe(0);
    expect(alloc(null, 2500)).toBe(U);
  });
});

describe.each(BOTH)('arena_reserve_pages on $arch, $series', ({ arch, series }) => {
  it('T35: reserves slots without pages', () => {
    const { world, arena, alloc } = setUp(arch, series);
    const reserve = (page: number, count: number, offset = 0n) =>
      finish(arenaReservePages(arena, U + BigInt(page * 4096) + offset, count));
    expect(reserve(0, 1, 0x800n)).toBe(0);
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect(reserve(999, 2)).toBe(ERRNO.EINVAL);
    expect(reserve(0, 1)).toBe(0);
    expect(reserve(0, 1)).toBe(ERRNO.EBUSY);
    expect(alloc(0, 1)).toBe(0n);
    expect(alloc(null, 1)).toBe(U + 0x1000n);
    expect(dataPages(world)).toBe(1);
    const mm = new UserMm();
    finish(arenaMmap(arena, mm, { addr: U, len: 0x3e8000n }));
    expect(finish(userAccess(mm, U, 8, null)).result).toBe('ok');
    expect(dataPages(world)).toBe(2);
  });

  it('fails with -EBUSY without the lock, -ENOMEM without a node', () => {
    const { world, arena } = setUp(arch, series);
    world.kernel.inject('spinlock', 1, ERRNO.ENOMEM);
    expect(finish(arenaReservePages(arena, U + 0x1000n, 1))).toBe(ERRNO.EBUSY);
    world.kernel.inject('range_node', 2, ERRNO.ENOMEM);
    expect(finish(arenaReservePages(arena, U + 0x1000n, 1))).toBe(0);
    expect(finish(arenaReservePages(arena, U + 0x3000n, 1))).toBe(ERRNO.ENOMEM);
    expect([arena.memcgDepth, arena.spinlock.holder]).toEqual([0, -1]);
  });
});

describe('a page where the tree says none is', () => {
  it.each(ARCHES)('%s: -EBUSY; mainline warns, once', (arch) => {
    for (const series of ['v2', 'mainline'] as const) {
      const { world, arena, alloc, K } = setUp(arch, series);
      const foreign = world.format.mkPte(0x50 as never, 'PAGE_KERNEL');
      world.ram.write64(world.mm.ptepOffset(virtAddr(K + PAGE0))!, foreign);
      expect([alloc(0, 1), alloc(0, 1)]).toEqual([0n, 0n]);
      expect(world.kernel.log).toEqual(
        series === 'v2' ? [] : ['WARNING: at apply_range_set_cb (a page in a free slot)'],
      );
      expect(freeSlots(arena)).toEqual([[0, 999]]);
    }
  });

  it('x86: an entry of dirty bits alone makes mainline spin, and v2 go on', () => {
    for (const series of ['v2', 'mainline'] as const) {
      const { world, alloc, K } = setUp('x86_64', series);
      world.ram.write64(world.mm.ptepOffset(virtAddr(K + PAGE0))!, 0x60n);
      if (series === 'v2') expect(alloc(0, 1)).toBe(U);
      else expect(() => alloc(0, 1)).toThrow(KernelStuck);
    }
  });

  it.each([
    { series: 'v2', barriers: 1, why: 'puts them off to the end of the walk' },
    { series: 'mainline', barriers: 3, why: 'has them in ptep_try_set()' },
  ] as const)('arm64: $series sets three entries with $barriers barriers: it $why', (row) => {
    const { world, alloc } = setUp('arm64', row.series);
    const stores: string[] = [];
    const other = () => {};
    world.kernel.tables = {
      stored: () => void stores.push('stored'),
      dsb: (kind) => void stores.push(`dsb ${kind}`),
      ...{ accessed: other, observed: other, walked: other, released: other },
      ...{ synchronized: other, tlbi: other, branched: other },
    };
    expect(alloc(0, 3)).toBe(U);
    expect(stores.filter((each) => each === 'dsb st')).toHaveLength(row.barriers);
    expect(stores.slice(0, 2)).toEqual(['stored', row.barriers === 1 ? 'stored' : 'dsb st']);
  });

  it('arm64 without CONTPTE: mainline compiles the form as posted', () => {
    const world = createWorld('arm64', { contpte: false });
    const arena = createArenaAt(world, 'arm64', A);
    const changes = record(world, 'pteChange');
    expect(finish(arenaAllocPages(arena, 0n, 1, -1, true))).toBe(U);
    expect(changes.map((e) => e.by)).toEqual(['set_pte_at']);
  });
});

describe('large allocations', () => {
  it('maps and frees 100,000 pages in well under a second', () => {
    const world = createWorld('x86_64', {}, 512 << 20);
    const arena = createArenaAt(world, 'x86_64', B);
    expect(finish(arenaAllocPages(arena, 0n, 100_000, -1, true))).toBe(B.mapExtra);
    expect(dataPages(world)).toBe(100_000);
    finish(arenaFreePages(arena, B.mapExtra, 100_000, true));
    expect(dataPages(world)).toBe(0);
  });
});
