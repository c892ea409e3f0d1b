// kernel/bpf/range_tree.c in compiled code.
import type { RangeTree } from '../../../bpf/range-tree.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { RANGE_TREE_FUNCTIONS } from '../functions/range-tree.ts';
import { s32 } from '../guest-calls.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, callNow } from './adapter.ts';

/** Calls a function whose first argument is a tree. @returns the 64 bits of the return register */
function onTree(
  compiled: CompiledFunction,
  rt: RangeTree,
  args: readonly number[],
  unmade = false,
): bigint {
  return compiled.object.state.withTree(rt, unmade, (at) =>
    callNow(compiled, at, ...args.map((arg) => arg >>> 0)),
  );
}

/** Refuses objects before anything runs. @throws CallError for one with another kind of tree */
const known = (compiled: CompiledFunction) => void compiled.object.state.rangeTrees;

export const RANGE_TREE_ADAPTERS: Adapters<typeof RANGE_TREE_FUNCTIONS> = {
  range_tree_init(compiled) {
    known(compiled);
    return {
      rangeTreeInit(rt) {
        onTree(compiled, rt, [], true);
        checkEmpty(compiled, rt);
      },
    };
  },
  range_tree_destroy(compiled) {
    known(compiled);
    return {
      rangeTreeDestroy(rt) {
        onTree(compiled, rt, []);
        checkEmpty(compiled, rt);
      },
    };
  },
  range_tree_find(compiled) {
    known(compiled);
    return {
      rangeTreeFind(rt, len) {
        const found = BigInt.asIntN(64, onTree(compiled, rt, [len]));
        if (found <= 0xffff_ffffn && found >= -4095n) return Number(found);
        throw new KernelStuck(
          `${compiled.name} returns ${hex(found)}, neither a slot nor an errno`,
        );
      },
    };
  },
  range_tree_set(compiled) {
    known(compiled);
    return { rangeTreeSet: (rt, start, len) => s32(onTree(compiled, rt, [start, len])) };
  },
  range_tree_clear(compiled) {
    known(compiled);
    return { rangeTreeClear: (rt, start, len) => s32(onTree(compiled, rt, [start, len])) };
  },
  is_range_tree_set(compiled) {
    known(compiled);
    return { isRangeTreeSet: (rt, start, len) => s32(onTree(compiled, rt, [start, len])) };
  },
  range_it_iter_first(compiled) {
    known(compiled);
    return { rangeItIterFirst: (rt, start, last) => firstIn(compiled, rt, start, last) };
  },
};

function checkEmpty({ name }: CompiledFunction, rt: RangeTree): void {
  const { length } = rt.nodes();
  if (length > 0) throw new KernelStuck(`${name} leaves ${length} nodes in ${rt.label}`);
}

/** @throws KernelStuck for what is no address of a node */
function startAt({ name, object }: CompiledFunction, node: bigint): number {
  try {
    return object.state.rangeTrees.startAt(node);
  } catch (error) {
    if (!(error instanceof KernelStuck)) throw error;
    throw new KernelStuck(`${name} returns ${hex(node)}, where no node is`);
  }
}

/** @returns the first slot of the node that was found. @throws KernelStuck for what overlaps no wanted slot */
function firstIn(
  compiled: CompiledFunction,
  rt: RangeTree,
  start: number,
  last: number,
): number | null {
  const { name, object } = compiled;
  const first = object.state.withTree(rt, false, (at) => {
    const node = callNow(compiled, at, start >>> 0, last >>> 0);
    return node === 0n ? null : startAt(compiled, node);
  });
  if (first === null) return null;
  const found = rt.nodes().find((rn) => rn.start === first);
  if (found !== undefined && found.start <= last && found.last >= start) return first;
  throw new KernelStuck(`${name} returns a node that has none of the slots ${start} to ${last}`);
}
