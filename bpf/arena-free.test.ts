// Freeing, at once and by the worker: T36 of the kernel reference.
import { describe, expect, it } from 'vitest';
import type { Pfn } from '../emulator/address.ts';
import { ERRNO, finish } from '../mm/context.ts';
import { arenaFreePages, arenaFreeWorker } from './arena-free.ts';
import { arenaMmap, arenaMunmap, arenaVmFault, userAccess } from './arena-mmap.ts';
import { dataPages, freeSlots, PAGE0, setUp, U } from './test-arena.ts';
import { BOTH, record } from './test-world.ts';
import { UserMm, type Vma } from './user-mm.ts';

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

  it.each([
    [1, true],
    [2, true],
    [1, false],
    [2, false],
  ])('takes %i pages out of the user mappings, sleepable: %s', (count, sleepable) => {
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
    free(0, count, sleepable);
    if (!sleepable) {
      for (const { vmas } of mms) expect(vmas[0].ptes.size).toBe(2);
      finish(arenaFreeWorker(arena));
    }
    expect(pages.filter((e) => e.op === 'free').length).toBe(count);
    for (const { vmas } of mms) expect(vmas[0].ptes.size).toBe(2 - count);
    expect(world.pages.bugs).toEqual([]);
  });

  it('does not zap for one page that no user maps any more', () => {
    const { world, arena, alloc, free } = setUp(arch, series);
    const mm = new UserMm();
    const vma = finish(arenaMmap(arena, mm, { addr: U, len: 0x3e8000n })) as Vma;
    alloc(0, 3);
    finish(userAccess(mm, U, 8, null));
    finish(arenaMunmap(vma));
    finish(arenaMmap(arena, mm, { addr: U, len: 0x3e8000n }));
    const tlb = record(world, 'tlb');
    free(0, 1);
    expect(tlb.map((e) => e.op)).toEqual(['flush_tlb_kernel_range']);
    free(1, 2);
    expect(tlb.map((e) => e.op)).toContain('zap_vma_range');
  });

  it('zaps for one page: v2 if a user PTE maps it, mainline if somebody else holds it', () => {
    const { world, arena, alloc, free } = setUp(arch, series);
    const vma = finish(arenaMmap(arena, new UserMm(), { addr: U, len: 0x3e8000n })) as Vma;
    alloc(0, 1);
    // A user fault between its reference and its PTE.
    const page = finish(arenaVmFault(vma, U)) as Pfn;
    const tlb = record(world, 'tlb');
    free(0, 1);
    expect(tlb.map((e) => e.op)).toEqual(
      ['flush_tlb_kernel_range'].concat(series === 'v2' ? [] : ['zap_vma_range']),
    );
    expect(world.pages.pageRefCount(page)).toBe(1);
  });

  it('passes a dying process by on mainline, whose pages go with its mapping', () => {
    const { world, arena, alloc, free } = setUp(arch, series);
    const mm = new UserMm();
    const vma = finish(arenaMmap(arena, mm, { addr: U, len: 0x3e8000n })) as Vma;
    alloc(0, 2);
    finish(userAccess(mm, U, 8, 1n));
    mm.alive = false;
    free(0, 2);
    expect(vma.ptes.size).toBe(series === 'v2' ? 0 : 1);
    expect(dataPages(world)).toBe(vma.ptes.size);
    finish(arenaMunmap(vma));
    expect([dataPages(world), world.pages.bugs]).toEqual([0, []]);
  });
});
