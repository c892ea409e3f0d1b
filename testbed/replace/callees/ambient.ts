// What any kernel code may call and what does nothing here: nothing is traced, no cgroup is
// charged, and no entry of the model's page tables is contiguous with others.
import type { Callee } from '../guest-calls.ts';
import { plain } from './index.ts';

/** Functions that return nothing, or what nobody looks at. */
const DO_NOTHING = [
  ...['__rcu_read_lock', '__rcu_read_unlock', 'rcu_read_unlock_strict'],
  ...['migrate_disable', 'migrate_enable'],
  ...['lruvec_stat_mod_folio', '__mod_lruvec_page_state', 'mod_lruvec_page_state'],
  ...['__perf_sw_event'],
  ...['__mmap_lock_do_trace_start_locking', '__mmap_lock_do_trace_acquire_returned'],
  ...['__mmap_lock_do_trace_released', '__contpte_try_unfold'],
  ...['__vma_start_write'],
];

export const ambientCallees = (): [string, Callee][] => [
  ...DO_NOTHING.map((name): [string, Callee] => [name, plain(() => null)]),
  // The entry as it was read: there is nothing to gather.
  ['contpte_ptep_get', plain((argument) => argument(1))],
];
