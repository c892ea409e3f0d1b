// What of the arena compiled code may call: the range tree, the slow path of its lock, pages, charging, memory of its own,
// and what is deferred to the worker.

import { arenaAllocPages, arenaReservePages, bpfMapAllocPages } from '../../../bpf/arena-alloc.ts';
import { arenaFreePages, runFreeIrq, zapPages } from '../../../bpf/arena-free.ts';
import type { RangeTree } from '../../../bpf/range-tree.ts';
import { endRawResSpinLock } from '../../../bpf/rqspinlock.ts';
import { type Pfn, virtAddr } from '../../../emulator/address.ts';
import { hex, lo32 } from '../../../emulator/bits.ts';
import { CHANGED, ERRNO, KernelStuck, LOOKED } from '../../../mm/context.ts';
import { vmallocToPage } from '../../../mm/pte-steps.ts';
import { bool, type Callee, s32 } from '../guest-calls.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';
import { arenaOf as arenaAround } from './maps.ts';

export function arenaCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, state, structures } = parts;
  const { context, memory } = kernel;
  const arenaOf = (argument: Argument, index = 0) => arenaAround(parts, argument, index);
  const tree = (
    name: string,
    action: (rt: RangeTree, start: number, len: number) => number,
  ): [string, Callee] => [
    name,
    plain((argument) => {
      const rt = parts.state.treeAt(argument(0)) ?? arenaOf(argument).rt;
      return BigInt(action(rt, lo32(argument(1)), lo32(argument(2))));
    }),
  ];
  return [
    tree('range_tree_find', (rt, len) => rt.find(len)),
    tree('range_tree_set', (rt, start, len) => rt.set(start, len)),
    tree('range_tree_clear', (rt, start, len) => rt.clear(start, len)),
    tree('is_range_tree_set', (rt, start, len) => rt.isSet(start, len)),
    [
      'resilient_queued_spin_lock_slowpath',
      function* (argument) {
        const { spinlock } = arenaOf(argument);
        const injected = parts.calls!.lockErrors[context.cpu] ?? 0;
        return BigInt(yield* endRawResSpinLock(context, spinlock, injected));
      },
    ],
    [
      'bpf_map_memcg_enter',
      plain((argument) => {
        const arena = arenaOf(argument);
        arena.memcgEnter();
        // What the exit is handed says whose it is.
        for (const i of [1, 2]) memory.writeWord(virtAddr(argument(i)), structures.arena(arena));
        return null;
      }),
    ],
    [
      'bpf_map_memcg_exit',
      plain((argument) => {
        arenaOf(argument, 1).memcgExit();
        return null;
      }),
    ],
    [
      'bpf_map_alloc_pages',
      function* (argument) {
        const [count, to] = [Number(argument(2)), argument(3)];
        const arena = arenaOf(argument);
        const taken = yield* structures.made.isMaking(arena)
          ? structures.made.allocScratch(count)
          : bpfMapAllocPages(arena, count);
        if (taken === null) return BigInt(ERRNO.ENOMEM);
        taken.forEach((pfn, i) => {
          // Nobody need have touched the array: it lies where the direct map is made on demand.
          state.memory.write(to + BigInt(8 * i), structures.page(pfn));
        });
        return 0n;
      },
    ],
    [
      'vmalloc_to_page',
      function* (argument) {
        const pfn = yield* vmallocToPage(kernel.mm, virtAddr(argument(0)));
        return pfn < 0 ? 0n : structures.page(pfn as Pfn);
      },
    ],
    [
      'zap_pages',
      function* (argument) {
        yield* zapPages(arenaOf(argument), argument(1), Number(argument(2)));
        return null;
      },
    ],
    [
      'irq_work_queue',
      function* (argument) {
        const arena = arenaOf(argument);
        context.access?.object(arena.deferred, LOOKED | CHANGED);
        yield* runFreeIrq(arena);
        return 1n;
      },
    ],
    [
      'arena_alloc_pages',
      function* (argument) {
        const [uaddr, count, node] = [argument(1), Number(argument(2)), s32(argument(3))];
        return yield* arenaAllocPages(arenaOf(argument), uaddr, count, node, bool(argument(4)));
      },
    ],
    [
      'arena_free_pages',
      function* (argument) {
        const [uaddr, count, sleepable] = [argument(1), Number(argument(2)), bool(argument(3))];
        yield* arenaFreePages(arenaOf(argument), uaddr, count, sleepable);
        return null;
      },
    ],
    [
      'arena_reserve_pages',
      function* (argument) {
        const [uaddr, count] = [argument(1), lo32(argument(2))];
        return BigInt(yield* arenaReservePages(arenaOf(argument), uaddr, count));
      },
    ],
  ];
}

/** __GFP_ZERO */
const GFP_ZERO = 0x100n;

/** kmalloc_nolock() and its kin. The scenario's failures are told apart by who asks. */
export function memoryCallees(parts: CalleeParts): [string, Callee][] {
  const { structures } = parts;
  const alloc = plain((argument) => {
    const [size, flags] = [Number(argument(0)), argument(1)];
    if (failing(parts, size)) return 0n;
    const at = parts.heap.alloc(size);
    if (at !== 0n && (flags & GFP_ZERO) !== 0n)
      parts.state.memory.writeBytes(at, new Uint8Array(size));
    return at;
  });
  // void *bpf_mem_alloc(struct bpf_mem_alloc *ma, size_t size)
  const memAlloc: Callee = (argument, returnsTo) =>
    alloc((i) => (i === 0 ? argument(1) : 0n), returnsTo);
  const memFree: Callee = (argument, returnsTo) => free(() => argument(1), returnsTo);
  // What kmalloc() gives may become a structure of the model's.
  const sleeping = (size: number) =>
    plain((argument) => {
      const layout = { name: 'kmalloc', size: Number(argument(size)), members: new Map() };
      if (failing(parts, layout.size) || layout.size <= 0 || layout.size > 0x2000) return 0n;
      return structures.virt(structures.memory.layRaw(layout).pa);
    });
  const free = plain((argument) => {
    const at = argument(0);
    if (at === 0n || parts.heap.free(at) || structures.mappings.free(at)) return null;
    const area = structures.vmStructAt(at);
    if (area === null || parts.kernel.vmalloc.findVmArea(area.addr) === area)
      throw new KernelStuck(`frees ${hex(at)}, no memory of its own`);
    return null;
  });
  return [
    ['kmalloc_nolock', alloc],
    ['kmalloc_nolock_noprof', alloc],
    ['_kmalloc_nolock_noprof', alloc],
    ['kfree_nolock', free],
    ['kfree', free],
    ['bpf_mem_alloc', memAlloc],
    ['bpf_mem_free', memFree],
    // void *__kmalloc_cache_noprof(struct kmem_cache *cache, gfp_t flags, size_t size)
    ['__kmalloc_cache_noprof', sleeping(2)],
    ['kmalloc_trace', sleeping(2)],
    ['__kmalloc_noprof', sleeping(0)],
    ['__kmalloc', sleeping(0)],
    ['kmalloc', sleeping(0)],
  ];
}

/** True if the scenario wants this request to fail. */
function failing({ kernel, calls, state }: CalleeParts, size: number): boolean {
  const { allocates } = calls!;
  const { cpu } = kernel.context;
  const asked = allocates[cpu] ?? null;
  // The first request of an allocation is for its array; a node of the range tree is told by its size.
  const isNode = asked !== 'pages_array' && asked !== 'vma' && size === state.rangeNodeSize;
  if (asked !== null && !isNode) allocates[cpu] = 'span';
  const point = isNode ? 'range_node' : asked;
  return point !== null && kernel.context.failure(point) !== 0;
}
