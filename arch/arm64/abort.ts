// What the functions of an AArch64 kernel's abort path hand to each other, and how each is entered.
import type { VirtAddr } from '../../emulator/address.ts';
import { hex, lo32 } from '../../emulator/bits.ts';
import { READ } from '../../emulator/engine.ts';
import { type Activity, LOOKED } from '../../mm/context.ts';
import type { FaultContext, FaultOutcome, FaultPath, HardwareFault } from '../arch.ts';
import type { Handled } from '../compiled-path.ts';
import { untaggedAddr } from './address-ranges.ts';
import { dieKernelFault } from './oops.ts';
import type { Arm64PtRegs } from './registers.ts';

/** One abort, with what every function asks of it worked out. */
export interface Abort {
  /** FAR_EL1, untagged. */
  readonly addr: VirtAddr;
  /** ESR_EL1[31:0]. */
  readonly esr: number;
  readonly fault: HardwareFault;
}

export const abortOf = (fault: HardwareFault): Abort => ({
  addr: untaggedAddr(fault.addr),
  esr: lo32(fault.code),
  fault,
});

/**
 * A function of the path is entered: it is told.
 * @returns what it comes to where compiled code does it; null: the model does it
 */
export function entered(
  context: FaultContext,
  fn: string,
  regs: Arm64PtRegs,
  { fault }: Abort,
  more: Readonly<Record<string, string>> = {},
): Handled {
  if (context.kernel.events.on) {
    context.kernel.enter(fn, { far: hex(fault.addr), esr: hex(fault.code), ...more });
  }
  if (context.compiled === null) return null;
  const compiled = context.compiled.paths[fn]?.(regs, fault);
  return compiled === undefined ? null : byCode(context, fn, untaggedAddr(fault.addr), compiled);
}

/** The step of __do_kernel_fault(), which compiled code may have inside: it can execute AT. */
function* byCode(
  context: FaultContext,
  fn: string,
  addr: VirtAddr,
  path: Activity<FaultOutcome | null>,
): Activity<FaultOutcome | null> {
  if (context.kernel.stepping) yield { kind: 'call', what: fn, translates: addr };
  noteWalk(context, addr);
  return yield* path;
}

/** Tells whoever asks which entries a walk reads. */
export function noteWalk({ kernel, paging }: FaultContext, addr: VirtAddr): void {
  if (kernel.access === null) return;
  for (const { entryAddr } of paging.inspect(addr, READ).levels)
    kernel.access.word(entryAddr, LOOKED);
}

/** The path of an abort that nobody can handle. */
export const dead = (
  context: FaultContext,
  message: string,
  regs: Arm64PtRegs,
  { addr, fault }: Abort,
): FaultPath => dieKernelFault(context, message, addr, fault.code, regs);
