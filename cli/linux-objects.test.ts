// Linux's own code in the place of the model's: objects of a kernel with the patch, as scripts/build-kernel-objects.ts
// compiles them, over every scenario of that series. The events and results must be the model's; where the two are known to
// differ, this says how.
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ObjectFile } from '../testbed/object-file.ts';
import type { ReplaceableName } from '../testbed/replace/functions/index.ts';
import type { RunHost } from '../testbed/run.ts';
import type { World } from '../testbed/scenario.ts';
import { loadHost } from './host.ts';
import { difference, limited, load, type Seen, see, suite } from './test-replaced.ts';

const CACHE = new URL('../.cache/debian/', import.meta.url).pathname;
const ARCHS = ['x86_64', 'arm64'] as const;
const folderOf = (arch: string): string => `${CACHE}linux-7.3-${arch}/`;
const isThere = ARCHS.every((arch) => existsSync(`${folderOf(arch)}kernel/bpf/arena.o`));

const CALLBACKS = [
  ...(['apply_range_set_cb', 'apply_range_clear_cb'] as const),
  ...(['apply_range_set_scratch_cb', 'existing_page_cb'] as const),
];

/** Functions by the object that has them, of each architecture; together, as a kernel would be. */
type Group = Readonly<Record<string, readonly ReplaceableName[]>>;
type Groups = Readonly<Record<string, Partial<Record<'x86_64' | 'arm64', Group>>>>;

const both = (group: Group) => ({ x86_64: group, arm64: group });

const GROUPS: Groups = {
  callbacks: both({ 'kernel/bpf/arena.o': CALLBACKS }),
  arena: both({
    'kernel/bpf/arena.o': [
      ...CALLBACKS,
      ...(['bpf_arena_handle_page_fault', 'bpf_prog_report_arena_violation'] as const),
      ...(['arena_alloc_pages', 'arena_free_pages', 'arena_vm_fault', 'zap_pages'] as const),
      ...(['arena_map_alloc', 'arena_map_free', 'arena_free_irq', 'arena_free_worker'] as const),
      ...(['arena_get_unmapped_area', 'arena_map_mmap', 'arena_vm_open'] as const),
      ...(['arena_vm_close', 'bpf_arena_alloc_pages'] as const),
      ...(['bpf_arena_alloc_pages_non_sleepable', 'bpf_arena_free_pages'] as const),
      ...(['bpf_arena_free_pages_non_sleepable', 'bpf_arena_reserve_pages'] as const),
    ],
    'kernel/bpf/range_tree.o': [
      ...(['range_tree_init', 'range_tree_destroy', 'range_tree_find'] as const),
      ...(['range_tree_set', 'range_tree_clear', 'is_range_tree_set'] as const),
    ],
    'kernel/bpf/stream.o': [
      ...(['bpf_stream_stage_init', 'bpf_stream_stage_free', 'bpf_stream_stage_printk'] as const),
      ...(['bpf_stream_stage_dump_stack', 'dump_stack_cb', 'bpf_stream_stage_commit'] as const),
      ...(['bpf_stream_vprintk', 'bpf_prog_stream_read', 'bpf_prog_stream_init'] as const),
    ],
  }),
  'what the arena stands on': both({
    'kernel/bpf/core.o': [
      ...(['bpf_prog_find_from_stack', 'bpf_prog_ksym_find', 'bpf_ksym_find'] as const),
      ...(['search_bpf_extables', 'bpf_ksym_add', 'bpf_ksym_del'] as const),
    ],
    'mm/memory.o': ['apply_to_page_range', 'apply_to_existing_page_range'],
    'mm/vmalloc.o': ['vmalloc_to_page', 'get_vm_area', 'free_vm_area'],
  }),
  'the fault path': {
    x86_64: {
      'arch/x86/mm/fault.o': [
        ...(['exc_page_fault', 'do_kern_addr_fault', 'do_user_addr_fault'] as const),
        ...(['bad_area_nosemaphore', '__bad_area_nosemaphore', 'page_fault_oops'] as const),
        ...(['spurious_kernel_fault', 'spurious_kernel_fault_check'] as const),
        ...(['fault_in_kernel_space', 'pgtable_bad', 'dump_pagetable'] as const),
      ],
      'arch/x86/mm/extable.o': [
        ...(['fixup_exception', 'ex_handler_uaccess', 'ex_handler_zeropad'] as const),
        'ex_handler_msr',
      ],
      // Without ex_handler_bpf: in entries of its JIT a bit says whether the access is a write.
      'lib/extable.o': ['search_extable'],
    },
    arm64: {
      'arch/arm64/mm/fault.o': [
        ...(['do_mem_abort', 'do_translation_fault', 'do_page_fault', 'do_bad_area'] as const),
        ...(['do_alignment_fault', 'do_tag_check_fault', 'do_sea', 'do_bad'] as const),
        ...(['__do_kernel_fault', 'die_kernel_fault'] as const),
      ],
      'arch/arm64/mm/extable.o': ['fixup_exception', 'insn_may_access_user'],
      'arch/arm64/net/bpf_jit_comp.o': ['ex_handler_bpf'],
      'lib/extable.o': ['search_extable'],
    },
  },
};

/** Functions that the compiler put into others: nobody tells that they are entered, and what they print the others do. */
const INLINED = {
  handle_page_fault: 'exc_page_fault',
  kernelmode_fixup_or_oops: '__bad_area_nosemaphore',
  show_fault_oops: 'page_fault_oops',
  mem_abort_decode: 'die_kernel_fault',
  data_abort_decode: 'die_kernel_fault',
  show_pte: 'die_kernel_fault',
  is_spurious_el1_translation_fault: '__do_kernel_fault',
} satisfies Partial<Record<ReplaceableName, ReplaceableName>>;

const ALL = Object.values(GROUPS)
  .flatMap((group) => Object.values(group).flatMap((objects) => Object.values(objects).flat()))
  .concat(Object.keys(INLINED) as ReplaceableName[]);

/** Scenarios in which this kernel does something else than the model, and what. */
const DIFFERENT: Readonly<Record<string, string>> = {
  'stream-oversize.yaml':
    'a print of 1,024 bytes is cut and taken with the NUL that ends it, as in v2',
  'object-percpu-x86_64.yaml': 'per-CPU variables of the objects lie before those of the scenario',
  't24-free-below-user-range.yaml': 'arena_free_pages() refuses addresses below user_vm_start',
};

/** Worlds that such a kernel can be: its series, its page size, its options. */
const cases = suite.flatMap((file) => {
  if (file in DIFFERENT) return [];
  const scenario = load(file);
  return scenario.archs
    .map((arch) => ({ file, arch, world: limited(scenario.worlds[arch]!) }))
    .filter(({ world: { kernel, memory, series } }) => {
      const { contpte, pageSize } = kernel;
      return series === 'mainline' && pageSize === 4096 && contpte && !memory.startsWith('vmsa');
    });
});

const objects = new Map<string, ObjectFile>();

function objectAt(path: string): ObjectFile {
  const known = objects.get(path) ?? { path, bytes: readFileSync(path), library: null };
  objects.set(path, known);
  return known;
}

const replacing = (world: World, group: Group): World => {
  const replace = new Map(
    Object.entries(group).flatMap(([object, names]) =>
      names.map((name): [ReplaceableName, ObjectFile] => {
        return [name, objectAt(folderOf(world.arch) + object)];
      }),
    ),
  );
  return { ...world, kernel: { ...world.kernel, replace } };
};

/** What has PTE_DIRTY set has not: arm64 kernels map their own memory with it from 6.12 on, and nobody asks for it. */
const withoutDirty = (text: string): string =>
  text.replace(/(0x|\b00)e8(?=[0-9a-f]{12}\b)/g, '$168');

/** arm64 kernels of today print Xs only where ISV says that it is valid. */
const withoutXs = (text: string): string => text.replace(/(DirtyBit = \d), Xs = 0/g, '$1');

/** An expectation that only that bit failed is met. */
const isMet = ({ wanted, got }: { wanted?: unknown; got?: unknown }): boolean => wanted !== got;

/**
 * Flushes of functions that the object has inline: x86 kernels do nothing to a TLB before an entry is set again, and arm64
 * kernels execute TLBI. And the warning that arm64's give with the line on a spurious fault.
 */
const isLeftOut = (line: string): boolean =>
  /"WARNING: at __do_kernel_fault"/.test(line) ||
  /"type":"tlb".*"op":"(?:flush_tlb_before_set|flush_tlb_kernel_range)"/.test(line);

const byCaller = (text: string): string =>
  text.replace(/"by":"(\w+)"/, (whole, by: string) => {
    return by in INLINED ? `"by":"${INLINED[by as keyof typeof INLINED]}"` : whole;
  });

function comparable({ events, steps, compiled }: Seen): Seen {
  return {
    compiled,
    events: events
      .filter((line) => !isLeftOut(line))
      .map((line) => byCaller(withoutXs(withoutDirty(line)))),
    steps: steps.map((line) => {
      const step = JSON.parse(withoutXs(withoutDirty(line)));
      return JSON.stringify({ ...step, failures: step.failures.filter(isMet) });
    }),
  };
}

describe('Linux 7.3 in the place of the model', () => {
  if (!isThere) {
    it.skip(
      'its objects are not here: npx tsx scripts/build-kernel-objects.ts as root compiles them',
    );
    return;
  }
  let host: RunHost;
  const calls = new Map<string, number>();
  beforeAll(async () => {
    host = await loadHost();
  });

  it.each(cases)('$file $arch', ({ world }) => {
    const model = comparable(see(host, world, ALL));
    for (const [part, group] of Object.entries(GROUPS)) {
      const own = group[world.arch];
      if (own === undefined) continue;
      const linux = comparable(see(host, replacing(world, own), ALL));
      calls.set(part, (calls.get(part) ?? 0) + linux.compiled);
      const differs = difference(model, linux);
      expect(differs && `${part}: ${differs}`).toBeNull();
    }
  });

  it('ran thousands of times', () => {
    for (const part of Object.keys(GROUPS))
      expect([part, calls.get(part)! > 700]).toEqual([part, true]);
  });
});
