// Random lives of an arena beside a naive one: every result, every byte and every page must agree. fast-check prints
// the seed of a failure.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { finish, type InjectionPoint } from '../mm/context.ts';
import { arenaMapFree, type BpfArena } from './arena.ts';
import { arenaAllocPages, arenaReservePages } from './arena-alloc.ts';
import { arenaFreePages, arenaFreeWorker } from './arena-free.ts';
import { arenaMmap, arenaMunmap, userAccess } from './arena-mmap.ts';
import { NaiveArena } from './test-naive.ts';
import {
  A,
  BOTH,
  createArena,
  createWorld,
  kernelAccess,
  loadProg,
  readStderr,
  translate,
  type World,
} from './test-world.ts';
import { UserMm, type Vma } from './user-mm.ts';

const SIZE = 24;
const U = 0x7f7d_0000_4000n;
/** Pages that kernel accesses reach: some below user_vm_start (page 0) and some behind the end. */
const page = fc.integer({ min: -2, max: SIZE + 2 });
const inside = fc.integer({ min: 0, max: SIZE - 1 });
const count = fc.integer({ min: 1, max: 6 });
const byte = fc.nat(255);
const offset = fc.constantFrom(0, 1, 0x123, 0xfff);

const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('alloc' as const),
      hint: fc.option(inside),
      count,
      sleepable: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('free' as const),
      page: inside,
      count,
      sleepable: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('worker' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('reserve' as const), page: inside, count }) },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('kernel' as const),
      page,
      offset,
      write: fc.option(byte),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('user' as const),
      page,
      offset,
      write: fc.option(byte),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('remap' as const) }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

class Life {
  readonly world: World;
  readonly arena: BpfArena;
  readonly naive: NaiveArena;
  readonly stderr: () => string;
  readonly mm = new UserMm();
  private vma!: Vma;

  constructor(world: World, v2: boolean) {
    this.world = world;
    this.arena = createArena(world, { ...A, maxEntries: SIZE, mapExtra: U });
    this.naive = new NaiveArena(SIZE, v2);
    const { ip, prog, ksym } = loadProg(world, this.arena);
    world.stack = [ip];
    this.stderr = () => readStderr(world, prog);
    this.unload = () => world.bpf.ksyms.remove(ksym);
    this.map();
  }

  readonly unload: () => void;

  private map(): void {
    this.vma = finish(arenaMmap(this.arena, this.mm, { addr: U, len: BigInt(SIZE * 4096) })) as Vma;
  }

  kaddr(page: number): bigint {
    return this.arena.kernVmStart + 0x4000n + BigInt(page * 4096);
  }

  run(o: Operation): void {
    const { arena, naive } = this;
    const at = 'page' in o ? U + BigInt(o.page * 4096) : U;
    switch (o.op) {
      case 'alloc': {
        const hint = o.hint === null ? 0n : U + BigInt(o.hint * 4096);
        const got = finish(arenaAllocPages(arena, hint, o.count, -1, o.sleepable));
        const wanted = naive.alloc(o.hint, o.count, o.sleepable);
        expect(got).toBe(wanted === null ? 0n : U + BigInt(wanted * 4096));
        return;
      }
      case 'free':
        finish(arenaFreePages(arena, at, o.count, o.sleepable));
        naive.release(o.page, o.count, o.sleepable);
        return;
      case 'worker':
        finish(arenaFreeWorker(arena));
        naive.worker();
        return;
      case 'reserve':
        expect(finish(arenaReservePages(arena, at, o.count))).toBe(naive.reserve(o.page, o.count));
        return;
      case 'kernel':
        this.kernel(o.page, o.offset, o.write);
        return;
      case 'user':
        this.user(o.page, o.offset, o.write);
        return;
      case 'remap':
        finish(arenaMunmap(this.vma));
        this.map();
    }
  }

  private kernel(page: number, offset: number, write: number | null): void {
    const absent = !this.naive.pages.has(page);
    const bytes = this.naive.kernel(page);
    if (write !== null) bytes[offset] = write;
    const got = kernelAccess(this.world, this.kaddr(page) + BigInt(offset), write);
    expect(got).toBe(bytes[offset]);
    const access = write === null ? 'READ' : 'WRITE';
    const printed = (U + BigInt(page * 4096)).toString(16);
    const line = `ERROR: Arena ${access} access at unmapped address 0x${printed}`;
    expect(this.stderr().split('\n')[0]).toBe(absent ? line : '');
  }

  private user(page: number, offset: number, write: number | null): void {
    const bytes = this.naive.user(page);
    const addr = U + BigInt(page * 4096 + offset);
    const value = write === null ? null : BigInt(write);
    const got = finish(userAccess(this.mm, addr, 1, value));
    if (bytes && write !== null) bytes[offset] = write;
    expect(got.result).toBe(bytes ? 'ok' : 'SIGSEGV');
    if (bytes && write === null) expect(got.value).toBe(BigInt(bytes[offset]));
  }

  /** Everything that can be seen agrees with the naive arena. */
  check(): void {
    const { world, arena, naive, vma } = this;
    expect(arena.rt.nodes().map((rn) => [rn.start, rn.last])).toEqual(naive.free.nodes());
    const frames = new Set<number>();
    for (let page = -2; page <= SIZE + 2; page++) {
      const bytes = naive.pages.get(page);
      const pa = translate(world, this.kaddr(page));
      expect([page, pa === null]).toEqual([page, bytes === undefined]);
      if (!bytes || pa === null) continue;
      expect(Buffer.compare(world.ram.read(pa, 4096), bytes)).toBe(0);
      expect(pa / 4096 === arena.scratchPage).toBe(bytes === naive.scratch);
      if (bytes !== naive.scratch) frames.add(pa / 4096);
    }
    expect(frames.size).toBe(naive.held);
    expect(arena.dataPages.outstanding).toBe(naive.held);
    // No user PTE reaches a page that is not the arena's, or the scratch page.
    for (const pfn of vma.ptes.values()) expect(frames.has(pfn)).toBe(true);
    expect(world.pages.bugs).toEqual([]);
    expect([arena.memcgDepth, arena.spinlock.holder, arena.lock.holder]).toEqual([0, -1, -1]);
  }

  end(): void {
    finish(arenaMunmap(this.vma));
    const freed = finish(arenaMapFree(this.arena));
    expect(freed.leaked).toBe(0);
    this.unload();
    expect([...this.world.pages.outstanding().keys()]).toEqual(['page table']);
    expect(this.world.pages.bugs).toEqual([]);
  }
}

describe.each(BOTH)('an arena of $arch, $series, by property', ({ arch, series }) => {
  it('agrees with a naive one in everything that can be seen', () => {
    const world = createWorld(arch, { series }, 32 << 20);
    fc.assert(
      fc.property(fc.array(operation, { minLength: 1, maxLength: 40 }), (operations) => {
        const life = new Life(world, series === 'v2');
        try {
          for (const o of operations) life.run(o);
          life.check();
        } finally {
          life.end();
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('loses and doubles no page whatever fails', () => {
    const point = fc.constantFrom<InjectionPoint>(
      'alloc_page',
      'range_node',
      'spinlock',
      'span',
      'pages_array',
    );
    const failures = fc.array(fc.tuple(point, fc.integer({ min: 1, max: 12 })), { maxLength: 5 });
    const operations = fc.array(operation, { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(operations, failures, (script, injected) => {
        const world = createWorld(arch, { series }, 32 << 20);
        const life = new Life(world, series === 'v2');
        for (const [at, nth] of injected) world.kernel.inject(at, nth, -12);
        for (const o of script) {
          if (o.op === 'kernel') kernelAccess(world, life.kaddr(o.page), o.write);
          else if (o.op === 'user') userQuietly(life, o.page, o.write);
          else if (o.op !== 'remap') runQuietly(life, o);
        }
        expect([life.arena.memcgDepth, life.arena.spinlock.holder]).toEqual([0, -1]);
        life.end();
      }),
      { numRuns: 60 },
    );
  });
});

function userQuietly(life: Life, page: number, write: number | null): void {
  const value = write === null ? null : BigInt(write);
  finish(userAccess(life.mm, U + BigInt(page * 4096), 1, value));
}

function runQuietly({ arena }: Life, o: Operation): void {
  const at = 'page' in o ? U + BigInt(o.page * 4096) : 0n;
  if (o.op === 'alloc') finish(arenaAllocPages(arena, at, o.count, -1, o.sleepable));
  if (o.op === 'free') finish(arenaFreePages(arena, at, o.count, o.sleepable));
  if (o.op === 'worker') finish(arenaFreeWorker(arena));
  if (o.op === 'reserve') finish(arenaReservePages(arena, at, o.count));
}
