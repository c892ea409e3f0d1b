// The ends of a fault path, and those who may repair a fault. Outcomes without data are made once.
import type { VirtAddr } from '../emulator/address.ts';
import { type Activity, finish, type KernelContext, onward } from '../mm/context.ts';
import type { FaultContext, FaultOutcome, FaultPath, PtRegs, Recoverer } from './arch.ts';

export const SPURIOUS: FaultOutcome = { resolution: 'spurious' };
export const FIXED_UP: FaultOutcome = { resolution: 'extable' };
export const REPAIRED: Readonly<Record<Recoverer['resolution'], FaultOutcome>> = {
  scratch: { resolution: 'scratch' },
  kfence: { resolution: 'kfence' },
};

/**
 * Asks KFENCE and the arena whether they repair a fault on an absent page.
 * @param by the kernel function that asks
 * @returns null if nobody did
 */
export function askRecoverers(
  { kernel, recoverers }: FaultContext,
  by: string,
  addr: VirtAddr,
  isWrite: boolean,
  regs: PtRegs,
): FaultOutcome | null {
  for (let i = 0; i < recoverers.length; i++) {
    const recoverer = recoverers[i];
    const handled = finish(recoverer.handlePageFault(addr, isWrite, regs));
    if (told(kernel, by, recoverer, handled)) return REPAIRED[recoverer.resolution];
  }
  return null;
}

/** {@link askRecoverers}, step by step. */
export function* askRecoverersInSteps(
  { kernel, recoverers }: FaultContext,
  by: string,
  addr: VirtAddr,
  isWrite: boolean,
  regs: PtRegs,
): Activity<FaultOutcome | null> {
  for (const recoverer of recoverers) {
    const handled = yield* onward(recoverer.handlePageFault(addr, isWrite, regs));
    if (told(kernel, by, recoverer, handled)) return REPAIRED[recoverer.resolution];
  }
  return null;
}

function told(kernel: KernelContext, by: string, { fn }: Recoverer, handled: boolean): boolean {
  if (kernel.events.on) kernel.decide(by, `${fn}(): ${handled}`);
  return handled;
}

/** True for a path that is over, and the kernel with it. */
export const isDead = (path: FaultPath): boolean =>
  'resolution' in path && path.resolution === 'oops';
