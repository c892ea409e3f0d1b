// In which version each file of the kernel tree was looked at, for docs/trust.md. A tag that names a file which is not
// here is an error.

const SERIES = 'the patch as posted (v2), mainline with its follow-ups, and 7.3, all read whole';
const MERGED = 'mainline with the patch merged, and 7.3';
const RC = '6.17-rc3, which the patch does not touch here, and 7.3';
const V7_3 = '7.3';

/** Version by path. A path that ends in a slash stands for all below it; the longest match counts. */
export const KERNEL_SOURCES: Readonly<Record<string, string>> = {
  'kernel/bpf/arena.c': SERIES,
  'kernel/bpf/range_tree.c':
    'the form before kmalloc_nolock() and the one with it, which 7.3 has; they decide alike',
  'kernel/bpf/stream.c':
    '6.17 (v2) and the newest form with poll and descriptors (mainline); 7.3 has the form of 6.17',
  'kernel/bpf/core.c': `6.17-rc3 and 7.3; bpf_prog_find_from_stack() from mainline`,
  'kernel/bpf/syscall.c': 'mainline, in pieces, and 7.3',
  'kernel/bpf/verifier.c': 'mainline, in pieces, and 7.3',
  'kernel/extable.c': RC,
  'kernel/irq_work.c': V7_3,
  'kernel/workqueue.c': V7_3,
  'kernel/panic.c': RC,
  'kernel/kallsyms.c': V7_3,
  'kernel/locking/mutex.c': V7_3,
  'kernel/module/main.c': V7_3,
  'lib/dump_stack.c': RC,
  'lib/extable.c': RC,
  'mm/kfence/': RC,
  'mm/memory.c': RC,
  'mm/mmap.c': V7_3,
  'mm/slub.c': V7_3,
  'mm/page_alloc.c': V7_3,
  'mm/vmalloc.c': V7_3,
  'include/asm-generic/': V7_3,
  'include/linux/': V7_3,
  'tools/objtool/check.c': V7_3,
  'arch/x86/mm/fault.c': MERGED,
  'arch/x86/mm/extable.c': RC,
  'arch/x86/kernel/cpu/mce/core.c': 'mainline, the function alone, and 7.3',
  'arch/x86/mm/pat/set_memory.c': V7_3,
  'arch/x86/mm/tlb.c': V7_3,
  'arch/x86/kernel/': RC,
  'arch/x86/include/asm/': V7_3,
  'arch/x86/net/bpf_jit_comp.c': 'mainline with the arena fault report, in pieces, and 7.3',
  'arch/arm64/mm/fault.c': MERGED,
  'arch/arm64/mm/extable.c': RC,
  'arch/arm64/kernel/': RC,
  'arch/arm64/include/asm/': V7_3,
  'arch/arm64/include/asm/esr.h': RC,
  'arch/arm64/net/bpf_jit_comp.c': 'mainline with the arena fault report, in pieces, and 7.3',
};

/** @throws Error for a path of which nobody said in which version it was looked at */
export function sourceOf(path: string): { readonly path: string; readonly version: string } {
  const found = Object.keys(KERNEL_SOURCES)
    .filter((prefix) => path === prefix || (prefix.endsWith('/') && path.startsWith(prefix)))
    .sort((a, b) => b.length - a.length)[0];
  if (found === undefined) throw new Error(`scripts/trust/sources.ts does not know ${path}`);
  return { path: found, version: KERNEL_SOURCES[found] };
}
