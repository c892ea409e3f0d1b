// What the kernel knows of the exception that it works on, while compiled code of the fault path may run.
import type { FaultOutcome, HardwareFault, PtRegs } from '../../arch/arch.ts';
import { FIXED_UP, REPAIRED, SPURIOUS } from '../../arch/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Vcpu } from '../vcpu.ts';
import { CompiledEnd } from './compiled-end.ts';

export interface Exception {
  readonly regs: PtRegs;
  readonly fault: HardwareFault;
  /** x86: a double fault, whose handler has a stack of its own and counts as an interrupt. */
  readonly isDouble?: boolean;
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

/** What a function of the path can change: where the interrupted code goes on, and the entry of the address. */
export interface Before {
  readonly ip: bigint;
  readonly entry: bigint;
}

export const before = (kernel: Kernel, { regs, fault }: Exception): Before => ({
  ip: regs.ip,
  entry: entryOf(kernel, fault),
});

function entryOf({ mm, ram }: Kernel, { addr }: HardwareFault): bigint {
  const ptep = mm.ptepOffset(addr);
  return ptep === null ? 0n : ram.read64(ptep);
}

/**
 * What a compiled function of the path came to, which does not say so: what those it called came to, or what it changed.
 */
export function cameTo(kernel: Kernel, exception: Exception, { ip, entry }: Before): FaultOutcome {
  const { regs, fault, cameTo } = exception;
  if (cameTo !== null) return cameTo;
  if (regs.ip !== ip) return FIXED_UP;
  const { arch, arenas, kfence, mm } = kernel;
  const now = entryOf(kernel, fault);
  if (now === entry || !arch.isAbsence(fault.code)) return SPURIOUS;
  for (const { scratchPte } of arenas.values()) if (now === scratchPte) return REPAIRED.scratch;
  if (kfence?.isKfenceAddress(fault.addr) && mm.format.ptePresent(now)) return REPAIRED.kfence;
  return SPURIOUS;
}
