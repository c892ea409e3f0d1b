// Allocation, reservation and freeing: T24 to T27 and T34 to T36 of the kernel reference.
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { ERRNO, finish, type InjectionPoint } from '../mm/context.ts';
import type { BpfArena } from './arena.ts';
import { arenaAllocPages, arenaReservePages, batchSize } from './arena-alloc.ts';
import { arenaFreePages, arenaFreeWorker } from './arena-free.ts';
import { arenaMmap, userAccess } from './arena-mmap.ts';
import { KernelStuck } from './arena-pte.ts';
import {
  A,
  ARCHES,
  B,
  BOTH,
  createArenaAt,
  createWorld,
  FACTS,
  kernelAccess,
  kernelFault,
  loadProg,
  pteAt,
  record,
  type World,
} from './test-world.ts';
import { UserMm } from './user-mm.ts';

const U = 0x7f7d26200000n;
const PAGE0 = 0x26200000n;

function setUp(arch: 'x86_64' | 'arm64', series: 'v2' | 'mainline', attr = A, ramSize = 64 << 20) {
  const world = createWorld(arch, { series }, ramSize);
  const arena = createArenaAt(world, arch, attr);
  const { prog, ip } = loadProg(world, arena);
  world.stack = [ip];
  const K = arena.kernVmStart;
  const pte = (page: number) => pteAt(world, K + PAGE0 + BigInt(page * 4096));
  const alloc = (page: number | null, count: number, sleepable = true) => {
    const hint = page === null ? 0n : U + BigInt(page * 4096);
    return finish(arenaAllocPages(arena, hint, count, -1, sleepable));
  };
  const free = (page: number, count: number, sleepable = true) =>
    finish(arenaFreePages(arena, U + BigInt(page * 4096), count, sleepable));
  const scratch = (page: number) => {
    expect(kernelFault(world, K + PAGE0 + BigInt(page * 4096), true)).toBe(true);
  };
  return { world, arena, prog, K, pte, alloc, free, scratch };
}

const freeSlots = (arena: BpfArena) => arena.rt.nodes().map((rn) => [rn.start, rn.last]);
const dataPages = (world: World) => world.pages.outstanding().get('arena page') ?? 0;
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
    const { arena, alloc } = setUp(arch, series);
    finish(arenaFreePages(arena, 0x7f7d00001000n, 1, true));
    expect(freeSlots(arena)).toEqual([
      [0, 999],
      [0xd9e01, 0xd9e01],
    ]);
    expect(alloc(null, 1)).toBe(0x7f7d00001000n);
    expect(pteAt(setUpKernel(arena), arena.kernVmStart + 0x1000n)).not.toBe(0n);
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

/** The world of an arena, for helpers that want one. */
const setUpKernel = (arena: BpfArena) => arena.bpf as unknown as World;

describe.each(BOTH)('arena_free_pages on $arch, $series', ({ arch, series }) => {
  it('clears, flushes, zaps and frees, in this order, last page first', () => {
    const { world, arena, K, pte, alloc, free } = setUp(arch, series);
    alloc(0, 3);
    const pfns = [0, 1, 2].map((p) => world.format.ptePfn(pte(p)));
    const seen: string[] = [];
    world.kernel.events.read((e) => {
      if (e.type === 'pteChange') seen.push(`pte ${e.va - K - PAGE0}`);
      if (e.type === 'lock') seen.push(`${e.op} ${e.lock}`);
      if (e.type === 'tlb') seen.push(e.op);
      if (e.type === 'page') seen.push(`${e.op} ${pfns.indexOf(e.pfn)}`);
    });
    free(0, 3);
    const zap = ['arena->lock'].concat(series === 'v2' ? [] : ['arena->zap_mutex']).reverse();
    expect(seen).toEqual([
      'acquire arena->spinlock',
      'pte 0',
      'pte 4096',
      'pte 8192',
      'release arena->spinlock',
      'flush_tlb_kernel_range',
      ...zap.map((lock) => `acquire ${lock}`),
      ...[...zap].reverse().map((lock) => `release ${lock}`),
      'free 2',
      'free 1',
      'free 0',
    ]);
    const from = (K + PAGE0).toString(16);
    expect(world.flushes).toEqual([`range ${from} ${(K + PAGE0 + 0x3000n).toString(16)}`]);
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect(arena.nrPages).toBe(0);
  });

  it('is cut at user_vm_end, and does nothing behind it', () => {
    const { world, arena, alloc, free } = setUp(arch, series);
    alloc(998, 2);
    free(1000, 1);
    expect(world.flushes).toEqual([]);
    free(999, 0xffff_ffff);
    expect(freeSlots(arena)).toEqual([
      [0, 997],
      [999, 999],
    ]);
    expect(dataPages(world)).toBe(1);
  });

  it('does not mind slots that are free, and pages that are not aligned', () => {
    const { world, arena, free } = setUp(arch, series);
    free(0, 10);
    finish(arenaFreePages(arena, U + 0x123n, 1, true));
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect(world.pages.bugs).toEqual([]);
  });

  it('T36: a free that may not sleep leaves page, PTE and slot to the worker', () => {
    const { world, arena, K, pte, alloc, free } = setUp(arch, series);
    alloc(0, 2);
    free(0, 1, false);
    free(1, 1, false);
    expect(pte(0)).not.toBe(0n);
    expect(freeSlots(arena)).toEqual([[2, 999]]);
    expect([dataPages(world), arena.freeWorkQueued]).toEqual([2, true]);
    finish(arenaFreeWorker(arena));
    expect([pte(0), pte(1)]).toEqual([0n, 0n]);
    expect(freeSlots(arena)).toEqual([[0, 999]]);
    expect([dataPages(world), arena.freeWorkQueued]).toEqual([0, false]);
    // The span queued last comes first.
    const range = (page: number) => {
      const start = K + PAGE0 + BigInt(page * 4096);
      return `range ${start.toString(16)} ${(start + 4096n).toString(16)}`;
    };
    expect(world.flushes).toEqual([range(1), range(0)]);
    expect(arena.memcgDepth).toBe(0);
  });

  it('defers when the lock fails, and the worker queues itself when its lock fails', () => {
    const { world, arena, alloc, free } = setUp(arch, series);
    alloc(0, 1);
    world.kernel.inject('spinlock', 1, ERRNO.EBUSY);
    world.kernel.inject('spinlock', 2, ERRNO.EBUSY);
    free(0, 1);
    expect([arena.freeSpans.length, arena.freeWorkQueued]).toEqual([1, true]);
    finish(arenaFreeWorker(arena));
    expect([arena.freeSpans.length, arena.freeWorkQueued, dataPages(world)]).toEqual([1, true, 1]);
    finish(arenaFreeWorker(arena));
    expect([arena.freeSpans.length, arena.freeWorkQueued, dataPages(world)]).toEqual([0, false, 0]);
  });

  it('leaves the pages mapped and taken when there is no memory for a span', () => {
    const { world, arena, pte, alloc, free } = setUp(arch, series);
    alloc(0, 1);
    world.kernel.inject('span', 1, ERRNO.ENOMEM);
    free(0, 1, false);
    expect([arena.freeWorkQueued, dataPages(world), arena.memcgDepth]).toEqual([false, 1, 0]);
    expect(pte(0)).not.toBe(0n);
    expect(freeSlots(arena)).toEqual([[1, 999]]);
  });

  it.each([1, 2])('takes %i pages out of the user mappings', (count) => {
    const { world, arena, alloc, free } = setUp(arch, series);
    const mms = [new UserMm('a'), new UserMm('b')];
    for (const mm of mms) finish(arenaMmap(arena, mm, { addr: U, len: 0x3e8000n }));
    alloc(0, 2);
    for (const mm of mms) {
      for (const at of [U, U + 0x1000n]) {
        expect(finish(userAccess(mm, at, 8, null)).result).toBe('ok');
      }
    }
    const pages = record(world, 'page');
    free(0, count);
    expect(pages.filter((e) => e.op === 'free').length).toBe(count);
    for (const { vmas } of mms) expect(vmas[0].ptes.size).toBe(2 - count);
    expect(world.pages.bugs).toEqual([]);
  });

  it('does not zap for one page that no user maps', () => {
    const { world, arena, alloc, free } = setUp(arch, series);
    finish(arenaMmap(arena, new UserMm(), { addr: U, len: 0x3e8000n }));
    alloc(0, 3);
    const tlb = record(world, 'tlb');
    free(0, 1);
    expect(tlb.map((e) => e.op)).toEqual(['flush_tlb_kernel_range']);
    free(1, 2);
    expect(tlb.map((e) => e.op)).toContain('zap_vma_range');
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
