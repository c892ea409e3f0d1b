// Arena A of the kernel reference's scenarios with a program on the stack, and its kfuncs by page number.
import { expect } from 'vitest';
import { finish } from '../mm/context.ts';
import type { BpfArena } from './arena.ts';
import { arenaAllocPages } from './arena-alloc.ts';
import { arenaFreePages } from './arena-free.ts';
import {
  A,
  type Arch,
  createArenaAt,
  createWorld,
  kernelFault,
  loadProg,
  pteAt,
  type Series,
  type World,
} from './test-world.ts';

/** user_vm_start of A, and its offset in the band. */
export const U = 0x7f7d26200000n;
export const PAGE0 = 0x26200000n;

export function setUp(arch: Arch, series: Series, attr = A, ramSize = 64 << 20) {
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

export const freeSlots = (arena: BpfArena) => arena.rt.nodes().map((rn) => [rn.start, rn.last]);
/** Data pages that are not given back. */
export const dataPages = (world: World) => world.pages.outstanding().get('arena page') ?? 0;
