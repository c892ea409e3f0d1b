// The steps of the arena's kernel paths that a mutant may replace, by the kernel function they stand in, and what may
// stand in their place. The paths ask KernelContext.replaced() where a step is due.

export interface NamedStep {
  /** What stands in its place, and what then happens. */
  readonly instead: Readonly<Record<string, string>>;
  /** Series that have the step. */
  readonly series?: 'v2' | 'mainline';
}

export const NAMED_STEPS: Readonly<Record<string, NamedStep>> = {
  'bpf_arena_handle_page_fault/range': {
    instead: {
      with_lower_guard: 'recovers from kern_vm_start - GUARD_SZ / 2 on',
      without_upper_guard: 'recovers 4 GiB and no guard',
    },
  },
  'bpf_arena_handle_page_fault/lock': {
    instead: { take: 'takes arena->spinlock around the install; no lock, no recovery' },
  },
  'bpf_arena_handle_page_fault/report': {
    instead: {
      before_install: 'reports before the entry is looked at',
      skip: 'reports nothing',
      twice: 'reports twice',
    },
  },
  'apply_range_set_scratch_cb/pte_none': { instead: { always: 'takes every entry for none' } },
  'apply_range_set_scratch_cb/ptep_try_set': {
    instead: { set_pte_at: 'stores without comparing', skip: 'installs nothing' },
  },
  'apply_range_set_cb/pte_none': {
    instead: { always: 'takes every entry for none' },
    series: 'v2',
  },
  'apply_range_set_cb/ptep_try_set': {
    instead: { set_pte_at: 'tests for none, then stores, as v2 does' },
    series: 'mainline',
  },
  'apply_range_set_cb/ptep_get_and_clear': {
    instead: { set_pte_at: 'stores the new entry over the scratch page' },
    series: 'mainline',
  },
  'apply_range_set_cb/flush_tlb_before_set': {
    instead: { skip: 'makes the new entry without invalidating the old' },
    series: 'mainline',
  },
  'apply_range_clear_cb/ptep_get_and_clear': {
    instead: { ptep_get_then_clear: 'reads the entry and clears it in two steps' },
  },
  'apply_range_clear_cb/is_scratch': { instead: { never: 'collects the scratch page as well' } },
  'existing_page_cb/is_scratch': { instead: { never: 'frees the scratch page as well' } },
  'arena_free_pages/flush_tlb_kernel_range': { instead: { skip: 'flushes nothing' } },
  'arena_free_pages/free_page': { instead: { before_flush: 'frees the pages before the flush' } },
  'arena_free_pages/lock': { instead: { skip: 'clears without the lock' } },
  'arena_free_worker/lock': { instead: { skip: 'clears without the lock' } },
  'arena_free_worker/flush_tlb_kernel_range': { instead: { skip: 'flushes nothing' } },
  'arena_map_free/free_scratch': {
    instead: { skip: 'does not free the scratch page', twice: 'frees it twice' },
  },
};
