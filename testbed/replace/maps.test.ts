// The map, its mappings and its worker in compiled code: each function alone, what no scenario of the suite comes to, mistakes
// that must show, and code that is wrong.
import { describe, expect, it } from 'vitest';
import {
  ARENA_MAP_OPS,
  arenaMapAlloc,
  arenaMapDirectValueAddr,
  arenaMapMemUsage,
  arenaMapOp,
  BpfArena,
} from '../../bpf/arena.ts';
import {
  arenaGetUnmappedArea,
  arenaMmap,
  arenaMunmap,
  arenaVmClose,
  arenaVmMaySplit,
  arenaVmMremap,
  arenaVmOpen,
} from '../../bpf/arena-mmap.ts';
import { bpfArenaAllocPagesSleepable } from '../../bpf/kfuncs.ts';
import { BpfProg, resolveArena } from '../../bpf/prog.ts';
import { UserMm, type Vma } from '../../bpf/user-mm.ts';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import { finish, KernelStuck } from '../../mm/context.ts';
import type { CallSeen } from '../call.ts';
import type { WorldRun } from '../run.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { MAP_OP_FUNCTIONS } from './functions/map-ops.ts';
import { MAP_FUNCTIONS } from './functions/maps.ts';
import { compiler } from './test-compile.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const SERIES = ['v2', 'mainline'];
const host = await loadTestHost();
const compile = compiler();

const MAP = ['arena_map_alloc', 'arena_map_free', 'populate_pgtable_except_pte'];
const WORK = ['arena_free_irq', 'arena_free_worker'];
const NAMES = [...Object.keys(MAP_FUNCTIONS), ...Object.keys(MAP_OP_FUNCTIONS)];

function sourceOf(name: string): string {
  if (name in MAP_OP_FUNCTIONS) return 'map-ops.c';
  return [...MAP, ...WORK].includes(name) ? 'map.c' : 'mmap.c';
}

const objectOf = (arch: ArchName, name: string, series: string, level: string): string => {
  const part = sourceOf(name).replace('.c', '');
  return `replace/${part}${part === 'map' ? '' : `-${series}`}-${arch}-${level}.o`;
};

const run = (
  arch: ArchName,
  series: string,
  replace: Record<string, string>,
  text: string,
  look?: (run: WorldRun) => void,
): TestRun =>
  runYaml(
    host,
    `arch: ${arch}\nseries: ${series}\nkernel: {replace: ${JSON.stringify(replace)}}\n${text}`,
    arch,
    look,
  );

/** All that the functions are for: mapped and unmapped pages, freed now and later, arenas made and refused. */
const LIFE = `arena: {pages: 64, alloc: [[0, 8]]}
steps:
  - user: {page: 0, access: write, value: 7}
  - user: {page: 3, access: write, value: 8}
  - user: {page: 20, access: read}
  - free: {page: 0, count: 3}
  - user: {page: 0, access: read}
  - free: {page: 3, count: 1, sleepable: false}
  - free: {page: 4, count: 2, sleepable: false}
  - user: {page: 3, access: read}
  - worker: {}
  - user: {page: 3, access: read}
  - alloc: {page: 4, count: 2}
  - alloc: {count: 6}
  - create: {pages: 0}
  - create: {pages: 4, key_size: 4}
  - create: {pages: 4, flags: 0}
  - create: {pages: 4, user_vm_start: 0x7f0000000001}
  - create: {pages: 0x100001}
  - create: {pages: 2, user_vm_start: 0x7f7dfffff000}
  - create: {pages: 4}
  - free: {page: 6, count: 1, sleepable: false}
  - destroy: {}
  - create: {pages: 4}`;

/** What user space may ask for that no step does, and what it comes to. */
function asks({ kernel }: WorldRun): unknown[] {
  const { bpf } = kernel;
  const free = { maxEntries: 16, mapFlags: 1 << 10, mapExtra: 0n };
  const arena = arenaMapAlloc(bpf, free, { name: 'open' });
  if (!(arena instanceof BpfArena)) throw new Error('no arena');
  const at = (addr: bigint) => () => addr;
  const area = (addr: bigint, len: bigint, pgoff: number, found: bigint) =>
    finish(arenaGetUnmappedArea(arena, addr, len, pgoff, at(found)));
  const areas = () => [
    area(0n, 0x1_0000_0000n, 0, 0x7f12_3456_7000n),
    area(0n, 0x2000n, 0, 0x7f12_ffff_f000n),
    area(0n, 0x2000n, 0, 0x7f12_0000_0000n),
    area(0n, 0x1_0000_0001n, 0, 0x7f12_0000_0000n),
    area(0n, 0x2000n, 1, 0x7f12_0000_0000n),
    area(0n, 0x2000n, 0, -12n),
  ];
  const seen: unknown[] = [areas()];
  const [mm, other] = [new UserMm('one'), new UserMm('other')];
  const map = (who: UserMm, addr: bigint, len: bigint) => {
    const vma = finish(arenaMmap(arena, who, { addr, len }));
    return typeof vma === 'number' ? vma : [vma.start, vma.end, vma.vml?.mmapCount];
  };
  seen.push(map(mm, 0n, 0x10000n), [arena.userVmStart, arena.userVmEnd, arena.vmaList.length]);
  seen.push(areas());
  seen.push(map(other, arena.userVmStart, 0x8000n), map(other, arena.userVmStart, 0x10000n));
  const [newest, oldest] = arena.vmaList.map(({ vma }) => vma);
  seen.push([newest.mm.name, oldest.mm.name]);
  finish(arenaVmOpen(oldest));
  seen.push(oldest.vml?.mmapCount);
  finish(arenaVmClose(oldest));
  seen.push([arena.vmaList.length, oldest.vml?.mmapCount]);
  const close = (vma: Vma) => {
    finish(arenaMunmap(vma));
    seen.push([arena.vmaList.map((one) => one.vma.mm.name), vma.vml]);
  };
  close(oldest);
  close(newest);
  kernel.context.inject('vma', 1, -12);
  seen.push(map(mm, arena.userVmStart, 0x10000n), arena.vmaList.length, arena.lock.holder);
  return seen;
}

/** Operations that no step asks for. */
function answers({ kernel }: WorldRun): unknown[] {
  const arena = kernel.arenas.get('arena')!;
  const vma = finish(arenaMmap(arena, new UserMm('reader'), mapOf(arena))) as Vma;
  const size = Number(arena.userVmEnd - arena.userVmStart);
  const refused = [{ shared: false }, { frozen: true }, { frozen: true, write: false }].map(
    (how) => {
      const done = finish(arenaMmap(arena, new UserMm('other'), { ...mapOf(arena), ...how }));
      return typeof done === 'number' ? done : 0;
    },
  );
  return [
    Object.keys(ARENA_MAP_OPS).map((op) => arenaMapOp(arena, op as keyof typeof ARENA_MAP_OPS)),
    [0, size - 1, size].map((off) => arenaMapDirectValueAddr(arena, off)),
    arenaMapMemUsage(arena),
    [arenaVmMaySplit(vma, vma.start + 4096n), arenaVmMremap(vma)],
    refused,
    finish(bpfArenaAllocPagesSleepable(arena, 0n, 2)),
    resolveArena(new BpfProg('p', null), arena),
  ];
}

const mapOf = ({ userVmStart, userVmEnd }: BpfArena) => ({
  addr: userVmStart,
  len: userVmEnd - userVmStart,
});

/** Arenas that are refused late, and what is left of them. */
function refused({ kernel }: WorldRun): unknown[] {
  const { bpf, context, pages } = kernel;
  const attr = { maxEntries: 16, mapFlags: 1 << 10, mapExtra: 0n };
  const make = () => {
    const made = arenaMapAlloc(bpf, attr);
    return made instanceof BpfArena ? made.kernVmStart : made;
  };
  const points = ['map_area', 'alloc_page', 'range_node', 'populate'] as const;
  const seen: unknown[] = points.map((point) => {
    context.inject(point, 1, -12);
    const held = pages.outstanding();
    return [point, make(), held.get('scratch page'), held.get('arena page')];
  });
  seen.push(arenaMapAlloc(bpf, attr, { jitSupportsArena: false }), make());
  return seen;
}

/** A program's write to an empty page. */
const RECOVERED = `arena: {pages: 64, alloc: [[0, 3]]}
code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}
args: [{arena: 0x5000}, 7]`;

const plain = (log: readonly string[]) =>
  log.map((line) => line.replace(/^(WARNING: at \S+) .*/, '$1'));

/** What a run came to. */
function outcome(
  arch: ArchName,
  series: string,
  replace: Record<string, string>,
): { seen: unknown[]; ran: ReadonlySet<string> } {
  const ran = new Set<string>();
  const seen: unknown[] = [];
  const watch = (one: WorldRun, ask: (run: WorldRun) => unknown[]) => {
    const stop = one.kernel.events.read((event) => {
      if (event.type === 'decision' && event.text.startsWith('compiled: ')) ran.add(event.fn);
    });
    seen.push(ask(one), plain(one.kernel.context.log));
    stop();
  };
  const done = run(arch, series, replace, LIFE);
  seen.push(
    done.steps.map((step) => step.seen),
    plain(done.log),
  );
  for (const event of done.events.flat()) {
    if (event.type === 'decision' && event.text.startsWith('compiled: ')) ran.add(event.fn);
  }
  run(arch, series, replace, 'steps: [{alloc: {page: 0, count: 1}}]', (one) => watch(one, asks));
  run(arch, series, replace, 'steps: [{alloc: {page: 0, count: 1}}]', (one) => watch(one, refused));
  const recovered = run(arch, series, replace, RECOVERED, (one) => watch(one, answers));
  const [call] = recovered.steps.map((step) => step.seen as CallSeen);
  seen.push([call.outcome, call.faults.length, call.stderr]);
  for (const event of recovered.events.flat()) {
    if (event.type === 'decision' && event.text.startsWith('compiled: ')) ran.add(event.fn);
  }
  const failing = `inject: [{at: alloc_page, nth: 3, errno: ENOMEM}]\narena: {alloc: [[0, 2]]}
steps: [{alloc: {page: 4, count: 4}}, {alloc: {page: 4, count: 4}}, {destroy: {}}]`;
  seen.push(run(arch, series, replace, failing).steps.map((step) => step.seen));
  return { seen, ran };
}

const all = (arch: ArchName, series: string, level: string) =>
  Object.fromEntries(NAMES.map((name) => [name, objectOf(arch, name, series, level)]));

describe.each(ARCHS.flatMap((arch) => SERIES.map((series) => [arch, series] as const)))(
  'in compiled code (%s, %s)',
  (arch, series) => {
    const model = outcome(arch, series, {});

    it.each(NAMES)('%s alone does what the model does', (name) => {
      for (const level of ['O0', 'O2']) {
        const replace = { [name]: objectOf(arch, name, series, level) };
        const { seen, ran } = outcome(arch, series, replace);
        expect(seen).toEqual(model.seen);
        expect(ran).toContain(name);
      }
    });

    it('all together do what the model does', () => {
      for (const level of ['O0', 'O2']) {
        expect(outcome(arch, series, all(arch, series, level)).seen).toEqual(model.seen);
      }
    });
  },
);

for (const arch of ARCHS) {
  describeWith(GCC[arch], `a mistake in compiled code (${arch})`, () => {
    it.each([
      ['arena_free_worker', 1],
      ['arena_free_irq', 2],
      ['arena_map_free', 4],
      ['zap_pages', 1],
      ['arena_get_unmapped_area', 2],
      ['remember_vma', 3],
      ['arena_vm_open', 4],
      ['arena_vm_close', 5],
      ['arena_map_mmap', 6],
      ['arena_map_lookup_elem', 1],
      ['arena_map_get_next_key', 1],
      ['arena_map_mem_usage', 1],
      ['arena_map_direct_value_addr', 1],
      ['arena_vm_may_split', 1],
      ['arena_vm_mremap', 1],
      ['bpf_map_mmap', 1],
      ['bpf_arena_alloc_pages_sleepable', 1],
      ['bpf_arena_get_kern_vm_start', 1],
      ['bpf_arena_get_user_vm_start', 1],
    ] as const)('in %s shows', (name, mistake) => {
      const object = compile(arch, sourceOf(name), '-O2', `-DBROKEN=${mistake}`);
      let seen: unknown[];
      try {
        ({ seen } = outcome(arch, 'mainline', { [name]: object }));
      } catch (error) {
        // The last mapping of an arena that lost count of them cannot be closed.
        expect(error).toBeInstanceOf(Error);
        return;
      }
      expect(seen).not.toEqual(outcome(arch, 'mainline', {}).seen);
    });

    it('in arena_map_alloc keeps the scenario from starting, with a reason', () => {
      const object = compile(arch, 'map.c', '-O2', '-DBROKEN=3');
      expect(() => run(arch, 'mainline', { arena_map_alloc: object }, LIFE)).toThrow(
        /arena_map_alloc leaves arena->vma_list leading to 0x0/,
      );
    });
  });

  describeWith(GCC[arch], `code that is wrong (${arch})`, () => {
    const odd = (which: number) => compile(arch, 'odd-maps.c', '-O2', `-DODD=${which}`);
    const MAPPED = `arena: {alloc: [[0, 4]]}
steps:
  - user: {page: 0, access: read}
  - free: {page: 0, count: 2}
  - free: {page: 2, count: 1, sleepable: false}
  - worker: {}
  - destroy: {}`;

    it.each([
      ['remember_vma', 1, 0, /leaves arena->vma_list leading to 0x1234, which is no struct vma/],
      ['zap_pages', 2, 1, /mutex arena->lock is held and cannot be had/],
      ['zap_pages', 3, 1, /lets arena->lock go, which CPU 0 does not hold/],
      ['zap_pages', 4, 1, /is no lock of the model/],
      ['zap_pages', 5, 1, /zaps 0x[0-9a-f]+, no struct vm_area_struct/],
      ['zap_pages', 12, 1, /zap_pages ran past its instruction limit/],
      ['arena_vm_close', 6, 4, /puts 0x[0-9a-f]+, no struct mm_struct that it has got/],
      ['arena_vm_close', 7, 4, /arena_vm_close an access behind the structures of the model/],
      ['arena_vm_close', 8, 4, /frees 0x[0-9a-f]+, no memory of its own/],
      ['arena_free_irq', 9, 2, /queues 0x[0-9a-f]+, which is no work of an arena/],
      ['arena_free_worker', 13, 3, /free_spans: 0x1234 is in no struct arena_free_span/],
    ] as const)('%s ends the step (%i)', (name, which, step, why) => {
      const text = `limits: {instructions: 5000}\n${MAPPED}`;
      const { steps } = run(arch, 'mainline', { [name]: odd(which) }, text);
      expect(steps[step].seen).toMatchObject({ kind: 'stuck', why: expect.stringMatching(why) });
    });

    it.each([
      [10, /arena_map_alloc returns 0x0, which is no map that it has made/],
      [11, /arena_map_alloc uses struct bpf_arena before its kern_vm is set/],
    ])('no arena comes of a wrong arena_map_alloc (%i)', (which, why) => {
      const start = () => run(arch, 'mainline', { arena_map_alloc: odd(which) }, MAPPED);
      expect(start).toThrow(why);
      expect(start).not.toThrow(KernelStuck);
    });

    it('an address that is not user space’s maps nothing', () => {
      const replace = { arena_get_unmapped_area: odd(14) };
      const { steps } = run(arch, 'mainline', replace, MAPPED);
      expect(steps[0].seen).toMatchObject({ kind: 'user', result: 'SIGSEGV' });
    });
  });
}
