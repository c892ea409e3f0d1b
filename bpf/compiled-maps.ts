// Functions of the map, its mappings and its worker that compiled code does in the model's place.

import type { Activity } from '../mm/context.ts';
import type { ARENA_MAP_OPS, ArenaAttr, ArenaWishes, BpfArena } from './arena.ts';
import type { Vma } from './user-mm.ts';

/** Looks for free addresses: an address for so many bytes, or a negative errno. */
export type FindUnmapped = (addr: bigint, len: bigint) => bigint;

/** Operations on elements, as arenaMapPushElem. */
type CompiledOps = {
  [Op in keyof typeof ARENA_MAP_OPS as `arenaMap${Capitalize<Op>}`]?: (
    arena: BpfArena,
  ) => Activity<number>;
};

export interface CompiledMaps extends CompiledOps {
  arenaMapDirectValueAddr?(arena: BpfArena, off: number): Activity<bigint | number>;
  arenaMapMemUsage?(arena: BpfArena): Activity<number>;
  arenaVmMaySplit?(vma: Vma, addr: bigint): Activity<number>;
  arenaVmMremap?(vma: Vma): Activity<number>;
  bpfArenaGetKernVmStart?(arena: BpfArena): Activity<bigint>;
  bpfArenaGetUserVmStart?(arena: BpfArena): Activity<bigint>;
  /** @param frozen the map was frozen with BPF_MAP_FREEZE */
  bpfMapMmap?(arena: BpfArena, vma: Vma, frozen: boolean): Activity<number>;
  arenaMapAlloc?(attr: ArenaAttr, wishes: ArenaWishes): Activity<BpfArena | number>;
  arenaMapFree?(arena: BpfArena): Activity<void>;
  populatePgtableExceptPte?(arena: BpfArena): Activity<number>;
  arenaFreeIrq?(arena: BpfArena): Activity<void>;
  arenaFreeWorker?(arena: BpfArena): Activity<void>;
  zapPages?(arena: BpfArena, uaddr: bigint, pageCnt: number): Activity<void>;
  arenaGetUnmappedArea?(
    arena: BpfArena,
    addr: bigint,
    len: bigint,
    pgoff: number,
    find: FindUnmapped,
  ): Activity<bigint>;
  arenaMapMmap?(arena: BpfArena, vma: Vma): Activity<number>;
  rememberVma?(arena: BpfArena, vma: Vma): Activity<number>;
  arenaVmOpen?(vma: Vma): Activity<void>;
  arenaVmClose?(vma: Vma): Activity<void>;
}
