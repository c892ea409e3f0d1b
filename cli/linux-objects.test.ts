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

/** Functions by the object that has them; together, as a kernel would be. */
const GROUPS: Readonly<Record<string, Readonly<Record<string, readonly ReplaceableName[]>>>> = {
  'the callbacks': {
    'kernel/bpf/arena.o': [
      ...(['apply_range_set_cb', 'apply_range_clear_cb'] as const),
      ...(['apply_range_set_scratch_cb', 'existing_page_cb'] as const),
    ],
  },
  'all of range_tree.o and stream.o': {
    'kernel/bpf/range_tree.o': [
      ...(['range_tree_init', 'range_tree_destroy', 'range_tree_find'] as const),
      ...(['range_tree_set', 'range_tree_clear', 'is_range_tree_set'] as const),
    ],
    'kernel/bpf/stream.o': [
      ...(['bpf_stream_stage_init', 'bpf_stream_stage_free', 'bpf_stream_stage_printk'] as const),
      ...(['bpf_stream_stage_dump_stack', 'dump_stack_cb', 'bpf_stream_stage_commit'] as const),
      ...(['bpf_stream_vprintk', 'bpf_prog_stream_read', 'bpf_prog_stream_init'] as const),
    ],
  },
  'all of arena.o': {
    'kernel/bpf/arena.o': [
      ...(['apply_range_set_cb', 'apply_range_clear_cb'] as const),
      ...(['apply_range_set_scratch_cb', 'existing_page_cb'] as const),
      ...(['bpf_arena_handle_page_fault', 'bpf_prog_report_arena_violation'] as const),
      ...(['arena_alloc_pages', 'arena_free_pages', 'arena_vm_fault'] as const),
      ...(['bpf_arena_alloc_pages', 'bpf_arena_alloc_pages_non_sleepable'] as const),
      ...(['bpf_arena_free_pages', 'bpf_arena_free_pages_non_sleepable'] as const),
      'bpf_arena_reserve_pages',
    ],
  },
  'page tables and areas': {
    'mm/memory.o': ['apply_to_page_range', 'apply_to_existing_page_range'],
    'mm/vmalloc.o': ['vmalloc_to_page', 'get_vm_area', 'free_vm_area'],
  },
};

const ALL = Object.values(GROUPS).flatMap((group) => Object.values(group).flat());

/** Scenarios in which this kernel does something else than the series' first kernels, or lies elsewhere, and what. */
const NEWER: Readonly<Record<string, string>> = {
  'stream-oversize.yaml':
    'a print of 1,024 bytes is cut and taken with the NUL that ends it, as in v2',
  't24-free-below-user-range.yaml': 'arena_free_pages() refuses addresses below user_vm_start',
  'object-percpu-x86_64.yaml': 'per-CPU variables of mm/memory.o lie before those of the scenario',
};

/** Worlds that such a kernel can be: its series, its page size, its options. */
const cases = suite.flatMap((file) => {
  if (file in NEWER) return [];
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

const replacing = (world: World, group: Readonly<Record<string, readonly ReplaceableName[]>>) => {
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

/** An expectation that only that bit failed is met. */
const isMet = ({ wanted, got }: { wanted?: unknown; got?: unknown }): boolean => wanted !== got;

/**
 * Flushes of functions that the object has inline: x86 kernels do nothing to a TLB before an entry is set again, and arm64
 * kernels execute TLBI.
 */
const isFlush = (line: string): boolean =>
  /"type":"tlb".*"op":"(?:flush_tlb_before_set|flush_tlb_kernel_range)"/.test(line);

function comparable({ events, steps, compiled }: Seen): Seen {
  return {
    compiled,
    events: events.filter((line) => !isFlush(line)).map(withoutDirty),
    steps: steps.map((line) => {
      const step = JSON.parse(withoutDirty(line));
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
      const linux = comparable(see(host, replacing(world, group), ALL));
      calls.set(part, (calls.get(part) ?? 0) + linux.compiled);
      const differs = difference(model, linux);
      expect(differs && `${part}: ${differs}`).toBeNull();
    }
  });

  it('ran thousands of times', () => {
    // A scenario allocates a few times, and maps an arena once.
    for (const part of Object.keys(GROUPS)) {
      const least = part === 'page tables and areas' ? 300 : 700;
      expect([part, Math.min(calls.get(part)!, least)]).toEqual([part, least]);
    }
  });
});
