// The map, its mappings and its worker in compiled code.
import type { BpfArena } from '../../../bpf/arena.ts';
import type { FindUnmapped } from '../../../bpf/compiled-maps.ts';
import { TASK_SIZE, type Vma } from '../../../bpf/user-mm.ts';
import { type Activity, ERRNO } from '../../../mm/context.ts';
import type { MAP_FUNCTIONS } from '../functions/maps.ts';
import { s32 } from '../guest-calls.ts';
import { writeAttr } from '../new-arena.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, call } from './adapter.ts';
import { allocating } from './arena.ts';

export const MAP_ADAPTERS: Adapters<typeof MAP_FUNCTIONS> = {
  arena_map_alloc: (compiled, kernel) => ({
    *arenaMapAlloc(attr, wishes) {
      const { hand, structures } = compiled.object;
      const { made } = structures;
      made.begin(attr, wishes);
      try {
        const at = writeAttr(kernel, structures, hand[kernel.context.cpu], attr);
        return made.end(yield* call(compiled, at));
      } finally {
        made.forget();
      }
    },
  }),
  arena_map_free: (compiled) => ({
    *arenaMapFree(arena) {
      yield* checked(compiled, call(compiled, mapOf(compiled, arena)));
      compiled.object.structures.forgetArena(arena);
    },
  }),
  populate_pgtable_except_pte: (compiled) => ({
    *populatePgtableExceptPte(arena) {
      return s32(yield* call(compiled, compiled.object.structures.arena(arena)));
    },
  }),
  arena_free_irq: (compiled) => ({
    *arenaFreeIrq(arena) {
      yield* call(compiled, compiled.object.structures.memberOf(arena, 'free_irq'));
    },
  }),
  arena_free_worker: (compiled) => ({
    *arenaFreeWorker(arena) {
      yield* call(compiled, compiled.object.structures.memberOf(arena, 'free_work'));
    },
  }),
  zap_pages: (compiled) => ({
    *zapPages(arena, uaddr, pageCnt) {
      const at = compiled.object.structures.arena(arena);
      yield* checked(compiled, call(compiled, at, uaddr, pageCnt));
    },
  }),
  arena_get_unmapped_area: (compiled, kernel) => ({
    *arenaGetUnmappedArea(arena, addr, len, pgoff, find) {
      const { calls, structures } = compiled.object;
      const { cpu } = kernel.context;
      const file = structures.mappings.file(arena);
      const outer: FindUnmapped | null = calls.finds[cpu] ?? null;
      calls.finds[cpu] = find;
      try {
        const at = yield* call(compiled, file, addr, len, pgoff, MAP_SHARED);
        return userAddress(at, len, BigInt(kernel.pageSize));
      } finally {
        calls.finds[cpu] = outer;
      }
    },
  }),
  arena_map_mmap: (compiled, kernel) => ({
    *arenaMapMmap(arena, vma) {
      const map = mapOf(compiled, arena);
      return yield* mapping(compiled, vma, (at) =>
        allocating(kernel, compiled, 'vma', call(compiled, map, at)),
      );
    },
  }),
  remember_vma: (compiled, kernel) => ({
    *rememberVma(arena, vma) {
      const { structures } = compiled.object;
      const at = [structures.arena(arena), structures.mappings.vma(vma)] as const;
      const made = allocating(kernel, compiled, 'vma', call(compiled, ...at));
      return s32(yield* checked(compiled, made));
    },
  }),
  arena_vm_open: (compiled) => ({
    *arenaVmOpen(vma) {
      yield* checked(compiled, call(compiled, compiled.object.structures.mappings.vma(vma)));
    },
  }),
  arena_vm_close: (compiled) => ({
    *arenaVmClose(vma) {
      const { mappings } = compiled.object.structures;
      yield* checked(compiled, call(compiled, mappings.vma(vma)));
      if (vma.vml === null) mappings.forget(vma);
    },
  }),
};

/** MAP_SHARED of mmap(). */
const MAP_SHARED = 1;

/** &arena->map */
export const mapOf = ({ object }: CompiledFunction, arena: BpfArena): bigint =>
  object.structures.memberOf(arena, 'map');

/** Runs a call, after which lists must lead somewhere. */
function* checked(compiled: CompiledFunction, call: Activity<bigint>): Activity<bigint> {
  const result = yield* call;
  compiled.object.structures.mappings.check(compiled.name);
  return result;
}

/** Runs a function that maps: a mapping for which it does not set vm_ops brings no pages in. */
function* mapping(
  compiled: CompiledFunction,
  vma: Vma,
  call: (vma: bigint) => Activity<bigint>,
): Activity<number> {
  const { structures } = compiled.object;
  const knows = structures.layout('vm_area_struct').members.has('vm_ops');
  if (knows) vma.vmOps = 0n;
  return s32(yield* checked(compiled, call(structures.mappings.vma(vma))));
}

/** What get_unmapped_area() asks of an address. */
function userAddress(at: bigint, len: bigint, pageSize: bigint): bigint {
  const signed = BigInt.asIntN(64, at);
  if (signed < 0n && signed >= -4095n) return signed;
  if (at > TASK_SIZE - len) return BigInt(ERRNO.ENOMEM);
  return at % pageSize === 0n ? at : BigInt(ERRNO.EINVAL);
}
