// The range tree in compiled code (fixtures/replace/range-tree.c): each function alone and all of them, against the model's
// tree; code that leaves the tree damaged; and compiled arena code with a range tree of its own.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RangeTree } from '../../bpf/range-tree.ts';
import { readLayouts } from '../../emulator/elf/layouts.ts';
import { readElf } from '../../emulator/elf/read.ts';
import { EventSink } from '../../emulator/events.ts';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import { ERRNO, finish, KernelContext, KernelStuck } from '../../mm/context.ts';
import { WorldRun } from '../run.ts';
import { type ArchName, parseScenario } from '../scenario.ts';
import { fixture, loadTestHost, runYaml } from '../test-run.ts';
import { RANGE_TREE_FUNCTIONS } from './functions/range-tree.ts';
import { RbNodes } from './rb-nodes.ts';
import { RbTree, rbBeside, rbDeepest, rbEnd, rbNextPostorder } from './rb-operations.ts';
import { allocate, Structures } from './structures.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const NAMES = Object.keys(RANGE_TREE_FUNCTIONS);
const PAGES = 64;
const host = await loadTestHost();

/** A world with functions replaced, and how often each of them has run. */
function withReplaced(
  arch: ArchName,
  replace: Readonly<Record<string, string>>,
  look: (run: WorldRun, ran: ReadonlyMap<string, number>) => void,
): void {
  const text = `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\narena: {pages: ${PAGES}}\nsteps: [{worker: {}}]`;
  const ran = new Map<string, number>();
  const events = new EventSink();
  events.read((event) => {
    if (event.type !== 'decision' || !event.text.startsWith('compiled: ')) return;
    ran.set(event.fn, (ran.get(event.fn) ?? 0) + 1);
  });
  const { worlds } = parseScenario(text, 'test.yaml', fixture);
  const run = new WorldRun(host, worlds[arch]!, { events });
  try {
    look(run, ran);
  } finally {
    run.close();
  }
}

/** Numbers below `below` that look like chance and are the same in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Does the same to two trees, and compares what comes of it. */
function compare(compiled: RangeTree, model: RangeTree, operations: number, seed: number): void {
  const next = numbers(seed);
  for (let i = 0; i < operations; i++) {
    const start = next(PAGES);
    const len = 1 + next(Math.min(9, PAGES - start));
    const kind = next(7);
    const of = (rt: RangeTree): number => {
      if (kind < 2) return rt.set(start, len);
      if (kind < 5) return rt.clear(start, len);
      return kind === 5 ? rt.isSet(start, len) : rt.find(len);
    };
    expect([i, of(compiled), compiled.fingerprint()]).toEqual([i, of(model), model.fingerprint()]);
  }
}

const objectOf = (arch: ArchName, level: string) => `replace/range-tree-${arch}-${level}.o`;

describe.each(ARCHS)('a compiled range tree (%s)', (arch) => {
  it.each([...NAMES.map((name) => [name]), NAMES])('does what the model’s does: %s', (...names) => {
    const level = names.length % 2 === 0 ? 'O0' : 'O2';
    const replace = Object.fromEntries(names.map((name) => [name, objectOf(arch, level)]));
    withReplaced(arch, replace, (run, ran) => {
      const { rt } = run.kernel.arenas.get('arena')!;
      const model = new RangeTree(new KernelContext(new EventSink(), run.kernel.config));
      model.set(0, PAGES);
      compare(rt, model, names.length > 1 ? 120 : 50, names.length);
      rt.destroy();
      rt.init();
      expect(rt.nodes()).toEqual([]);
      // The compiled functions have their own of it.
      const called = names.filter((name) => names.length === 1 || name !== 'range_it_iter_first');
      for (const name of called) expect([name, ran.get(name)]).toEqual([name, expect.any(Number)]);
    });
  });

  it('finds no memory for the same node', () => {
    const replace = Object.fromEntries(NAMES.map((name) => [name, objectOf(arch, 'O2')]));
    withReplaced(arch, replace, (run) => {
      const { rt } = run.kernel.arenas.get('arena')!;
      const context = new KernelContext(new EventSink(), run.kernel.config);
      const model = new RangeTree(context);
      model.set(0, PAGES);
      for (const nth of [2, 5, 9, 10]) {
        context.inject('range_node', nth, ERRNO.ENOMEM);
        run.kernel.context.inject('range_node', nth, ERRNO.ENOMEM);
      }
      // The model's own has asked for one node already.
      context.failure('range_node');
      run.kernel.context.failure('range_node');
      compare(rt, model, 60, 3);
    });
  });

  it('goes back with a snapshot', () => {
    const replace = Object.fromEntries(NAMES.map((name) => [name, objectOf(arch, 'O2')]));
    withReplaced(arch, replace, (run) => {
      const { rt } = run.kernel.arenas.get('arena')!;
      rt.clear(5, 3);
      const before = rt.fingerprint();
      for (let i = 0; i < 3; i++) {
        run.fork(() => {
          rt.clear(10 + i, 20);
          expect(rt.fingerprint()).not.toBe(before);
        });
        expect(rt.fingerprint()).toBe(before);
        expect(rt.isSet(8, 40)).toBe(0);
      }
    });
  });

  it('shows a mistake: a tree that is not balanced', () => {
    const object = `replace/range-tree-broken-1-${arch}.o`;
    withReplaced(arch, { range_tree_clear: object }, (run) => {
      const { rt } = run.kernel.arenas.get('arena')!;
      expect(() => {
        for (let slot = 1; slot < PAGES; slot += 4) rt.clear(slot, 2);
      }).toThrow(/^range_tree_clear leaves arena->rt with a red node at 0x[0-9a-f]+ where a black/);
    });
  });

  it('shows a mistake: the largest node instead of the best fit', () => {
    const object = `replace/range-tree-broken-2-${arch}.o`;
    const steps = `arena: {pages: 16, alloc: [[4, 1]]}
steps:
  - alloc: {count: 2}
    expect: {result: {page: 0}}`;
    const results = [{}, { range_tree_find: object }].map(
      (replace) =>
        runYaml(
          host,
          `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${steps}`,
          arch,
        ).failures,
    );
    expect(results).toEqual([[], [expect.stringMatching(/^result: .*page: 0.*page: 5/)]]);
  });
});

describe.each(ARCHS)('compiled arena code with a range tree of its own (%s)', (arch) => {
  const object = `replace/pages-with-range-tree-${arch}.o`;
  const steps = `arena: {pages: 32}
steps:
  - alloc: {page: 3, count: 4}
    expect: {result: {page: 3}}
  - alloc: {count: 5}
    expect: {result: {page: 7}}
  - free: {page: 4, count: 2}
    expect: {freed: 2}
  - alloc: {count: 2}
    expect: {result: {page: 4}}
  - alloc: {count: 3}
    expect: {result: {page: 0}}
  - reserve: {page: 20, count: 4}
    expect: {result: 0}
  - alloc: {page: 22, count: 1}
    expect: {result: null}
  - user: {page: 30, access: write, value: 5}
    expect: {result: ok}
  - alloc: {page: 30, count: 1}
    expect: {result: null}
  - destroy: {}
    expect: {leaked: 0}`;
  const ours = ['arena_alloc_pages', 'arena_free_pages', 'arena_reserve_pages', 'arena_vm_fault'];
  const own = Object.fromEntries(ours.map((name) => [name, object]));
  const tree = Object.fromEntries(NAMES.map((name) => [name, objectOf(arch, 'O0')]));
  const half = { range_tree_set: object, range_tree_clear: object };
  it.each([
    ['the model', {}],
    ['its own tree in all of them', own],
    ['and the model’s calls of the tree in another object', { ...own, ...tree }],
    ['in some of them', { arena_alloc_pages: object, ...half }],
    ['in others', { arena_free_pages: object, arena_vm_fault: object }],
  ])('does what the model does: %s', (_, replace) => {
    const text = `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${steps}`;
    expect(runYaml(host, text, arch).failures).toEqual([]);
  });

  it('fails where the scenario wants a node to be missing', () => {
    const failing = `arena: {pages: 32}
inject: [{at: range_node}]
steps:
  - alloc: {page: 3, count: 4}
    expect: {result: null}
  - alloc: {page: 2, count: 1}
    expect: {result: {page: 2}}`;
    for (const replace of [{}, own, tree, { ...own, ...tree }]) {
      const text = `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${failing}`;
      expect(runYaml(host, text, arch).failures).toEqual([]);
    }
  });
});

describe.each(ARCHS)('trees that compiled code walks with the model’s functions (%s)', (arch) => {
  it('are walked both ways, and from below', () => {
    withReplaced(arch, {}, ({ kernel }) => {
      const path = objectOf(arch, 'O2');
      const structures = new Structures(
        kernel,
        readLayouts(readElf(fixture(path))),
        path,
        {} as never,
        {} as never,
      );
      const nodes = new RbNodes(structures);
      const place = structures.virt(allocate(kernel, 0x4000));
      const links = Array.from({ length: 13 }, (_, i) => place + BigInt(0x100 + i * 0x20));
      nodes.memory.write(
        place,
        nodes.build(links, () => {}),
      );
      expect(rbEnd(nodes, place, 'left')).toBe(links[0]);
      expect(rbEnd(nodes, place, 'right')).toBe(links[12]);
      const ahead = links.map((node) => rbBeside(nodes, node, true));
      const back = links.map((node) => rbBeside(nodes, node, false));
      expect(ahead).toEqual([...links.slice(1), 0n]);
      expect(back).toEqual([0n, ...links.slice(0, -1)]);
      const tree = new RbTree(nodes, place);
      const below: bigint[] = [];
      for (let at = rbDeepest(nodes, tree.top); at !== 0n; at = rbNextPostorder(nodes, at)) {
        for (const child of [nodes.left(at), nodes.right(at)]) {
          if (child !== 0n) expect(below).toContain(child);
        }
        below.push(at);
      }
      expect(below.length).toBe(13);
      const stranger = place + 0x1000n;
      tree.replace(links[6], stranger);
      finish(tree.erase(links[3]));
      const left = links.filter((_, i) => i !== 3).with(5, stranger);
      expect(nodes.inOrder(tree.top, () => true)).toEqual(left);
    });
  });
});

const COMPILERS = {
  x86_64: [GCC.x86_64, '-mcmodel=kernel', '-mno-red-zone', '-mno-sse'],
  arm64: [GCC.arm64, '-mgeneral-regs-only', '-mno-outline-atomics'],
};
const folder = mkdtempSync(join(tmpdir(), 'faultline-odd-tree-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

for (const arch of ARCHS) {
  const [compiler, ...flags] = COMPILERS[arch];
  describeWith(compiler, `code that damages the range tree (${arch})`, () => {
    function odd(which: number): string {
      const object = join(folder, `${arch}-${which}.o`);
      const args = ['-c', '-g', '-O2', '-ffreestanding', '-fno-pic', '-fno-stack-protector', '-w'];
      const source = new URL('../../fixtures/replace/odd-range-tree.c', import.meta.url).pathname;
      const made = spawnSync(
        compiler,
        [...flags, ...args, `-DODD=${which}`, source, '-o', object],
        { encoding: 'utf8' },
      );
      expect([made.status, made.stderr]).toEqual([0, '']);
      return object;
    }
    const run = (name: string, which: number) =>
      runYaml(
        host,
        `arch: ${arch}
limits: {instructions: 5000}
kernel: {replace: ${JSON.stringify({ [name]: odd(which) })}}
arena: {pages: 8}
steps: [{alloc: {page: 1, count: 2}}, {free: {page: 1, count: 2}}, {destroy: {}}]`,
        arch,
      ).steps.map(({ seen }) => (seen.kind === 'stuck' ? seen.why : seen.kind));

    it.each([
      [1, /^range_tree_clear leaves arena->rt with the node at 0x[0-9a-f]+ linked twice/],
      [2, /^range_tree_clear leaves arena->rt with a link to 0x1234, where no node is/],
      [3, /^range_tree_clear leaves arena->rt with a link to 0x[0-9a-f]+, where no node is/],
      [4, /^range_tree_clear leaves arena->rt with slots 5 to 3 in one node/],
      [5, /^range_tree_clear leaves arena->rt with 0 nodes by address and 1 by size/],
      [6, /^range_tree_clear ran past its instruction limit/],
      [8, /^range_tree_clear leaves arena->rt with a wrong __rn_subtree_last in the node/],
      [9, /a red-black tree goes round for ever/],
      [10, /^range_tree_clear leaves arena->rt with a link to 0x[0-9a-f]+, where no node is/],
    ])('ends the step, not the process (%i)', (which, why) => {
      const [first, ...others] = run('range_tree_clear', which);
      expect(first).toMatch(why);
      expect(others.length).toBe(2);
    });

    it('and so does a destroy that leaves nodes', () => {
      expect(run('range_tree_destroy', 0)[2]).toMatch(
        /^range_tree_destroy leaves 1 nodes in arena->rt/,
      );
    });

    it.each([
      [12, /while the kernel boots, range_it_iter_first returns 0x1234, where no node is/],
      [0, /while the kernel boots, range_it_iter_first returns a node that has none of the/],
    ])('an arena that cannot be made is told with a remedy (%i)', (which, why) => {
      expect(() => run('range_it_iter_first', which)).toThrow(why);
    });

    it('a slot that is none', () => {
      const object = odd(0);
      withReplaced(arch, { range_tree_find: object }, ({ kernel }) => {
        const { rt } = kernel.arenas.get('arena')!;
        expect(() => rt.find(1)).toThrow(
          /^range_tree_find returns 0x123456789, neither a slot nor an errno/,
        );
      });
    });

    it('a tree that is not cleared is not set again', () => {
      withReplaced(arch, { range_tree_clear: odd(11) }, ({ kernel }) => {
        const { rt } = kernel.arenas.get('arena')!;
        expect(() => rt.set(PAGES - 1, 4)).toThrow(KernelStuck);
      });
    });

    it('an object with another kind of tree is refused', () => {
      expect(() => run('range_tree_clear', 7)).toThrow(
        /struct range_node has no member rb_range_size/,
      );
    });
  });
}
