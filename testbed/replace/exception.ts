// What the kernel knows of the exception that it works on, while compiled code of the fault path may run.
import type { FaultOutcome, HardwareFault, PtRegs } from '../../arch/arch.ts';
import { FIXED_UP, REPAIRED, SPURIOUS } from '../../arch/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Vcpu } from '../vcpu.ts';
import { CompiledEnd } from './compiled-end.ts';

export interface Exception {
  readonly regs: PtRegs;
  readonly fault: HardwareFault;
  /** What those whom compiled code called made of it last; null: nothing. */
  cameTo: FaultOutcome | null;
}

/** Notes what a modelled function came to that compiled code called. @throws CompiledEnd if the kernel died in it */
export function note({ exception }: Vcpu, fn: string, outcome: FaultOutcome): void {
  if (outcome.resolution === 'oops') {
    throw new CompiledEnd(fn, { outcome: 'oops', lines: outcome.lines });
  }
  if (exception !== null) exception.cameTo = outcome;
}

/**
 * What a compiled function of the path came to, which does not say so: what those it called came to, or what can be seen.
 * @param before the interrupted instruction
 */
export function cameTo(
  kernel: Kernel,
  { regs, fault, cameTo }: Exception,
  before: bigint,
): FaultOutcome {
  if (cameTo !== null) return cameTo;
  if (regs.ip !== before) return FIXED_UP;
  const { arch, arenas, kfence, mm } = kernel;
  if (!arch.isAbsence(fault.code)) return SPURIOUS;
  const ptep = mm.ptepOffset(fault.addr);
  const entry = ptep === null ? 0n : kernel.ram.read64(ptep);
  for (const { scratchPte } of arenas.values()) if (entry === scratchPte) return REPAIRED.scratch;
  if (kfence?.isKfenceAddress(fault.addr) && mm.format.ptePresent(entry)) return REPAIRED.kfence;
  return SPURIOUS;
}
