// mm/vmalloc.c, TLB flushes and the allocation of BPF's pages in compiled code.
import type { Pfn } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { ERRNO, KernelStuck } from '../../../mm/context.ts';
import { noteFlush } from '../../kernel-tlbs.ts';
import type { VMALLOC_FUNCTIONS } from '../functions/vmalloc.ts';
import { bool, s32 } from '../guest-calls.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, call } from './adapter.ts';

const NUMA_NO_NODE = -1;

export const VMALLOC_ADAPTERS: Adapters<typeof VMALLOC_FUNCTIONS> = {
  vmalloc_to_page: (compiled) => ({
    *vmallocToPage(addr) {
      const { entry, name, object } = compiled;
      const how = { readsAreSteps: false };
      const page = yield* object.calls.call(name, entry, [addr], null, how);
      return page === 0n ? -1 : pfnOf(compiled, page);
    },
  }),
  is_vmalloc_addr: (compiled) => ({
    *isVmallocAddr(addr) {
      return bool(yield* call(compiled, addr));
    },
  }),
  get_vm_area: (compiled, kernel) => ({
    *getVmArea(size, flags, at) {
      const { calls, structures } = compiled.object;
      const { cpu } = kernel.context;
      calls.wishes[cpu] = at;
      const got = yield* call(compiled, size, flags);
      calls.wishes[cpu] = undefined;
      if (got === 0n) return null;
      const area = structures.vmStructAt(got);
      if (area !== null && kernel.vmalloc.findVmArea(area.addr) === area) return area;
      throw new KernelStuck(`${compiled.name} gives ${hex(got)}, which is no area of addresses`);
    },
  }),
  free_vm_area: (compiled, kernel) => ({
    *freeVmArea(area) {
      yield* call(compiled, compiled.object.structures.vmStruct(area));
      if (kernel.vmalloc.findVmArea(area.addr) !== area) return;
      throw new KernelStuck(`${compiled.name} leaves the area at ${hex(area.addr)} in use`);
    },
  }),
  flush_tlb_kernel_range: (compiled, kernel) => ({
    *flushTlbKernelRange(start, end) {
      noteFlush(kernel, start, end);
      yield* call(compiled, start, end);
    },
  }),
  flush_tlb_one_kernel: (compiled, kernel) => ({
    *flushTlbOneKernel(addr) {
      kernel.context.access?.flush(addr, addr + BigInt(kernel.pageSize));
      yield* call(compiled, addr);
    },
  }),
  bpf_map_alloc_pages: (compiled, kernel) => ({
    *bpfMapAllocPages(arena, count) {
      const { calls, hand, structures } = compiled.object;
      const { cpu } = kernel.context;
      const to = hand[cpu];
      kernel.ram.write(to, new Uint8Array(8 * count));
      const outer = calls.pagesFor[cpu] ?? null;
      calls.pagesFor[cpu] = arena;
      const map = structures.arena(arena);
      const err = s32(yield* call(compiled, map, NUMA_NO_NODE, count, structures.virt(to)));
      calls.pagesFor[cpu] = outer;
      if (err === ERRNO.ENOMEM) return null;
      if (err !== 0) throw new KernelStuck(`${compiled.name} gives ${err}`);
      return Array.from({ length: count }, (_, i) =>
        pfnOf(compiled, kernel.ram.read64(to + 8 * i)),
      );
    },
  }),
};

/** The frame of a struct page that code gives. @throws KernelStuck for what is none */
function pfnOf({ name, object }: CompiledFunction, page: bigint): Pfn {
  const pfn = object.structures.pfn(page);
  if (pfn !== null) return pfn;
  throw new KernelStuck(`${name} gives ${hex(page)}, no struct page`);
}
