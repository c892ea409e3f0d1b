// Functions of the fault path and of dying that compiled code does in the model's place: what the path asks of whoever runs
// it, by the kernel's names. Those that are absent the model does itself.
import { virtAddr } from '../emulator/address.ts';
import { type Activity, KernelStuck, type Progress } from '../mm/context.ts';
import type {
  ExtableEntry,
  FaultContext,
  FaultOutcome,
  FaultPath,
  HardwareFault,
  PtRegs,
} from './arch.ts';

/** What a function of the path comes to: null where one that returns an int returns non-zero ("not handled"). */
export type Handled = Progress<FaultOutcome | null>;

/** A function that is handed registers and a fault and does not return what became of the fault: that is found out. */
export type CompiledPathFunction = (
  regs: PtRegs,
  fault: HardwareFault,
) => Activity<FaultOutcome | null>;

/**
 * An argument of any other function: an object or a text stands for its structure in memory, a physical address for what
 * lies there.
 */
export type CompiledArgument = bigint | string | PtRegs | ExtableEntry | { readonly pa: number };

/** @returns the 64 bits of the return register */
export type CompiledCall = (...args: readonly CompiledArgument[]) => Activity<bigint>;

export interface CompiledPath {
  readonly paths: Readonly<Record<string, CompiledPathFunction | undefined>>;
  readonly calls: Readonly<Record<string, CompiledCall | undefined>>;
}

/** The path of a void function in compiled code; null where the model does it. */
export function compiledPath(
  { compiled }: FaultContext,
  fn: string,
  regs: PtRegs,
  fault: HardwareFault,
): FaultPath | null {
  const path = compiled?.paths[fn]?.(regs, fault) ?? null;
  return path as FaultPath | null;
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

/** {@link compiledNow} of a function that returns a bool. */
export function compiledBool(
  context: FaultContext,
  fn: string,
  ...args: readonly CompiledArgument[]
): boolean | null {
  // Every fault comes by.
  if (context.compiled === null) return null;
  const result = compiledNow(context, fn, ...args);
  return result === null ? null : isTrue(result);
}

/** {@link compiledNow} of a function that returns a string. */
export function compiledText(
  context: FaultContext,
  fn: string,
  ...args: readonly CompiledArgument[]
): string | null {
  const at = compiledNow(context, fn, ...args);
  if (at === null) return null;
  let text = '';
  for (let i = 0; i < LONGEST; i++) {
    const byte = context.readMemory(virtAddr(at + BigInt(i)), 1)?.[0] ?? 0;
    if (byte === 0) break;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Bytes of a string that are looked at. */
const LONGEST = 256;

/** A register as C's _Bool. */
export const isTrue = (value: bigint): boolean => (value & 0xffn) !== 0n;

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
export type PathFunction = (context: FaultContext, regs: PtRegs, fault: HardwareFault) => Handled;
