// Programs and their symbols in compiled code.
import type { BpfKsym } from '../../../bpf/prog.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import { CallError } from '../../call-error.ts';
import type { Kernel } from '../../kernel.ts';
import type { PROG_FUNCTIONS } from '../functions/prog.ts';
import { bool } from '../guest-calls.ts';
import type { KsymTree } from '../ksym-tree.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapters, call, callNow } from './adapter.ts';

const EXTABLE_ENTRY_SIZE = 12;
/** Where in a CPU's last page for what functions are handed struct walk_stack_ctx lies. */
const CONTEXT_OFFSET = 0xc00;

export const PROG_ADAPTERS: Adapters<typeof PROG_FUNCTIONS> = {
  bpf_prog_find_from_stack: (compiled) => ({
    *bpfProgFindFromStack() {
      return progAt(compiled, yield* call(compiled));
    },
  }),
  find_from_stack_cb(compiled, kernel) {
    const { structures, hand } = compiled.object;
    const prog = structures.layout('walk_stack_ctx').members.get('prog')?.offset ?? 0;
    return {
      findFromStackCb(frames) {
        const context = hand[kernel.context.cpu] + 2 * kernel.pageSize + CONTEXT_OFFSET;
        kernel.ram.write64(context + prog, 0n);
        for (const { ip, sp, bp } of frames) {
          if (!bool(callNow(compiled, structures.virt(context), ip, sp, bp))) break;
        }
        return progAt(compiled, kernel.ram.read64(context + prog));
      },
    };
  },
  bpf_prog_ksym_find: (compiled) => ({
    bpfProgKsymFind: (ip) => progAt(compiled, callNow(compiled, ip)),
  }),
  bpf_ksym_find(compiled) {
    treeOf(compiled);
    return {
      bpfKsymFind(ip) {
        const found = callNow(compiled, ip);
        return found === 0n ? null : known(compiled, found, compiled.object.ksyms.at(found));
      },
    };
  },
  search_bpf_extables: (compiled, kernel) => ({
    searchBpfExtables(ip) {
      const found = callNow(compiled, ip);
      if (found === 0n) return null;
      const bytes = kernel.memory.read(virtAddr(found), EXTABLE_ENTRY_SIZE);
      const entry = bytes && kernel.arch.searchExtable(bytes, virtAddr(found), ip);
      return known(compiled, found, entry);
    },
  }),
  bpf_ksym_add(compiled, kernel) {
    const tree = treeOf(compiled);
    return { bpfKsymAdd: (ksym) => changing(kernel, compiled, tree, ksym) };
  },
  bpf_ksym_del(compiled, kernel) {
    const tree = treeOf(compiled);
    return { bpfKsymDel: (ksym) => changing(kernel, compiled, tree, ksym) };
  },
};

/** @throws CallError for an object without a tree of symbols */
function treeOf({ name, object: { ksymTree, path } }: CompiledFunction): KsymTree {
  if (ksymTree !== null) return ksymTree;
  throw new CallError(
    `${path}: has no variable bpf_tree, in which ${name} keeps the symbols of programs`,
    'compile the whole of kernel/bpf/core.c, or define it: static struct latch_tree_root bpf_tree',
  );
}

const progAt = (compiled: CompiledFunction, found: bigint) =>
  found === 0n ? null : known(compiled, found, compiled.object.structures.progAt(found));

/** @throws KernelStuck for an address at which the model has nothing */
function known<T>({ name }: CompiledFunction, found: bigint, what: T | null): T {
  if (what !== null) return what;
  throw new KernelStuck(`${name} finds ${hex(found)}, which the model did not give out`);
}

/**
 * Calls what adds a symbol to the object's tree, or takes it out. A program cannot be loaded without it.
 * @returns what the tree then holds
 * @throws CallError for code that does not come back, or leaves no tree
 */
function changing(
  kernel: Kernel,
  compiled: CompiledFunction,
  tree: KsymTree,
  ksym: BpfKsym,
): BpfKsym[] {
  const { ksyms } = kernel.bpf;
  const { object, name } = compiled;
  try {
    tree.lay();
    const isNew = !ksyms.all().includes(ksym);
    const at = isNew ? tree.place(ksym) : object.ksyms.address(ksym)!;
    callNow(compiled, at);
    return tree.takeOver([...ksyms.all(), ksym], name);
  } catch (error) {
    if (!(error instanceof KernelStuck)) throw error;
    throw new CallError(
      error.message,
      `a program's image is loaded and unloaded with ${name}: mend it, or leave it out of --replace`,
    );
  }
}
