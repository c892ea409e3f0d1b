// Callbacks of the arena in compiled C (fixtures/replace), in the place of the model's: over every scenario under
// fixtures/ the events must be the model's, and so must what every step came to. Left out of the comparison is what the
// code itself is made of: instructions, cycles, walks for its own memory, and the lines that tell that it ran.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Event, EventSink } from '../emulator/events.ts';
import type { ObjectFile } from '../testbed/object-file.ts';
import { play } from '../testbed/race-run.ts';
import { REPLACEABLE, type ReplaceableName } from '../testbed/replace/functions/index.ts';
import type { Replaceable } from '../testbed/replace/functions/replaceable.ts';
import { type RunHost, type StepRun, WorldRun } from '../testbed/run.ts';
import { parseScenario, type Scenario, type World } from '../testbed/scenario.ts';
import { chooserOf } from '../testbed/schedule.ts';
import { WatchedRace } from '../testbed/watched-race.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));
export const suite = readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.yaml') && !/^(bad|golden|mutants|replace|litmus)\//.test(file))
  .sort();

export function load(file: string): Scenario {
  const path = join(FIXTURES, file);
  const readFile = (name: string) => readFileSync(resolve(dirname(path), name));
  return parseScenario(readFileSync(path, 'utf8'), relative('.', path), readFile);
}

const objects = new Map<string, ObjectFile>();

/** Functions that are replaced together, and the object that has them. */
interface Group {
  readonly names: readonly ReplaceableName[];
  /** First part of the object's name (fixtures/replace/compile.sh). */
  object(world: World): string;
  /** The object differs where a kernel for arm64 has no ptep_try_set(). */
  readonly triesToSet: boolean;
}

export const GROUPS = {
  CALLBACKS: {
    names: [
      ...(['apply_range_set_cb', 'apply_range_clear_cb'] as const),
      ...(['apply_range_set_scratch_cb', 'existing_page_cb'] as const),
    ],
    object: ({ series }: World) => series,
    triesToSet: true,
  },
  HANDLER: {
    names: ['bpf_arena_handle_page_fault'],
    object: ({ series }: World) => series,
    triesToSet: true,
  },
  REPORTS: {
    names: [
      'bpf_prog_find_from_stack',
      '__bpf_prog_report_arena_violation',
      'bpf_prog_report_arena_violation',
    ],
    object: () => 'report',
    triesToSet: false,
  },
  SYMBOLS: {
    names: [
      ...(['bpf_prog_ksym_find', 'bpf_ksym_find', 'search_bpf_extables'] as const),
      ...(['bpf_ksym_add', 'bpf_ksym_del'] as const),
    ],
    object: () => 'prog',
    triesToSet: false,
  },
  STACKS: {
    names: ['arch_bpf_stack_walk', 'find_from_stack_cb'],
    object: ({ arch, kernel }: World) =>
      arch === 'arm64' || kernel.unwinder === 'orc' ? 'unwind' : 'unwind-no-orc',
    triesToSet: false,
  },
  UNWINDER: {
    names: [
      ...(['__unwind_start', 'unwind_next_frame', 'unwind_get_return_address'] as const),
      ...(['unwind_get_return_address_ptr', 'orc_find', 'get_stack_info'] as const),
    ],
    object: () => 'orc',
    triesToSet: false,
  },
  PAGES: {
    names: [
      ...(['arena_alloc_pages', 'arena_free_pages'] as const),
      ...(['arena_reserve_pages', 'arena_vm_fault'] as const),
      ...(['bpf_arena_alloc_pages', 'bpf_arena_alloc_pages_non_sleepable'] as const),
      ...(['bpf_arena_free_pages', 'bpf_arena_free_pages_non_sleepable'] as const),
      'bpf_arena_reserve_pages',
    ],
    object: ({ series }: World) => `pages-${series}`,
    triesToSet: true,
  },
  MAP: {
    names: [
      ...(['arena_map_alloc', 'arena_map_free', 'populate_pgtable_except_pte'] as const),
      ...(['arena_free_irq', 'arena_free_worker'] as const),
    ],
    object: () => 'map',
    triesToSet: false,
  },
  MMAP: {
    names: [
      ...(['zap_pages', 'arena_get_unmapped_area', 'arena_map_mmap', 'remember_vma'] as const),
      ...(['arena_vm_open', 'arena_vm_close'] as const),
    ],
    object: ({ series }: World) => `mmap-${series}`,
    triesToSet: false,
  },
  MAP_OPS: {
    names: [
      ...(['bpf_map_mmap', 'bpf_arena_alloc_pages_sleepable'] as const),
      ...(['bpf_arena_get_kern_vm_start', 'bpf_arena_get_user_vm_start'] as const),
    ],
    object: ({ series }: World) => `map-ops-${series}`,
    triesToSet: false,
  },
  ACCESSORS: {
    names: [
      ...(['ptep_try_set', 'ptep_get_and_clear'] as const),
      ...(['set_pte_at', 'flush_tlb_before_set'] as const),
    ],
    object: () => 'pgtable',
    triesToSet: true,
  },
  DYING_X86: {
    names: [
      ...(['__die', 'oops_end', 'show_regs', '__show_regs', 'show_opcodes'] as const),
      ...(['handle_stack_overflow', 'exc_double_fault'] as const),
    ],
    object: () => 'dying',
    triesToSet: false,
  },
  EXTABLE_X86: {
    names: [
      ...(['search_exception_tables', 'search_extable', 'fixup_exception'] as const),
      ...(['ex_handler_default', 'ex_handler_fault', 'ex_handler_sgx'] as const),
      ...(['ex_handler_fprestore', 'ex_handler_uaccess', 'ex_handler_imm_reg'] as const),
      ...([
        'ex_handler_zeropad',
        'ex_handler_msr',
        'ex_handler_msr_mce',
        'ex_handler_bpf',
      ] as const),
    ],
    object: () => 'extable',
    triesToSet: false,
  },
  FAULT_X86: {
    names: [
      ...(['exc_page_fault', 'handle_page_fault', 'do_kern_addr_fault'] as const),
      ...(['do_user_addr_fault', 'pgtable_bad', 'bad_area_nosemaphore'] as const),
      ...(['__bad_area_nosemaphore', 'kernelmode_fixup_or_oops', 'page_fault_oops'] as const),
      ...(['fault_in_kernel_space', 'spurious_kernel_fault'] as const),
      ...(['spurious_kernel_fault_check', 'show_fault_oops', 'dump_pagetable'] as const),
    ],
    object: () => 'fault',
    triesToSet: false,
  },
  MEMORY: {
    names: ['apply_to_page_range', 'apply_to_existing_page_range'],
    object: () => 'memory',
    triesToSet: false,
  },
  STREAMS: {
    names: [
      ...(['bpf_stream_stage_init', 'bpf_stream_stage_free', 'bpf_stream_stage_printk'] as const),
      ...(['bpf_stream_stage_dump_stack', 'dump_stack_cb', 'bpf_stream_stage_commit'] as const),
      ...(['bpf_stream_vprintk', 'bpf_stream_get', 'bpf_stream_consume_capacity'] as const),
      ...(['bpf_stream_read', 'bpf_prog_stream_read', 'bpf_prog_stream_init'] as const),
    ],
    object: ({ series }: World) => `stream-${series}`,
    triesToSet: false,
  },
  RANGE_TREE: {
    names: [
      ...(['range_tree_init', 'range_tree_destroy', 'range_tree_find'] as const),
      ...(['range_tree_set', 'range_tree_clear', 'is_range_tree_set'] as const),
      'range_it_iter_first',
    ],
    object: () => 'range-tree',
    triesToSet: false,
  },
  VMALLOC: {
    names: [
      ...(['vmalloc_to_page', 'is_vmalloc_addr', 'get_vm_area'] as const),
      ...(['free_vm_area', 'bpf_map_alloc_pages', 'flush_tlb_kernel_range'] as const),
    ],
    object: () => 'vmalloc',
    triesToSet: false,
  },
  KFENCE: {
    names: [
      ...(['kfence_handle_page_fault', 'kfence_protect', 'kfence_unprotect'] as const),
      ...(['kfence_guarded_alloc', 'kfence_guarded_free', '__kfence_free'] as const),
      ...(['kfence_report_error', 'kfence_print_object'] as const),
    ],
    object: () => 'kfence',
    triesToSet: false,
  },
  FAULT_ARM64: {
    names: [
      ...(['do_mem_abort', 'do_translation_fault', 'do_page_fault', 'do_bad_area'] as const),
      ...(['do_alignment_fault', 'do_tag_check_fault', 'do_sea', 'do_bad'] as const),
      ...(['__do_kernel_fault', 'is_spurious_el1_translation_fault'] as const),
      ...(['is_el1_permission_fault', 'is_el1_mte_sync_tag_check_fault'] as const),
      ...(['die_kernel_fault', 'mem_abort_decode', 'data_abort_decode', 'show_pte'] as const),
    ],
    object: () => 'fault',
    triesToSet: false,
  },
  TRAPS_ARM64: {
    names: [
      ...(['el1_abort', 'esr_get_class_string', 'die'] as const),
      ...(['__show_regs', 'dump_kernel_instr', 'bug_brk_handler'] as const),
    ],
    object: () => 'traps',
    triesToSet: false,
  },
  EXTABLE_ARM64: {
    names: [
      ...(['fixup_exception', 'insn_may_access_user', 'cpy_faulted_on_uaccess'] as const),
      ...(['ex_handler_uaccess_err_zero', 'ex_handler_uaccess_cpy'] as const),
      ...(['ex_handler_load_unaligned_zeropad', 'ex_handler_bpf'] as const),
    ],
    object: () => 'extable',
    triesToSet: false,
  },
} as const satisfies Readonly<Record<string, Group>>;

/** The object that a kernel of the world's configuration would have. */
function objectFor(world: World, level: string, replaced: ReplaceableName): ObjectFile {
  const groups: readonly Group[] = Object.values(GROUPS);
  // Both architectures may have a function of one name, each in a group of its own.
  const { object, triesToSet } = groups.find(
    ({ names }) => names.includes(replaced) && hasAll(world, names),
  )!;
  const without = triesToSet && !world.kernel.contpte ? '-no-ptep-try-set' : '';
  const name = `${object(world)}-${world.arch}-${level}${without}.o`;
  const path = join('fixtures/replace', name);
  const known = objects.get(name) ?? {
    path,
    bytes: new Uint8Array(readFileSync(join(FIXTURES, 'replace', name))),
    library: null,
  };
  objects.set(name, known);
  return known;
}

export const replacing = (
  world: World,
  names: readonly ReplaceableName[],
  level: string,
): World => ({
  ...world,
  kernel: {
    ...world.kernel,
    replace: new Map(names.map((name) => [name, objectFor(world, level, name)])),
  },
});

/** True if a kernel of the world's architecture has the functions. */
export const hasAll = ({ arch }: World, names: readonly ReplaceableName[]): boolean =>
  names.every((name) => ((REPLACEABLE[name] as Replaceable).arch ?? arch) === arch);

/** What a run told, as text line by line, and how often compiled code was called. */
export interface Seen {
  readonly events: readonly string[];
  readonly steps: readonly string[];
  readonly compiled: number;
}

const RAN = 'compiled: ';

/** What of an event is the same whether the model or compiled code does it; null: it is only about the code. */
export function comparable(event: Event, names: readonly string[]): unknown {
  if (event.type === 'insn') return null;
  // Functions of one object call each other unseen.
  if (event.type === 'call' && names.includes(event.fn)) return null;
  // The model tells why it does what it does, and compiled code only that it ran.
  if (event.type === 'decision' && (names.includes(event.fn) || event.text.startsWith(RAN))) {
    return null;
  }
  // The same flush is told by the instruction that makes it.
  if (event.type === 'tlb' && names.includes('flush_tlb_before_set')) return null;
  // The model goes through CPUs, and TLBI through pages.
  if (event.type === 'tlb' && event.op.startsWith('invalidate') && event.cpu > 0) {
    if (names.includes('flush_tlb_kernel_range')) return null;
  }
  // A warning names its place in the source.
  if (event.type === 'printk')
    return { ...event, text: event.text.replace(/^(WARNING: at \S+) .*/, '$1') };
  return event;
}

/** Enough for every scenario that ends, and for one that goes round for ever not too much. */
const MOST_INSTRUCTIONS = 200_000;

export const limited = (world: World): World => ({
  ...world,
  limits: { instructions: Math.min(world.limits.instructions ?? Infinity, MOST_INSTRUCTIONS) },
});

/**
 * Runs a world.
 * @param names functions that are replaced, here or in the run that it is compared with
 * @param prepare does what no scenario can, before the first step
 */
export function see(
  host: RunHost,
  world: World,
  names: readonly ReplaceableName[],
  prepare: (run: WorldRun) => void = () => {},
): Seen {
  const sink = new EventSink();
  const events: string[] = [];
  let compiled = 0;
  sink.read((event) => {
    if (event.type === 'decision' && event.text.startsWith(RAN)) compiled++;
    const told = comparable(event, names);
    if (told !== null) events.push(lineOf(told));
    // Which pages the core asks for again, and when, is its own business.
  }, false);
  const run = new WorldRun(host, world, { events: sink });
  try {
    prepare(run);
    const steps =
      world.form === 'cpus' ? playOnce(run) : run.steps.map((step) => run.runStep(step));
    return { events, steps: steps.map((step) => lineOf(resultOf(step))), compiled };
  } finally {
    run.close();
  }
}

function playOnce(run: WorldRun): readonly StepRun[] {
  const watched = new WatchedRace(run);
  play(watched, chooserOf(run.world.schedule));
  return watched.race.done.flat();
}

function resultOf({ seen, failures }: StepRun): unknown {
  // A function that goes round for ever is told by what it spins on, or by its limit.
  if (seen.kind === 'stuck') return { kind: seen.kind, by: seen.why.split(' ')[0], failures };
  if (seen.kind !== 'call') return { seen, failures };
  const { outcome, ret, oops, instructions, stderr, faults } = seen;
  const list = Array.from({ length: faults.length }, (_, i) => faults.at(i));
  return { outcome, ret, oops, instructions, stderr, list, failures };
}

export const lineOf = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `0x${part.toString(16)}` : part));

/** The first lines in which two runs differ; null if they are equal. */
export function difference(a: Seen, b: Seen): string | null {
  for (const part of ['events', 'steps'] as const) {
    const length = Math.max(a[part].length, b[part].length);
    for (let i = 0; i < length; i++) {
      if (a[part][i] === b[part][i]) continue;
      return `${part}[${i}]\n  model:    ${a[part][i]}\n  compiled: ${b[part][i]}`;
    }
  }
  return null;
}
