// Functions of the model that compiled code cannot replace, and why: what they work on is not in emulated memory, or they are
// no functions of their own in a compiled kernel.

const REFUSALS: readonly (readonly [names: RegExp, reason: string])[] = [
  [/^bpf_prog_stream_free/, 'programs of the model are never unloaded: nothing would call it'],
  [
    /^bpf_map_memcg_/,
    'it changes the memory cgroup of `current`, and the model charges pages to maps without any',
  ],
  [
    /^(?:is_kfence_address|kfence_protect_page)/,
    'compilers put it into its callers: replace those',
  ],
  [
    /^kfence_init_pool/,
    'it takes the pool’s pages from the boot allocator, which the model does not have',
  ],
  [
    /^(?:raw_res_spin|resilient_|mutex_|irq_work_|flush_work)/,
    'locks and queues of the model are no code: schedules wait for them',
  ],
  [
    /^(?:ptep_get$|pte_|pmd_|pud_|pfn_valid|page_mapped|page_ref_|put_page|vma_lookup|untagged_addr|compute_pgoff|clear_lo32|WARN_)/,
    'compilers put it into its callers: replace those',
  ],
  [
    /^(?:zap_vma_range|vma_|finish_fault|mm_get_)/,
    'the model keeps user space’s page tables outside of emulated memory; what it calls for the arena can be replaced',
  ],
  [
    /^(?:alloc_page|__?free_page|kmalloc|kfree)/,
    'the model’s allocators keep their lists and accounts outside of emulated memory; who calls them can be replaced',
  ],
  [
    /^(?:__get_vm_area_node|remove_vm_area)/,
    'the model comes to it through get_vm_area and free_vm_area alone: replace those',
  ],
  [
    /^resolve_pseudo_ldimm64/,
    'the verifier that it is a part of works on bytecode, which programs of scenarios have none of',
  ],
  [
    /^(?:is_ttbr|esr_|pt_regs_|print_pstate|untagged_|get_stack_guard_info)/,
    'compilers put it into its callers: replace those',
  ],
  [/^fault_info$/, 'it is a table, which the object has of its own: replace do_mem_abort'],
  [/^panic_bad_stack/, 'it runs on the CPU’s overflow stack, which the model does not have'],
  [/^sort_extable/, 'tables are sorted when they are loaded, before any code runs'],
  [
    /^lookup_address_in_pgd_attr/,
    'the model does what it does within show_fault_oops, which can be replaced',
  ],
  [
    /^(?:kunwind_|on_stack|ptrauth_strip)/,
    'compilers put it into its callers: replace arch_bpf_stack_walk',
  ],
  [/^unwind_start$/, 'compilers put it into its callers: replace __unwind_start, which it calls'],
  [
    /^(?:update_cfi_state|apply_alternatives|__apply_relocation)/,
    'it has done its work before any code runs: objtool when the object was built, the loader when it was loaded',
  ],
  [
    /^(?:die|oops_exit|panic|show_trace_log_lvl|print_|dump_|sprint_)/,
    'the model writes these last words itself: they are of tasks, modules and versions that no emulated memory holds',
  ],
];

/** Why a function of the model cannot be replaced; null for a name that is none, or one that can. */
export function whyNotReplaceable(name: string): string | null {
  return REFUSALS.find(([names]) => names.test(name))?.[1] ?? null;
}
