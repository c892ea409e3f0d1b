// The functions of the kernel that stand in compiled code, as the model calls them: one adapter for each, between values of
// the model and a call's registers and memory.
import type { Kernel } from '../../kernel.ts';
import { DYING_ARM64_FUNCTIONS } from '../functions/dying-arm64.ts';
import { DYING_X86_FUNCTIONS } from '../functions/dying-x86.ts';
import { EXTABLE_X86_FUNCTIONS } from '../functions/extable.ts';
import { EXTABLE_ARM64_FUNCTIONS } from '../functions/extable-arm64.ts';
import { FAULT_ARM64_FUNCTIONS } from '../functions/fault-arm64.ts';
import { FAULT_X86_FUNCTIONS, FAULT_X86_QUESTIONS } from '../functions/fault-x86.ts';
import type { REPLACEABLE, ReplaceableName } from '../functions/index.ts';
import type { CompiledFunction } from '../replacements.ts';
import type { Adapted, Adapters } from './adapter.ts';
import { ARENA_ADAPTERS } from './arena.ts';
import { callAdapters } from './call.ts';
import { DOUBLE_FAULT_ADAPTERS, dyingAdapters } from './dying-x86.ts';
import { EXTABLE_ADAPTERS } from './extable.ts';
import { KFENCE_ADAPTERS } from './kfence.ts';
import { MAP_OP_ADAPTERS } from './map-ops.ts';
import { MAP_ADAPTERS } from './maps.ts';
import { MEMORY_ADAPTERS } from './memory.ts';
import { pathAdapters } from './path.ts';
import { PGTABLE_ADAPTERS } from './pgtable.ts';
import { PROG_ADAPTERS } from './prog.ts';
import { RANGE_TREE_ADAPTERS } from './range-tree.ts';
import { STREAM_ADAPTERS } from './streams.ts';
import { UNWIND_ADAPTERS } from './unwind.ts';
import { VMALLOC_ADAPTERS } from './vmalloc.ts';

const ADAPTERS: Adapters<typeof REPLACEABLE> = {
  ...ARENA_ADAPTERS,
  ...MAP_ADAPTERS,
  ...MAP_OP_ADAPTERS,
  ...PROG_ADAPTERS,
  ...MEMORY_ADAPTERS,
  ...UNWIND_ADAPTERS,
  ...KFENCE_ADAPTERS,
  ...VMALLOC_ADAPTERS,
  ...PGTABLE_ADAPTERS,
  ...EXTABLE_ADAPTERS,
  ...callAdapters(EXTABLE_X86_FUNCTIONS),
  ...pathAdapters(FAULT_X86_FUNCTIONS),
  ...callAdapters(FAULT_X86_QUESTIONS),
  ...dyingAdapters(DYING_X86_FUNCTIONS),
  ...DOUBLE_FAULT_ADAPTERS,
  ...RANGE_TREE_ADAPTERS,
  ...pathAdapters(FAULT_ARM64_FUNCTIONS),
  ...callAdapters(DYING_ARM64_FUNCTIONS),
  ...callAdapters(EXTABLE_ARM64_FUNCTIONS),
  ...STREAM_ADAPTERS,
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
  const all: Adapted = Object.assign({}, ...made);
  kernel.bpf.compiled = all;
  kernel.bpf.ksyms.compiled = all;
  kernel.context.compiled = all;
  const path = {
    paths: Object.assign({}, ...made.map(({ paths }) => paths)),
    calls: Object.assign({}, ...made.map(({ calls }) => calls)),
  };
  for (const { faultContext } of kernel.cpus) faultContext.compiled = path;
}
