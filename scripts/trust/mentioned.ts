// Kernel functions that docstrings name and nothing of ours stands for: why they are named. A function that is neither
// here nor tagged makes scripts/gen-trust.test.ts fail.

export const MENTIONED: Readonly<Record<string, string>> = {
  __cpu_setup: 'sets the paging registers, whose values linuxPagingState() has',
  __kernel_text_address: 'whoever sets a machine up answers it',
  bpf_jit_supports_arena: 'a switch of the scenario',
  bpf_prog_get_file_line: 'line information comes with the scenario',
  do_bad: 'fault_info[] says of whom nobody takes care',
  faulthandler_disabled: 'a switch of the task',
  handle_mm_fault: 'of user faults only those on arenas are modelled',
  in_interrupt: 'only double faults are made in an interrupt',
  init_utsname: 'no built kernel is behind the model',
  irq_work_queue: 'the handler runs at once',
  jit_subprogs: 'no JIT: subprograms come with the scenario',
  llist_add: 'explains the order of freed pages',
  mk_pte: 'a method of each format (`arch/*/pte.ts`)',
  mmap_base: 'where mmap() begins is a constant',
  mmap_read_lock: 'mmap_lock is an exclusive lock here',
  orc_find: 'entries are derived from the code (`arch/x86/orc.ts`)',
  pmd_populate_kernel: 'explains the bits of table entries',
  report_bug: 'its lines stand with the BUG() that is modelled',
  set_memory_valid: 'its entry is that of KFENCE_ARM64',
  unwind_done: 'a field of UnwindState',
  valid_user_address: 'its limit is a constant of exHandlerUaccess()',
};
