// Two CPUs at once: every schedule with at most two preemptions of two kernel paths, and what must hold after each.
import { afterAll, describe, expect, it } from 'vitest';
import { type Pfn, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { type Activity, finish, onward } from '../mm/context.ts';
import type { BpfArena } from './arena.ts';
import { arenaAllocPages, arenaReservePages } from './arena-alloc.ts';
import { bpfArenaHandlePageFault } from './arena-fault.ts';
import { arenaFreePages, arenaFreeWorker } from './arena-free.ts';
import { arenaMmap, arenaMunmap, userAccess } from './arena-mmap.ts';
import {
  A,
  type Arch,
  BOTH,
  createArenaAt,
  createWorld,
  KERNEL_IP,
  loadProg,
  pteAt,
  readStderr,
  type Series,
  type World,
} from './test-world.ts';
import { UserMm, type Vma } from './user-mm.ts';

const U = A.mapExtra;
const PAGE0 = 0x26200000n;
const PAGES = 6;

/** Where a schedule switches: CPU `first` runs so many steps, then the other, then the first to its end. */
interface Schedule {
  readonly first: 0 | 1;
  readonly runs: readonly [number, number];
}

const SCHEDULES: readonly Schedule[] = [0, 1].flatMap((first) =>
  Array.from({ length: 14 * 14 }, (_, i) => ({
    first: first as 0 | 1,
    runs: [i % 14, Math.floor(i / 14)] as const,
  })),
);

class Bench {
  readonly world: World;
  readonly arena: BpfArena;
  readonly mm = new UserMm();
  readonly drain: () => string;
  private readonly stacks: VirtAddr[][];

  constructor(arch: Arch, series: Series) {
    this.world = createWorld(arch, { series });
    this.arena = createArenaAt(this.world, arch, A);
    const { prog, ip } = loadProg(this.world, this.arena);
    this.drain = () => readStderr(this.world, prog);
    this.stacks = [0n, 1n].map((cpu) => [virtAddr(KERNEL_IP + cpu * 16n), ip]);
    finish(arenaMmap(this.arena, this.mm, { addr: U, len: 1000n * 4096n }));
  }

  at = (page: number) => U + BigInt(page * 4096);
  kaddr = (page: number) => virtAddr(this.arena.kernVmStart + PAGE0 + BigInt(page * 4096));
  pte = (page: number) => pteAt(this.world, this.kaddr(page));
  alloc = (page: number | null, count: number) =>
    arenaAllocPages(this.arena, page === null ? 0n : this.at(page), count, -1, true);
  free = (page: number, count: number, sleepable = true) =>
    arenaFreePages(this.arena, this.at(page), count, sleepable);
  *fault(page: number): Activity<boolean> {
    const { bpf } = this.world;
    return yield* onward(bpfArenaHandlePageFault(bpf, this.kaddr(page), true, KERNEL_IP));
  }
  user = (page: number) => userAccess(this.mm, this.at(page), 8, 7n);

  /** Runs both to their ends. @returns their results */
  play<T, U>(a: Activity<T>, b: Activity<U>, { first, runs }: Schedule): [T, U] {
    const { kernel } = this.world;
    const results: unknown[] = [];
    const done = [false, false];
    const step = (cpu: number): boolean => {
      kernel.cpu = cpu;
      this.world.stack = this.stacks[cpu];
      const next = (cpu === 0 ? a : b).next();
      done[cpu] = next.done === true;
      if (next.done) results[cpu] = next.value;
      // A waiter gives its turn to the holder of the lock.
      return next.done !== true && !next.value.what.startsWith('wait');
    };
    kernel.stepping = true;
    const second = 1 - first;
    for (let i = 0; i < runs[0] && !done[first] && step(first); i++);
    for (let i = 0; i < runs[1] && !done[second] && step(second); i++);
    for (let turn = first, left = 500; !(done[0] && done[1]); turn = 1 - turn) {
      while (!done[turn] && step(turn));
      if (--left === 0) throw new Error('deadlock');
    }
    kernel.stepping = false;
    kernel.cpu = 0;
    return results as [T, U];
  }

  /** What holds whenever no path runs. */
  settled(): void {
    const { world, arena } = this;
    expect(world.pages.bugs).toEqual([]);
    expect(
      [arena.spinlock, arena.lock, arena.zapMutex, this.mm.mmapLock].map((l) => l.holder),
    ).toEqual([-1, -1, -1, -1]);
    expect(arena.memcgDepth).toBe(0);
    for (let page = 0; page < PAGES; page++) {
      const entry = this.pte(page);
      if (entry !== 0n && entry !== arena.scratchPte) expect(arena.rt.isSet(page, 1)).not.toBe(0);
    }
    const frames = new Set<number>(this.arenaFrames());
    for (const vma of this.mm.vmas) for (const pfn of vma.ptes.values()) frames.add(pfn);
    expect(frames.has(arena.scratchPage)).toBe(false);
    expect(frames.size).toBe(arena.dataPages.outstanding);
  }

  /** Frames that the kernel maps, the scratch page aside. */
  arenaFrames(): Pfn[] {
    const entries = Array.from({ length: PAGES }, (_, page) => this.pte(page));
    const real = entries.filter((entry) => entry !== 0n && entry !== this.arena.scratchPte);
    return real.map((entry) => this.world.format.ptePfn(entry));
  }

  /** User pages that the arena no longer knows. */
  orphans(): Pfn[] {
    const frames = this.arenaFrames();
    return [...this.mm.vmas[0].ptes.values()].filter((pfn) => !frames.includes(pfn));
  }

  /** Empty again: no page, no scratch PTE, no message. */
  reset(): void {
    for (const vma of [...this.mm.vmas]) finish(arenaMunmap(vma));
    finish(arenaMmap(this.arena, this.mm, { addr: U, len: 1000n * 4096n }));
    finish(arenaFreeWorker(this.arena));
    finish(this.free(0, PAGES));
    this.drain();
    this.world.flushes.length = 0;
    expect(this.arena.dataPages.outstanding).toBe(0);
  }

  each(run: (schedule: Schedule) => void): void {
    for (const schedule of SCHEDULES) {
      try {
        run(schedule);
        this.settled();
      } catch (error) {
        throw new Error(`schedule ${JSON.stringify(schedule)}`, { cause: error });
      }
      this.reset();
    }
  }
}

describe.each(BOTH)('races on $arch, $series', ({ arch, series }) => {
  const bench = new Bench(arch, series);
  const { world, arena } = bench;
  let brokenBbm = 0;
  world.kernel.events.read((e) => {
    if (e.type !== 'pteChange') return;
    const { ptePresent } = world.format;
    if (ptePresent(e.before) && ptePresent(e.after)) brokenBbm++;
  });

  it('fault against alloc: the page is there at the end, or v2 gave up', () => {
    const seen = new Set<string>();
    bench.each((schedule) => {
      const [handled, addr] = bench.play(bench.fault(1), bench.alloc(0, 3), schedule);
      expect(handled).toBe(true);
      expect(bench.pte(1)).not.toBe(0n);
      expect(bench.drain().match(/ERROR/g)).toHaveLength(1);
      const outcome =
        addr === 0n ? 'refused' : bench.pte(1) === arena.scratchPte ? 'scratch' : 'page';
      seen.add(outcome);
      if (outcome === 'refused') expect(bench.pte(1)).toBe(arena.scratchPte);
    });
    expect([...seen].sort()).toEqual(series === 'v2' ? ['page', 'refused'] : ['page']);
  });

  it('fault against free: nothing is lost, and at most scratch remains', () => {
    bench.each((schedule) => {
      finish(bench.alloc(0, 2));
      bench.play(bench.fault(1), bench.free(0, 2), schedule);
      expect([0n, arena.scratchPte]).toContain(bench.pte(1));
    });
  });

  it('fault against fault: both are handled, one page, a report each with its own stack', () => {
    bench.each((schedule) => {
      const handled = bench.play(bench.fault(2), bench.fault(2), schedule);
      expect(handled).toEqual([true, true]);
      expect(bench.pte(2)).toBe(arena.scratchPte);
      const text = bench.drain();
      for (const cpu of [0, 1]) {
        const symbol = `sym_${(KERNEL_IP + BigInt(cpu) * 16n).toString(16)}`;
        expect(text).toContain(`CPU: ${cpu} UID: 0 PID: 42 Comm: test\nCall trace:\n${symbol}\n`);
      }
    });
  });

  it('alloc against alloc: never the same page twice', () => {
    bench.each((schedule) => {
      const [a, b] = bench.play(bench.alloc(null, 2), bench.alloc(null, 2), schedule);
      expect([a, b].sort()).toEqual([bench.at(0), bench.at(2)]);
    });
  });

  it('user touch against free: no page is freed under a user PTE, though one may be orphaned', () => {
    let orphaned = 0;
    bench.each((schedule) => {
      finish(bench.alloc(0, 2));
      const [user] = bench.play(bench.user(1), bench.free(0, 2), schedule);
      expect(user.result).toBe('ok');
      // Between arena_vm_fault() and finish_fault() the page has a reference and no PTE: the zap passes it by, and the
      // process keeps a page that is no longer the arena's until it unmaps it.
      for (const pfn of bench.orphans()) {
        orphaned++;
        expect(world.pages.pageRefCount(pfn)).toBe(1);
      }
    });
    expect(orphaned).toBeGreaterThan(0);
  });

  it('user touch against munmap: no reference is lost', () => {
    bench.each((schedule) => {
      const vma = bench.mm.vmas[0];
      const [user] = bench.play(bench.user(1), arenaMunmap(vma), schedule);
      expect(['ok', 'SIGSEGV']).toContain(user.result);
      for (const pfn of bench.arenaFrames()) expect(world.pages.pageRefCount(pfn)).toBe(1);
    });
  });

  it('user touch against alloc and fault', () => {
    bench.each((schedule) => {
      const [user, addr] = bench.play(bench.user(1), bench.alloc(0, 3), schedule);
      expect([addr === 0n, user.result]).toEqual([bench.pte(0) === 0n, 'ok']);
    });
    bench.each((schedule) => {
      const [user] = bench.play(bench.user(1), bench.fault(1), schedule);
      expect(user.result === 'SIGSEGV').toBe(bench.pte(1) === arena.scratchPte);
    });
  });

  it('worker against alloc, and against munmap', () => {
    bench.each((schedule) => {
      finish(bench.alloc(0, 2));
      finish(bench.free(0, 2, false));
      bench.play(arenaFreeWorker(arena), bench.alloc(null, 1), schedule);
      expect(arena.freeSpans).toEqual([]);
    });
    bench.each((schedule) => {
      finish(bench.user(1));
      finish(bench.free(1, 1, false));
      const vma = bench.mm.vmas[0] as Vma;
      bench.play(arenaFreeWorker(arena), arenaMunmap(vma), schedule);
      expect(arena.vmaList).toEqual([]);
    });
  });

  it('reserve against alloc: one of them has the slot', () => {
    bench.each((schedule) => {
      const reserve = arenaReservePages(arena, bench.at(0), 1);
      const [err, addr] = bench.play(reserve, bench.alloc(0, 1), schedule);
      expect(err === 0).toBe(addr === 0n);
    });
  });

  it('free against free: a page is given back once', () => {
    bench.each((schedule) => {
      finish(bench.alloc(0, 3));
      bench.play(bench.free(0, 2), bench.free(1, 2), schedule);
      expect(arena.dataPages.outstanding).toBe(0);
    });
  });

  afterAll(() => {
    // v2 tests for none and then stores; scratch installed in between is overwritten, valid by valid.
    expect(brokenBbm > 0).toBe(series === 'v2');
  });
});
