import { describe, expect, it } from 'vitest';
import { ERRNO, finish } from '../mm/context.ts';
import {
  bpfArenaAllocPages,
  bpfArenaAllocPagesNonSleepable,
  bpfArenaFreePages,
  bpfArenaFreePagesNonSleepable,
  bpfArenaReservePages,
} from './kfuncs.ts';
import { A, B, createArena, createWorld } from './test-world.ts';

const U = A.mapExtra;
const hash = { mapType: 1 };

describe('kfuncs of arenas', () => {
  const setUp = (attr = A) => createArena(createWorld('x86_64'), attr);

  it('bpf_arena_alloc_pages: NULL for another map, flags or no pages', () => {
    const arena = setUp();
    expect(finish(bpfArenaAllocPages(hash, 0n, 1))).toBe(0n);
    expect(finish(bpfArenaAllocPages(arena, 0n, 1, -1, 1n))).toBe(0n);
    expect(finish(bpfArenaAllocPages(arena, 0n, 0))).toBe(0n);
    expect(finish(bpfArenaAllocPages(arena, 0n, 1))).toBe(U);
    expect(finish(bpfArenaAllocPagesNonSleepable(arena, 0n, 1))).toBe(U + 4096n);
    expect(finish(bpfArenaAllocPagesNonSleepable(arena, 0n, 1, -1, 1n))).toBe(0n);
  });

  it('bpf_arena_free_pages: nothing for another map, NULL or no pages', () => {
    const arena = setUp();
    finish(bpfArenaAllocPages(arena, 0n, 2));
    finish(bpfArenaFreePages(hash, U, 1));
    finish(bpfArenaFreePages(arena, 0n, 1));
    finish(bpfArenaFreePages(arena, U, 0));
    expect(arena.nrPages).toBe(2);
    finish(bpfArenaFreePages(arena, U, 1));
    expect(arena.nrPages).toBe(1);
    finish(bpfArenaFreePagesNonSleepable(arena, U + 4096n, 1));
    expect([arena.nrPages, arena.freeWorkQueued]).toEqual([1, true]);
  });

  it('tests the whole pointer for NULL, not its low half', () => {
    const arena = setUp(B);
    finish(bpfArenaAllocPages(arena, 0n, 1));
    finish(bpfArenaFreePages(arena, B.mapExtra, 1));
    expect(arena.nrPages).toBe(0);
  });

  it('bpf_arena_reserve_pages: -EINVAL for another map, 0 for no pages', () => {
    const arena = setUp();
    expect(finish(bpfArenaReservePages(hash, U, 1))).toBe(ERRNO.EINVAL);
    expect(finish(bpfArenaReservePages(arena, U - 4096n, 0))).toBe(0);
    expect(finish(bpfArenaReservePages(arena, U, 1))).toBe(0);
    expect(finish(bpfArenaReservePages(arena, U, 1))).toBe(ERRNO.EBUSY);
  });
});
