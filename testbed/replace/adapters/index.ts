// The functions of the kernel that stand in compiled code, as the model calls them: one adapter for each, between values of
// the model and a call's registers and memory.
import type { CompiledFunctions } from '../../../bpf/compiled.ts';
import type { CompiledAccessors } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import type { REPLACEABLE, ReplaceableName } from '../functions/index.ts';
import type { CompiledFunction } from '../replacements.ts';
import type { Adapters } from './adapter.ts';
import { ARENA_ADAPTERS } from './arena.ts';
import { PGTABLE_ADAPTERS } from './pgtable.ts';
import { PROG_ADAPTERS } from './prog.ts';

const ADAPTERS: Adapters<typeof REPLACEABLE> = {
  ...ARENA_ADAPTERS,
  ...PROG_ADAPTERS,
  ...PGTABLE_ADAPTERS,
};

/**
 * Puts compiled functions into the model's places for them.
 * @throws CallError for structures that the model cannot fill in
 */
export function installFunctions(
  kernel: Kernel,
  functions: ReadonlyMap<ReplaceableName, CompiledFunction>,
): void {
  const made = [...functions].map(([name, compiled]) => ADAPTERS[name](compiled, kernel));
  const all: CompiledFunctions & CompiledAccessors = Object.assign({}, ...made);
  kernel.bpf.compiled = all;
  kernel.bpf.ksyms.compiled = all;
  kernel.context.compiled = all;
}
