// Functions of kernel/bpf/arena.c that compiled code does in the model's place: what the model asks of whoever runs it.
// Each is null where the model does the work itself.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { PteCursor } from '../mm/apply-range.ts';
import type { Activity } from '../mm/context.ts';
import type { Ptep } from '../mm/pte.ts';
import type { BpfArena } from './arena.ts';
import type { ApplyRangeData } from './arena-pte.ts';

/** A pte_fn_t with its data, for one walk. */
export interface CompiledPteFn {
  /** One call. @returns what the function returned: 0 to go on */
  call(ptep: Ptep, addr: VirtAddr): Activity<number>;
  /** The walk has ended: takes over what the data has come to. */
  end(): void;
}

export interface CompiledArena {
  readonly applyRangeSetCb: ((arena: BpfArena, data: ApplyRangeData) => CompiledPteFn) | null;
  /** @param freePages collected pages are added, the first at the end */
  readonly applyRangeClearCb: ((arena: BpfArena, freePages: Pfn[]) => CompiledPteFn) | null;
  readonly applyRangeSetScratchCb: ((arena: BpfArena) => CompiledPteFn) | null;
  readonly existingPageCb: ((arena: BpfArena) => CompiledPteFn) | null;
  readonly bpfArenaHandlePageFault:
    | ((addr: VirtAddr, isWrite: boolean, faultIp: VirtAddr) => Activity<boolean>)
    | null;
}

/**
 * Walks as apply_to_page_range() with a compiled callback; with `create` false as apply_to_existing_page_range().
 * @returns 0, what the callback returned, -EINVAL or -ENOMEM
 */
export function* applyCompiled(
  arena: BpfArena,
  start: VirtAddr,
  size: number,
  create: boolean,
  fn: CompiledPteFn,
): Activity<number> {
  const cursor = new PteCursor(arena.bpf.mm, start, size, create);
  let result = 0;
  while (result === 0 && cursor.next()) result = yield* fn.call(cursor.ptep, cursor.addr);
  fn.end();
  return result || cursor.error;
}
