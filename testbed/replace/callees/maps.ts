// What code of the map, its mappings and its worker may call: areas of addresses, memory of maps, work items, VMAs.
import type { BpfArena } from '../../../bpf/arena.ts';
import { flushFreeWork } from '../../../bpf/arena-free.ts';
import { arenaMapMmap, rememberVma } from '../../../bpf/arena-mmap.ts';
import { populatePgtableExceptPte } from '../../../bpf/arena-pte.ts';
import { zapVmaRange } from '../../../bpf/user-mm.ts';
import type { VirtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { type Activity, CHANGED, ERRNO, KernelStuck, LOOKED } from '../../../mm/context.ts';
import { warnOnce } from '../../../mm/warn.ts';
import { type Callee, s32 } from '../guest-calls.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';

/** The arena in whose structure an argument points. */
export const arenaOf = ({ structures }: CalleeParts, argument: Argument, index = 0): BpfArena => {
  const arena = structures.arenaAround(argument(index));
  if (arena !== null) return arena;
  throw new KernelStuck(`${hex(argument(index))} is in no struct bpf_arena`);
};

export function mapCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  const { made, mappings } = structures;
  const treeOf = (argument: Argument) =>
    parts.state.treeAt(argument(0)) ?? arenaOf(parts, argument).rt;
  const getArea = plain((argument) => {
    const area = made.getVmArea(Number(argument(0)), Number(argument(1)));
    return area === null ? 0n : structures.vmStruct(area);
  });
  return [
    ['get_vm_area', getArea],
    ['get_vm_area_caller', getArea],
    [
      'free_vm_area',
      function* (argument) {
        const area = structures.vmStructAt(argument(0));
        if (area === null || kernel.vmalloc.findVmArea(area.addr) !== area)
          throw new KernelStuck(`frees ${hex(argument(0))}, no area of addresses`);
        yield* kernel.vmalloc.freeVmArea(area);
        return null;
      },
    ],
    ['bpf_jit_supports_arena', plain(() => ((made.wishes.jitSupportsArena ?? true) ? 1n : 0n))],
    ['bpf_map_area_alloc', plain((argument) => made.allocate(Number(argument(0))))],
    [
      'bpf_map_area_free',
      plain((argument) => {
        if (made.free(argument(0))) return null;
        structures.forgetArena(arenaOf(parts, argument));
        return null;
      }),
    ],
    [
      'bpf_map_init_from_attr',
      plain((argument) => {
        made.initMap(argument(0), argument(1));
        return null;
      }),
    ],
    [
      'range_tree_init',
      plain((argument) => {
        treeOf(argument).init();
        return null;
      }),
    ],
    [
      'range_tree_destroy',
      plain((argument) => {
        treeOf(argument).destroy();
        return null;
      }),
    ],
    [
      'populate_pgtable_except_pte',
      plain((argument) => BigInt(populatePgtableExceptPte(arenaOf(parts, argument)))),
    ],
    [
      'remember_vma',
      function* (argument) {
        const vma = mappings.vmaAt(argument(1));
        if (vma === null) throw new KernelStuck(`${hex(argument(1))} is no struct vm_area_struct`);
        return BigInt(yield* rememberVma(arenaOf(parts, argument), vma));
      },
    ],
    [
      'arena_map_mmap',
      function* (argument) {
        const vma = mappings.vmaAt(argument(1));
        if (vma === null) throw new KernelStuck(`${hex(argument(1))} is no struct vm_area_struct`);
        return BigInt(yield* arenaMapMmap(arenaOf(parts, argument), vma));
      },
    ],
    [
      'mm_get_unmapped_area',
      plain((argument) => {
        const find = parts.calls!.finds[kernel.context.cpu] ?? null;
        // Kernels before the last few hand the mm over first.
        const first = mappings.fileAt(argument(0)) === null ? 2 : 1;
        if (find === null) throw new KernelStuck('looks for user addresses outside of mmap()');
        return find(argument(first), argument(first + 1));
      }),
    ],
    ...workCallees(parts),
    ...vmaCallees(parts),
  ];
}

function workCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  const nothing = plain(() => null);
  return [
    [
      // bool queue_work_on(int cpu, struct workqueue_struct *wq, struct work_struct *work)
      'queue_work_on',
      plain((argument) => {
        const arena = arenaOf(parts, argument, 2);
        if (structures.arenaMemberAt(argument(2)) !== 'free_work')
          throw new KernelStuck(`queues ${hex(argument(2))}, which is no work of an arena`);
        kernel.context.access?.object(arena.deferred, LOOKED | CHANGED);
        const queued = arena.freeWorkQueued;
        arena.freeWorkQueued = true;
        return queued ? 0n : 1n;
      }),
    ],
    ['irq_work_sync', nothing],
    [
      'flush_work',
      function* (argument) {
        const arena = arenaOf(parts, argument);
        const queued = arena.freeWorkQueued;
        yield* flushFreeWork(arena);
        return queued ? 1n : 0n;
      },
    ],
    [
      // void refcount_warn_saturate(refcount_t *r, enum refcount_saturation_type t)
      'refcount_warn_saturate',
      plain((argument) => {
        const why = REFCOUNT[s32(argument(1))] ?? 'unknown saturation event';
        warnOnce(kernel.context, 'refcount_warn_saturate', `refcount_t: ${why}`);
        return null;
      }),
    ],
    ['__list_add_valid_or_report', plain(() => 1n)],
    ['__list_del_entry_valid_or_report', plain(() => 1n)],
  ];
}

/** enum refcount_saturation_type */
const REFCOUNT = [
  'saturated; leaking memory',
  'saturated; leaking memory',
  'addition on 0; use-after-free',
  'underflow; use-after-free',
  'decrement hit 0; leaking memory',
];

function vmaCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  const { context, pages } = kernel;
  const { mappings } = structures;
  // void zap_page_range_single(vma, address, size, details) of some kernels, zap_vma_range(vma, address, size) of others.
  const zap: Callee = function* (argument): Activity<null> {
    const vma = mappings.vmaAt(argument(0));
    if (vma === null) throw new KernelStuck(`zaps ${hex(argument(0))}, no struct vm_area_struct`);
    const [uaddr, count] = [argument(1), Number(argument(2)) / kernel.pageSize];
    if (context.stepping) yield { kind: 'pte', what: `zap user pages from ${hex(uaddr)}` };
    zapVmaRange(context, pages, vma, uaddr, count);
    return null;
  };
  return [
    ['zap_vma_range', zap],
    ['zap_page_range_single', zap],
    [
      // struct vm_area_struct *find_vma(mm, addr): the first that ends behind the address.
      'find_vma',
      plain((argument) => {
        const mm = mappings.mmAround(argument(0));
        // The task's own mm maps nothing.
        if (mm === null) return 0n;
        context.access?.object(mm, LOOKED);
        const [first] = mm.vmas
          .filter(({ end }) => end > argument(1))
          .sort((a, b) => (a.start < b.start ? -1 : 1));
        return first === undefined ? 0n : mappings.vma(first);
      }),
    ],
    [
      'mmput',
      plain((argument) => {
        const mm = mappings.mmAround(argument(0));
        const gotten = mm === null ? 0 : (mappings.gotten.get(mm) ?? 0);
        if (mm === null || gotten <= 0)
          throw new KernelStuck(`puts ${hex(argument(0))}, no struct mm_struct that it has got`);
        mappings.gotten.set(mm, gotten - 1);
        return null;
      }),
    ],
  ];
}

/**
 * apply_to_page_range() with callbacks that are handed nothing: they are asked about tables, of which they make none
 * themselves. There are a million entries; it is called for the first and the last.
 */
export function* populateRange(
  { kernel, structures, calls }: CalleeParts,
  name: string,
  [start, size, fn]: readonly bigint[],
): Activity<bigint> {
  const { context, mm, pageSize } = kernel;
  const length = Number(size);
  if (length <= 0 || length % pageSize !== 0) return BigInt(ERRNO.EINVAL);
  const populated = context.failure('populate') || mm.populate(start as VirtAddr, length);
  if (populated !== 0) return BigInt(populated);
  for (const addr of [start, start + size - BigInt(pageSize)] as VirtAddr[]) {
    const ptep = mm.ptepOffset(addr)!;
    const args = [structures.virt(ptep), addr, 0n];
    const result = yield* calls!.call(name, fn as VirtAddr, args, { ptep, addr });
    if (s32(result) !== 0) return BigInt(s32(result));
  }
  return 0n;
}
