// The accessors of page-table entries as kernel paths use them: a step that another CPU can see, and the access; or compiled
// code in the accessor's place, whose accesses are steps of their own.
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { type Activity, LOOKED } from './context.ts';
import type { InitMm } from './init-mm.ts';
import { type Ptep, ptepGetAndClear, ptepTrySet, setPteAt } from './pte.ts';

/** The step of ptepTrySet(). @returns true if the entry was 0 and now is `pte` */
export function* ptepTrySetStep(
  mm: InitMm,
  addr: VirtAddr,
  ptep: Ptep,
  pte: bigint,
): Activity<boolean> {
  const { format, kernel, ram } = mm;
  const compiled = kernel.compiled?.ptepTrySet;
  if (compiled) return yield* compiled(addr, ptep, pte);
  if (kernel.stepping) yield { kind: 'pte', what: `ptep_try_set ${hex(addr)}` };
  return ptepTrySet(kernel, ram, format, addr, ptep, pte);
}

/** The step of setPteAt(). */
export function* setPteAtStep(mm: InitMm, addr: VirtAddr, ptep: Ptep, pte: bigint): Activity<void> {
  const { kernel, ram } = mm;
  const compiled = kernel.compiled?.setPteAt;
  if (compiled) {
    yield* compiled(addr, ptep, pte);
    return;
  }
  if (kernel.stepping) yield { kind: 'pte', what: `set_pte_at ${hex(addr)}` };
  setPteAt(kernel, ram, addr, ptep, pte);
}

/** The page by vmalloc_to_page(), which is no step of its own. @returns the page's first frame, or -1 if none is mapped */
export function* vmallocToPage(mm: InitMm, addr: VirtAddr): Activity<Pfn | -1> {
  const { access, compiled } = mm.kernel;
  const ptep = access && mm.ptepOffset(addr);
  if (ptep) access.word(ptep, LOOKED);
  return compiled?.vmallocToPage ? yield* compiled.vmallocToPage(addr) : mm.vmallocToPage(addr);
}

/** The step of ptepGetAndClear(). @returns the old entry */
export function* ptepGetAndClearStep(mm: InitMm, addr: VirtAddr, ptep: Ptep): Activity<bigint> {
  const { kernel, ram } = mm;
  const compiled = kernel.compiled?.ptepGetAndClear;
  if (compiled) return yield* compiled(addr, ptep);
  if (kernel.stepping) yield { kind: 'pte', what: `ptep_get_and_clear ${hex(addr)}` };
  return ptepGetAndClear(kernel, ram, addr, ptep);
}
