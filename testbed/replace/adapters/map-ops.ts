// Operations of the map in compiled code: what answers from the arena, or always the same; bpf_map_mmap().
import type { ARENA_MAP_OPS } from '../../../bpf/arena.ts';
import type { MAP_OP_FUNCTIONS } from '../functions/map-ops.ts';
import { s32 } from '../guest-calls.ts';
import { type Adapter, type Adapters, call } from './adapter.ts';
import { kfuncAlloc } from './arena.ts';
import { mapOf } from './maps.ts';

/** An operation on elements: its other arguments are NULL or 0. */
const op =
  (name: `arenaMap${Capitalize<keyof typeof ARENA_MAP_OPS>}`): Adapter =>
  (compiled) => ({
    *[name](arena: Parameters<typeof mapOf>[1]) {
      const result = yield* call(compiled, mapOf(compiled, arena), 0, 0, 0);
      return s32(result);
    },
  });

export const MAP_OP_ADAPTERS: Adapters<typeof MAP_OP_FUNCTIONS> = {
  arena_map_peek_elem: op('arenaMapPeekElem'),
  arena_map_push_elem: op('arenaMapPushElem'),
  arena_map_pop_elem: op('arenaMapPopElem'),
  arena_map_delete_elem: op('arenaMapDeleteElem'),
  arena_map_get_next_key: op('arenaMapGetNextKey'),
  arena_map_update_elem: op('arenaMapUpdateElem'),
  arena_map_lookup_elem: op('arenaMapLookupElem'),
  arena_map_check_btf: op('arenaMapCheckBtf'),
  arena_map_mem_usage: (compiled) => ({
    *arenaMapMemUsage(arena) {
      return Number(yield* call(compiled, mapOf(compiled, arena)));
    },
  }),
  arena_map_direct_value_addr: (compiled, kernel) => ({
    *arenaMapDirectValueAddr(arena, off) {
      const { hand, structures } = compiled.object;
      const imm = hand[kernel.context.cpu];
      kernel.ram.write64(imm, 0n);
      const err = s32(yield* call(compiled, mapOf(compiled, arena), structures.virt(imm), off));
      return err === 0 ? kernel.ram.read64(imm) : err;
    },
  }),
  arena_vm_may_split: (compiled) => ({
    *arenaVmMaySplit(vma, addr) {
      return s32(yield* call(compiled, compiled.object.structures.mappings.vma(vma), addr));
    },
  }),
  arena_vm_mremap: (compiled) => ({
    *arenaVmMremap(vma) {
      return s32(yield* call(compiled, compiled.object.structures.mappings.vma(vma)));
    },
  }),
  bpf_arena_get_kern_vm_start: (compiled) => ({
    bpfArenaGetKernVmStart: (arena) => call(compiled, compiled.object.structures.arena(arena)),
  }),
  bpf_arena_get_user_vm_start: (compiled) => ({
    bpfArenaGetUserVmStart: (arena) => call(compiled, compiled.object.structures.arena(arena)),
  }),
  bpf_arena_alloc_pages_sleepable: (compiled, kernel) => ({
    bpfArenaAllocPagesSleepable: kfuncAlloc(compiled, kernel),
  }),
  bpf_map_mmap: (compiled) => ({
    *bpfMapMmap(arena, vma, frozen) {
      const { mappings } = compiled.object.structures;
      mappings.frozen = frozen;
      try {
        const at = mappings.file(arena);
        const err = s32(yield* call(compiled, at, mappings.vma(vma)));
        // Operations of every map bring no pages in: those of the arena were never set.
        if (err === 0 && vma.vml === null) vma.vmOps = 0n;
        return err;
      } finally {
        mappings.frozen = false;
      }
    },
  }),
};
