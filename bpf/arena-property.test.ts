// Random lives of an arena beside a naive one: every result, every byte and every page must agree, and after every
// operation no page that was given back can be reached by kernel PTEs, user PTEs or translations that a TLB may hold.
// The seed of each run is printed; FAULTLINE_SEED=n repeats it.
import { deepEqual, equal } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { type Pfn, pfnToPhys, virtAddr } from '../emulator/address.ts';
import { finish, type InjectionPoint } from '../mm/context.ts';
import { arenaMapFree, type BpfArena } from './arena.ts';
import { arenaAllocPages, arenaReservePages } from './arena-alloc.ts';
import { arenaFreePages, arenaFreeWorker } from './arena-free.ts';
import { arenaMmap, arenaMunmap, userAccess } from './arena-mmap.ts';
import { NaiveArena } from './test-naive.ts';
import {
  A,
  createArena,
  createWorld,
  kernelAccess,
  loadProg,
  readStderr,
  SERIES,
  type World,
} from './test-world.ts';
import { UserMm, type Vma } from './user-mm.ts';

const SIZE = 24;
/** Pages of the band below user_vm_start. */
const LOW = 4;
/** Pages around the arena, by page from user_vm_start. */
const AROUND = Array.from({ length: LOW + SIZE + 4 }, (_, i) => i - LOW);
/** Stand for the last page of the band and the first of the upper guard, whose numbers depend on the page size. */
const FAR = [100, 101];

const page = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: -2, max: SIZE + 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(...AROUND, ...FAR) },
);
/** Pages below user_vm_start are not refused by free, and wrap in the tree of free slots. */
const freed = fc.oneof(
  { weight: 7, arbitrary: fc.nat(SIZE) },
  { weight: 1, arbitrary: fc.integer({ min: -LOW, max: -1 }) },
);
const count = fc.integer({ min: 1, max: 6 });
const write = fc.option(fc.nat(255));
const offset = fc.constantFrom(0, 1, 0x123, -1);
const sleepable = fc.boolean();
const op = <K extends string, T extends object>(
  weight: number,
  kind: K,
  more: { [P in keyof T]: fc.Arbitrary<T[P]> },
) => ({
  weight,
  arbitrary: fc.record({ op: fc.constant(kind), ...more }) as fc.Arbitrary<{ op: K } & T>,
});

const operation = fc.oneof(
  op(16, 'alloc', { hint: fc.option(fc.integer({ min: -1, max: SIZE })), count, sleepable }),
  op(16, 'free', { page: freed, count, sleepable }),
  op(4, 'worker', {}),
  op(4, 'reserve', { page: freed, count }),
  op(16, 'kernel', { page, offset, write }),
  op(12, 'user', { page, offset, write }),
  op(4, 'remap', {}),
  op(1, 'destroy', {}),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** One arena after another in one world, each with its program and its user mapping. */
class Life {
  readonly world: World;
  readonly mm = new UserMm();
  arena!: BpfArena;
  private readonly v2: boolean;
  /** Bytes. */
  private readonly page: number;
  private readonly userVmStart: bigint;
  private readonly reached: readonly number[];
  private naive!: NaiveArena;
  private stderr!: () => string;
  private unload!: () => void;
  private vma!: Vma;
  /** What a TLB holds that caches whatever it may: frames by page. */
  private readonly cached = new Map<number, Pfn>();

  constructor(world: World) {
    this.world = world;
    const { series, pageSize } = world.kernel.config;
    this.v2 = series === 'v2';
    this.page = pageSize;
    this.userVmStart = 0x7f7d_0000_0000n + BigInt(LOW * pageSize);
    this.reached = [...AROUND, ...FAR.map((page) => this.place(page))];
    this.begin();
  }

  private begin(): void {
    const { world, userVmStart } = this;
    this.arena = createArena(world, { ...A, maxEntries: SIZE, mapExtra: userVmStart });
    this.naive = new NaiveArena(SIZE, this.v2, LOW, this.page);
    const { ip, prog, ksym } = loadProg(world, this.arena);
    world.stack = [ip];
    this.stderr = () => readStderr(world, prog);
    this.unload = () => world.bpf.ksyms.remove(ksym);
    this.map();
  }

  private map(): void {
    const request = { addr: this.userVmStart, len: BigInt(SIZE * this.page) };
    this.vma = finish(arenaMmap(this.arena, this.mm, request)) as Vma;
  }

  /** The arena goes, and with it every page, every entry and every translation. */
  end(): void {
    const { world, cached } = this;
    finish(arenaMunmap(this.vma));
    equal(finish(arenaMapFree(this.arena)).leaked, 0);
    this.unload();
    for (const page of this.reached) equal(this.pfnAt(page), -1);
    this.flush();
    equal(cached.size, 0);
    deepEqual([...world.pages.outstanding().keys()], ['page table']);
    deepEqual(world.pages.bugs, []);
  }

  /** The page that a number of an operation means. */
  private place(page: number): number {
    return page < FAR[0] ? page : 2 ** 32 / this.page - LOW - 1 + (page - FAR[0]);
  }

  uaddr(page: number): bigint {
    return this.userVmStart + BigInt(page * this.page);
  }

  kaddr(page: number): bigint {
    return this.arena.kernVmStart + BigInt((page + LOW) * this.page);
  }

  private pfnAt(page: number): Pfn | -1 {
    return this.world.mm.vmallocToPage(virtAddr(this.kaddr(page)));
  }

  /** Does one operation to both, and compares what it gives. */
  run(o: Operation): void {
    const { arena, naive } = this;
    const page = 'page' in o ? this.place(o.page) : 0;
    const at = this.uaddr(page);
    switch (o.op) {
      case 'alloc': {
        const hint = o.hint === null ? 0n : this.uaddr(o.hint);
        const got = finish(arenaAllocPages(arena, hint, o.count, -1, o.sleepable));
        const wanted = naive.alloc(o.hint, o.count, o.sleepable);
        equal(got, wanted === null ? 0n : this.uaddr(wanted));
        break;
      }
      case 'free':
        finish(arenaFreePages(arena, at, o.count, o.sleepable));
        naive.release(page, o.count, o.sleepable);
        break;
      case 'worker':
        finish(arenaFreeWorker(arena));
        naive.worker();
        break;
      case 'reserve':
        equal(finish(arenaReservePages(arena, at, o.count)), naive.reserve(page, o.count));
        break;
      case 'kernel':
        this.kernel(page, o.offset & (this.page - 1), o.write);
        break;
      case 'user':
        this.user(page, o.offset & (this.page - 1), o.write);
        break;
      case 'remap':
        finish(arenaMunmap(this.vma));
        this.map();
        break;
      case 'destroy':
        this.compare();
        this.end();
        this.begin();
    }
    this.check();
  }

  private kernel(page: number, offset: number, write: number | null): void {
    const absent = !this.naive.pages.has(page);
    const bytes = this.naive.kernel(page);
    if (write !== null) bytes[offset] = write;
    const got = kernelAccess(this.world, this.kaddr(page) + BigInt(offset), write);
    equal(got, bytes[offset]);
    const access = write === null ? 'READ' : 'WRITE';
    const printed = this.uaddr(page).toString(16);
    const line = `ERROR: Arena ${access} access at unmapped address 0x${printed}`;
    equal(absent ? this.stderr().split('\n')[0] : this.stderr(), absent ? line : '');
    this.cached.set(page, this.pfnAt(page) as Pfn);
  }

  private user(page: number, offset: number, write: number | null): void {
    const bytes = this.naive.user(page);
    const value = write === null ? null : BigInt(write);
    const got = finish(userAccess(this.mm, this.uaddr(page) + BigInt(offset), 1, value));
    if (bytes && write !== null) bytes[offset] = write;
    equal(got.result, bytes ? 'ok' : 'SIGSEGV');
    if (bytes && write === null) equal(got.value, BigInt(bytes[offset]));
  }

  /** Does one operation to the arena alone, where failures are injected and nobody knows what comes of it. */
  quietly(o: Operation): void {
    const { arena, mm, world } = this;
    const page = 'page' in o ? this.place(o.page) : 0;
    const at = this.uaddr(page);
    switch (o.op) {
      case 'alloc':
        finish(arenaAllocPages(arena, o.hint === null ? 0n : at, o.count, -1, o.sleepable));
        break;
      case 'free':
        finish(arenaFreePages(arena, at, o.count, o.sleepable));
        break;
      case 'worker':
        finish(arenaFreeWorker(arena));
        break;
      case 'reserve':
        finish(arenaReservePages(arena, at, o.count));
        break;
      case 'kernel':
        kernelAccess(world, this.kaddr(page), o.write);
        break;
      case 'user':
        finish(userAccess(mm, at, 1, o.write === null ? null : BigInt(o.write)));
    }
  }

  /** The cheap half of {@link compare}, after each operation: what is mapped, and that it is nobody else's. */
  private check(): void {
    const { world, arena, naive, cached } = this;
    this.flush();
    for (const page of this.reached) {
      const pfn = this.pfnAt(page);
      const bytes = naive.pages.get(page);
      if (!bytes) equal(pfn, -1, `page ${page} is mapped`);
      else equal(pfn === arena.scratchPage, bytes === naive.scratch, `page ${page}, scratched?`);
    }
    for (const [page, pfn] of this.vma.ptes) equal(pfn, this.pfnAt(page), `user page ${page}`);
    for (const [page, pfn] of cached) {
      equal(world.pages.pageRefCount(pfn) > 0, true, `a stale translation of page ${page}`);
    }
    equal(arena.dataPages.outstanding, naive.held);
    equal(world.pages.bugs.length, 0);
  }

  /** Everything that can be seen agrees with the naive arena. */
  compare(): void {
    const { world, arena, naive } = this;
    deepEqual(
      arena.rt.nodes().map((rn) => [rn.start, rn.last]),
      naive.free.nodes(),
    );
    const frames = new Set<number>([arena.scratchPage]);
    for (const [page, bytes] of naive.pages) {
      const pfn = this.pfnAt(page);
      const there = world.ram.read(pfnToPhys(pfn as Pfn), this.page);
      equal(Buffer.compare(there, bytes), 0, `bytes of page ${page}`);
      if (bytes === naive.scratch) continue;
      equal(frames.has(pfn), false, `frame of page ${page} has another use`);
      frames.add(pfn);
      equal(world.pages.pageRefCount(pfn as Pfn), this.vma.ptes.has(page) ? 2 : 1);
    }
    deepEqual([arena.memcgDepth, arena.spinlock.holder, arena.lock.holder], [0, -1, -1]);
  }

  /** Takes what was flushed since the last time out of the TLB. */
  private flush(): void {
    for (const line of this.world.flushes.splice(0)) {
      const [what, ...addrs] = line.split(' ');
      const [start, end] = addrs.map((addr) => BigInt(`0x${addr}`));
      for (const page of this.cached.keys()) {
        const va = this.kaddr(page);
        if (what === 'before' ? va === start : va >= start && va < end) this.cached.delete(page);
      }
    }
  }
}

/** As fc.assert(), with the seed printed. */
function assertEvery<T>(arbitrary: fc.Arbitrary<T>, numRuns: number, check: (given: T) => void) {
  const seed = Number(process.env.FAULTLINE_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.info(`${numRuns} sequences, seed ${seed}`);
  fc.assert(fc.property(arbitrary, check), { numRuns, seed });
}

const operations = fc.array(operation, { minLength: 1, maxLength: 30, size: 'max' });

/** 10,000 sequences an architecture. */
const CASES = [
  ...SERIES.map((series) => ({ arch: 'x86_64' as const, series, pageSize: 4096, runs: 5000 })),
  ...SERIES.flatMap((series) => [
    { arch: 'arm64' as const, series, pageSize: 4096, runs: 1500 },
    { arch: 'arm64' as const, series, pageSize: 16384, runs: 1500 },
    { arch: 'arm64' as const, series, pageSize: 65536, runs: 2000 },
  ]),
];

describe.each(CASES)(
  'an arena of $arch, $series, pages of $pageSize',
  { timeout: 600_000 },
  (c) => {
    const { arch, runs, ...config } = c;

    it('agrees with a naive one in everything that can be seen', () => {
      // One world for all sequences: each ends as it began. A sequence that fails gives the next ones a new one.
      let world = createWorld(arch, config, 32 << 20);
      assertEvery(operations, runs, (script) => {
        const life = new Life(world);
        try {
          for (const o of script) life.run(o);
          life.compare();
          life.end();
        } catch (error) {
          world = createWorld(arch, config, 32 << 20);
          throw error;
        }
      });
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
      assertEvery(fc.tuple(operations, failures), 40, ([script, injected]) => {
        const world = createWorld(arch, config, 32 << 20);
        const life = new Life(world);
        for (const [at, nth] of injected) world.kernel.inject(at, nth, -12);
        for (const o of script) life.quietly(o);
        deepEqual([life.arena.memcgDepth, life.arena.spinlock.holder], [0, -1]);
        life.end();
      });
    });
  },
);
