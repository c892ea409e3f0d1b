// In which version each file of the kernel tree was looked at, for docs/trust.md. A tag that names a file which is not
// here is an error.

const SERIES = 'the patch as posted (v2) and mainline with its follow-ups';
const MERGED = 'mainline with the patch merged';
const RC = '6.17-rc3, which the patch does not touch here';
/** What was compared with the text of this release, whatever it was written from. */
const V7_3 = '7.3';
const KNOWN = 'no text at hand: mainline as generally known';

/** Version by path. A path that ends in a slash stands for all below it; the longest match counts. */
export const KERNEL_SOURCES: Readonly<Record<string, string>> = {
  'kernel/bpf/arena.c': `${SERIES}, both read whole`,
  'kernel/bpf/range_tree.c':
    'the form before kmalloc_nolock() and the one with it; they decide alike',
  'kernel/bpf/stream.c': '6.17 (v2) and the newest form with poll and descriptors (mainline)',
  'kernel/bpf/core.c': `6.17-rc3; bpf_prog_find_from_stack() from mainline`,
  'kernel/bpf/syscall.c': 'mainline, in pieces',
  'kernel/bpf/verifier.c': 'mainline, in pieces',
  'kernel/bpf/rqspinlock.c': KNOWN,
  'kernel/extable.c': RC,
  'kernel/irq_work.c': KNOWN,
  'kernel/workqueue.c': KNOWN,
  'kernel/panic.c': RC,
  'kernel/kallsyms.c': KNOWN,
  'kernel/locking/mutex.c': KNOWN,
  'kernel/module/main.c': KNOWN,
  'lib/dump_stack.c': RC,
  'lib/extable.c': RC,
  'mm/kfence/': RC,
  'mm/memory.c': RC,
  'mm/mmap.c': KNOWN,
  'mm/slub.c': KNOWN,
  'mm/page_alloc.c': KNOWN,
  'mm/vmalloc.c': KNOWN,
  'include/asm-generic/bug.h': KNOWN,
  'include/linux/': KNOWN,
  'include/linux/kfence.h': V7_3,
  'include/linux/pgtable.h': V7_3,
  'tools/objtool/check.c': KNOWN,
  'arch/x86/mm/fault.c': MERGED,
  'arch/x86/mm/extable.c': RC,
  'arch/x86/kernel/cpu/mce/core.c': 'mainline, the function alone',
  'arch/x86/mm/pat/set_memory.c': KNOWN,
  'arch/x86/include/asm/kfence.h': V7_3,
  'arch/x86/mm/tlb.c': V7_3,
  'arch/x86/kernel/': RC,
  'arch/x86/include/asm/pgtable.h': V7_3,
  'arch/x86/include/asm/stacktrace.h': KNOWN,
  'arch/x86/net/bpf_jit_comp.c': 'mainline with the arena fault report, in pieces',
  'arch/arm64/mm/fault.c': MERGED,
  'arch/arm64/mm/extable.c': RC,
  'arch/arm64/kernel/': RC,
  'arch/arm64/include/asm/esr.h': RC,
  'arch/arm64/include/asm/kfence.h': V7_3,
  'arch/arm64/include/asm/pgtable.h': V7_3,
  'arch/arm64/include/asm/tlbflush.h': V7_3,
  'arch/arm64/include/asm/': KNOWN,
  'arch/arm64/net/bpf_jit_comp.c': 'mainline with the arena fault report, in pieces',
};

/** @throws Error for a path of which nobody said in which version it was looked at */
export function sourceOf(path: string): { readonly path: string; readonly version: string } {
  const found = Object.keys(KERNEL_SOURCES)
    .filter((prefix) => path === prefix || (prefix.endsWith('/') && path.startsWith(prefix)))
    .sort((a, b) => b.length - a.length)[0];
  if (found === undefined) throw new Error(`scripts/trust/sources.ts does not know ${path}`);
  return { path: found, version: KERNEL_SOURCES[found] };
}
