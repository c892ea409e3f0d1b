// Functions of the fault path and of dying that compiled code does in the model's place: what the path asks of whoever runs
// it, by the kernel's names. Those that are absent the model does itself.
import { type Activity, KernelStuck } from '../mm/context.ts';
import type {
  ExtableEntry,
  FaultContext,
  FaultOutcome,
  FaultPath,
  HardwareFault,
  PtRegs,
} from './arch.ts';

/** A function that is handed registers and a fault and returns nothing: what became of the fault is found out. */
export type CompiledPathFunction = (regs: PtRegs, fault: HardwareFault) => Activity<FaultOutcome>;

/** An argument of any other function: an object stands for its structure in memory, a physical address for what lies there. */
export type CompiledArgument = bigint | PtRegs | ExtableEntry | { readonly pa: number };

/** @returns the 64 bits of the return register */
export type CompiledCall = (...args: readonly CompiledArgument[]) => Activity<bigint>;

export interface CompiledPath {
  readonly paths: Readonly<Record<string, CompiledPathFunction | undefined>>;
  readonly calls: Readonly<Record<string, CompiledCall | undefined>>;
}

/** The path of a function in compiled code; null where the model does it. */
export function compiledPath(
  { compiled }: FaultContext,
  fn: string,
  regs: PtRegs,
  fault: HardwareFault,
): FaultPath | null {
  return compiled?.paths[fn]?.(regs, fault) ?? null;
}

/**
 * Calls a function in compiled code where the model has no step: no other CPU runs meanwhile.
 * @returns what it returned; null where the model does it
 */
export function compiledNow(
  { compiled }: FaultContext,
  fn: string,
  ...args: readonly CompiledArgument[]
): bigint | null {
  const call = compiled?.calls[fn];
  return call === undefined ? null : atOnce(fn, call(...args));
}

function atOnce<T>(fn: string, path: Activity<T>): T {
  for (;;) {
    const step = path.next();
    if (step.done) return step.value;
    if (step.value.ready?.() !== false) continue;
    // Whoever it waits for does not run. Lets go of the core.
    path.return(undefined as never);
    throw new KernelStuck(`${fn} waits for another CPU (${step.value.what}), as it may not`);
  }
}

/** A function of the fault path by its kernel name, as compiled code calls it. */
export type PathFunction = (
  context: FaultContext,
  regs: PtRegs,
  fault: HardwareFault,
) => FaultPath | null;
