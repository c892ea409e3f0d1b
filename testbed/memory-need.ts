// How much RAM a world needs: page tables, what its steps allocate, and some to spare. The host commits what is touched,
// so that a generous figure costs nothing; it is a multiple of a large unit, so that machines can be used again.
import type { ArenaOptions, Step, World } from './scenario.ts';
import type { KernelImage } from './vmlinux/image.ts';
import { reservedFor } from './vmlinux/load.ts';

const MIB = 2 ** 20;
const UNIT = 64 * MIB;
/** A typed array of Node 20 holds less than 4 GiB. */
const MOST = 4096 * MIB - UNIT;
/** Kernel text, stack, upper page tables, single pages. */
const BASE = 32 * MIB;
/** Page tables of a 4 GiB arena with 4 KiB pages. */
const TABLES = 10 * MIB;

/** @returns bytes, at most about 4 GiB: a world that needs more runs out of pages, as a small machine would */
export function ramSizeFor(world: World, image: KernelImage | null = null): number {
  const { pageSize, scratchPfn, stack } = world.kernel;
  const steps = world.cpus.flat();
  const pages =
    sum(world.arenas, arenaPages) + sum(steps, (step) => stepPages(step, world.arenas)) + 64;
  const bytes =
    BASE +
    world.arenas.length * TABLES +
    stack +
    pages * pageSize +
    sum(steps, (step) => stepBytes(step, pageSize)) +
    (image?.percpu?.size ?? 0) * world.cpus.length +
    (world.kernel.kfence === null ? 0 : 2 * (world.kernel.kfence.objects + 1) * pageSize);
  // The scratch page has a frame of its own choice.
  const wanted =
    Math.max(bytes, (scratchPfn + 1) * pageSize) + reservedFor(image, pageSize) + UNIT - 1;
  return Math.min(MOST, wanted - (wanted % UNIT));
}

const arenaPages = ({ alloc }: ArenaOptions): number => sum(alloc, ({ count }) => count);

function stepPages(step: Step, arenas: readonly ArenaOptions[]): number {
  if (step.kind === 'user' || step.kind === 'create') return 1;
  if (step.kind !== 'alloc') return 0;
  return Math.min(step.count, arenas.find(({ name }) => name === step.arena)?.pages ?? 0);
}

function stepBytes(step: Step, pageSize: number): number {
  if (step.kind === 'create') return TABLES;
  if (step.kind !== 'call') return 0;
  return sum(step.args, (arg) => (arg.kind === 'buffer' ? arg.bytes.length : 0) + 2 * pageSize);
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);
