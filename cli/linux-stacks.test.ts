// Linux's own stack walks and symbols of programs in the place of the model's, out of the objects of
// scripts/build-kernel-objects.ts: reports and recovery must be the model's over every scenario.
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ObjectFile } from '../testbed/object-file.ts';
import type { ReplaceableName } from '../testbed/replace/functions/index.ts';
import type { RunHost } from '../testbed/run.ts';
import type { ArchName, World } from '../testbed/scenario.ts';
import { loadHost } from './host.ts';
import { difference, limited, load, see, suite } from './test-replaced.ts';

const CACHE = new URL('../.cache/debian/', import.meta.url).pathname;
const CORE = 'kernel/bpf/core.o';
const ORC = 'arch/x86/kernel/unwind_orc.o';

/** Functions by the object that has them. */
const OBJECTS: Readonly<Record<ArchName, Readonly<Record<string, readonly ReplaceableName[]>>>> = {
  x86_64: {
    'arch/x86/net/bpf_jit_comp.o': ['arch_bpf_stack_walk'],
    [ORC]: ['__unwind_start', 'unwind_next_frame', 'unwind_get_return_address'],
  },
  arm64: { 'arch/arm64/kernel/stacktrace.o': ['arch_bpf_stack_walk'] },
};
const SYMBOLS: readonly ReplaceableName[] = [
  ...(['bpf_prog_find_from_stack', 'find_from_stack_cb', 'bpf_prog_ksym_find'] as const),
  ...(['bpf_ksym_find', 'search_bpf_extables', 'bpf_ksym_add', 'bpf_ksym_del'] as const),
];

/** core.o has per-CPU variables, and so does this scenario, which then come to lie behind them. */
const ELSEWHERE = /^object-percpu-/;

const objects = new Map<string, ObjectFile>();
function objectAt(path: string): ObjectFile {
  const known = objects.get(path) ?? { path, bytes: readFileSync(path), library: null };
  objects.set(path, known);
  return known;
}

for (const arch of ['x86_64', 'arm64'] as const) {
  const folder = `${CACHE}linux-7.3-${arch}/`;
  const parts = { ...OBJECTS[arch], [CORE]: SYMBOLS };
  const names = Object.values(parts).flat();
  const replacing = (world: World): World => {
    const replace = new Map(
      Object.entries(parts).flatMap(([object, all]) =>
        all.map((name) => [name, objectAt(folder + object)] as const),
      ),
    );
    return { ...world, kernel: { ...world.kernel, replace } };
  };

  describe(`stack walks of Linux 7.3 (${arch})`, () => {
    if (!existsSync(folder + CORE)) {
      it.skip('its objects are not here: npx tsx scripts/build-kernel-objects.ts compiles them');
      return;
    }
    let host: RunHost;
    let compiled = 0;
    beforeAll(async () => {
      host = await loadHost();
    });
    const cases = suite.flatMap((file) => {
      const world = load(file).worlds[arch];
      if (world === undefined || ELSEWHERE.test(file) || world.memory.startsWith('vmsa')) return [];
      // The objects are of a kernel with pages of 4 KiB and the ORC unwinder.
      const { pageSize, unwinder } = world.kernel;
      const fits = pageSize === 4096 && (arch === 'arm64' || unwinder === 'orc');
      return fits ? [{ file, world: limited(world) }] : [];
    });

    it.each(cases)('$file', ({ world }) => {
      const linux = see(host, replacing(world), names);
      compiled += linux.compiled;
      expect(difference(see(host, world, names), linux)).toBeNull();
    });

    it('ran it a thousand times', () => {
      expect(compiled).toBeGreaterThan(1000);
    });
  });
}
