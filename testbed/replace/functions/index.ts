// The functions of the kernel in whose place compiled code can be put: their prototypes, and the structures through which
// they and the model speak.
import { ARENA_FUNCTIONS } from './arena.ts';
import { DYING_ARM64_FUNCTIONS } from './dying-arm64.ts';
import { DOUBLE_FAULT_FUNCTIONS, DYING_X86_FUNCTIONS } from './dying-x86.ts';
import { EXTABLE_SEARCHES, EXTABLE_X86_FUNCTIONS } from './extable.ts';
import { EXTABLE_ARM64_FUNCTIONS } from './extable-arm64.ts';
import { FAULT_ARM64_FUNCTIONS } from './fault-arm64.ts';
import { FAULT_X86_FUNCTIONS, FAULT_X86_QUESTIONS } from './fault-x86.ts';
import { KFENCE_FUNCTIONS } from './kfence.ts';
import { MAP_OP_FUNCTIONS } from './map-ops.ts';
import { MAP_FUNCTIONS } from './maps.ts';
import { MEMORY_FUNCTIONS } from './memory.ts';
import { PGTABLE_FUNCTIONS } from './pgtable.ts';
import { PROG_FUNCTIONS } from './prog.ts';
import { RANGE_TREE_FUNCTIONS } from './range-tree.ts';
import type { Replaceable } from './replaceable.ts';
import { STREAM_FUNCTIONS } from './streams.ts';
import { UNWIND_FUNCTIONS } from './unwind.ts';
import { VMALLOC_FUNCTIONS } from './vmalloc.ts';

export const REPLACEABLE = {
  ...ARENA_FUNCTIONS,
  ...MAP_FUNCTIONS,
  ...MAP_OP_FUNCTIONS,
  ...PROG_FUNCTIONS,
  ...MEMORY_FUNCTIONS,
  ...UNWIND_FUNCTIONS,
  ...KFENCE_FUNCTIONS,
  ...VMALLOC_FUNCTIONS,
  ...PGTABLE_FUNCTIONS,
  ...EXTABLE_SEARCHES,
  ...EXTABLE_X86_FUNCTIONS,
  ...FAULT_X86_FUNCTIONS,
  ...FAULT_X86_QUESTIONS,
  ...DYING_X86_FUNCTIONS,
  ...DOUBLE_FAULT_FUNCTIONS,
  ...RANGE_TREE_FUNCTIONS,
  ...FAULT_ARM64_FUNCTIONS,
  ...DYING_ARM64_FUNCTIONS,
  ...EXTABLE_ARM64_FUNCTIONS,
  ...STREAM_FUNCTIONS,
} as const satisfies Readonly<Record<string, Replaceable>>;

export type ReplaceableName = keyof typeof REPLACEABLE;

export const isReplaceable = (name: string): name is ReplaceableName =>
  Object.hasOwn(REPLACEABLE, name);
