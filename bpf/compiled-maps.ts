// Functions of the map, its mappings and its worker that compiled code does in the model's place.
import type { Activity } from '../mm/context.ts';
import type { ArenaAttr, ArenaWishes, BpfArena } from './arena.ts';
import type { Vma } from './user-mm.ts';

/** Looks for free addresses: an address for so many bytes, or a negative errno. */
export type FindUnmapped = (addr: bigint, len: bigint) => bigint;

export interface CompiledMaps {
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
