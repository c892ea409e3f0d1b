// What adapters are, and what they share.
import type { CompiledPath } from '../../../arch/compiled-path.ts';
import type { CompiledFunctions } from '../../../bpf/compiled.ts';
import { type Activity, type CompiledAccessors, KernelStuck } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import type { CompiledFunction } from '../replacements.ts';

/** What the model asks for in the place of its functions. */
export type Adapted = CompiledFunctions & CompiledAccessors & Partial<CompiledPath>;

/** Makes of a compiled function what the model asks for in its place. @throws CallError for structures it cannot fill in */
export type Adapter = (compiled: CompiledFunction, kernel: Kernel) => Adapted;

/** An adapter for each function of a table. */
export type Adapters<Table> = Readonly<Record<keyof Table, Adapter>>;

/** A call with integer arguments. @returns the 64 bits of the return register */
export const call = (
  { entry, name, object }: CompiledFunction,
  ...args: readonly (bigint | boolean | number)[]
): Activity<bigint> => object.calls.call(name, entry, args.map(BigInt));

/**
 * The same of a function that no other CPU sees at work, to its end.
 * @throws KernelStuck for code that waits for another CPU
 */
export function callNow(
  compiled: CompiledFunction,
  ...args: readonly (bigint | boolean | number)[]
): bigint {
  const progress = call(compiled, ...args);
  for (;;) {
    const { done, value } = progress.next();
    if (done) return value;
    if (value.ready?.() !== false) continue;
    // Lets go of the core.
    progress.return(0n);
    throw new KernelStuck(`${compiled.name} waits for another CPU (${value.what}), as it may not`);
  }
}
