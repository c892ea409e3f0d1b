// Creation and destruction of arenas. T numbers are those of the kernel reference's scenarios.
import { describe, expect, it, vi } from 'vitest';
import { type Pfn, pfnToPhys, virtAddr } from '../emulator/address.ts';
import { ERRNO, finish, type InjectionPoint } from '../mm/context.ts';
import {
  ARENA_MAP_OPS,
  type ArenaAttr,
  arenaMapAlloc,
  arenaMapDirectValueAddr,
  arenaMapFree,
  arenaMapMemUsage,
  BPF_F_MMAPABLE,
  BPF_F_NO_USER_CONV,
  BPF_F_SEGV_ON_FAULT,
  guardSize,
  kernVmSize,
  recoverySize,
} from './arena.ts';
import { arenaAllocPages } from './arena-alloc.ts';
import { arenaFreePages } from './arena-free.ts';
import { arenaMmap, arenaMunmap } from './arena-mmap.ts';
import { RangeTree } from './range-tree.ts';
import {
  A,
  ARCHES,
  B,
  BOTH,
  createArena,
  createArenaAt,
  createWorld,
  FACTS,
  kernelFault,
  loadProg,
  pteAt,
  record,
  SCRATCH_PFN,
} from './test-world.ts';
import { UserMm, type Vma } from './user-mm.ts';

describe('sizes', () => {
  it('rounds the guard up to two pages', () => {
    expect([4096, 16384, 65536].map(guardSize)).toEqual([0x10000, 0x10000, 0x20000]);
    expect(kernVmSize(4096)).toBe(0x1_0001_0000);
    expect(recoverySize(4096)).toBe(0x1_0000_8000);
    expect(recoverySize(65536)).toBe(0x1_0001_0000);
  });
});

describe.each(ARCHES)('arena_map_alloc on %s', (arch) => {
  it('lays the arena out as the kernel does', () => {
    const world = createWorld(arch);
    const arena = createArenaAt(world, arch, B);
    const { kbase, scratchPte } = FACTS[arch];
    expect(arena.kernVmStart).toBe(kbase);
    expect(arena.kernVm.addr).toBe(kbase - 0x8000n);
    expect(arena.kernVm.size).toBe(0x1_0001_1000);
    expect(arena.recoveryEnd).toBe(kbase + 0x1_0000_8000n);
    expect([arena.userVmStart, arena.userVmEnd]).toEqual([0x7f7e00000000n, 0x7f7f00000000n]);
    expect(arena.scratchPage).toBe(SCRATCH_PFN);
    expect(arena.scratchPte).toBe(scratchPte);
    expect(arena.rt.nodes()).toMatchObject([{ start: 0, last: 0xfffff }]);
    // 2049 tables of PTEs, 5 above them, 1 above those, and the top level.
    expect(world.mm.tablePages).toBe(2056);
    expect(world.pages.outstanding().get('scratch page')).toBe(1);
    expect(arena.memcgDepth).toBe(0);
  });

  it('has a table and none entries over the whole recovery range, and no further', () => {
    const world = createWorld(arch);
    const { kernVmStart: k } = createArenaAt(world, arch, A);
    const offsets = [0n, 0x2620_0000n, 0xffff_f000n, 0x1_0000_0000n, 0x1_0000_7000n];
    for (const offset of offsets) {
      const addr = virtAddr(k + offset);
      expect(world.mm.ptepOffset(addr)).not.toBeNull();
      expect(pteAt(world, addr)).toBe(0n);
    }
    expect(world.mm.ptepOffset(virtAddr(k + 0x1_4000_0000n))).toBeNull();
  });

  it('has a table for the upper half-guard also where that needs one of its own', () => {
    const world = createWorld(arch);
    const kernVmStart = virtAddr(FACTS[arch].vmalloc[0] + 0x4000_0000n);
    const { recoveryEnd } = createArena(world, A, { kernVmStart });
    const last = virtAddr(recoveryEnd - 0x1000n);
    expect(world.mm.ptepOffset(last)).not.toBeNull();
    expect(pteAt(world, last)).toBe(0n);
    expect(world.mm.ptepOffset(virtAddr(kernVmStart - 0x1000n))).toBeNull();
  });

  it('zeroes the scratch page, whatever lay in its frame', () => {
    const world = createWorld(arch);
    const at = pfnToPhys(SCRATCH_PFN as Pfn);
    world.ram.write(at, new Uint8Array(4096).fill(0xa5));
    createArenaAt(world, arch, A);
    expect(world.ram.read(at, 4096)).toEqual(new Uint8Array(4096));
  });

  it('T32: checks its arguments in order', () => {
    const { bpf, pages } = createWorld(arch);
    const base: ArenaAttr = { maxEntries: 2, mapFlags: BPF_F_MMAPABLE, mapExtra: 0n };
    const cases: [Partial<ArenaAttr>, number][] = [
      [{ maxEntries: 0 }, ERRNO.EINVAL],
      [{ keySize: 4 }, ERRNO.EINVAL],
      [{ valueSize: 8 }, ERRNO.EINVAL],
      [{ mapFlags: 0 }, ERRNO.EINVAL],
      [{ mapFlags: BPF_F_MMAPABLE | 1 }, ERRNO.EINVAL],
      [{ mapFlags: BPF_F_SEGV_ON_FAULT | BPF_F_NO_USER_CONV }, ERRNO.EINVAL],
      [{ mapExtra: 0x1001n }, ERRNO.EINVAL],
      [{ maxEntries: 0x10_0001, mapExtra: 0x1001n }, ERRNO.EINVAL],
      [{ maxEntries: 0x10_0001 }, ERRNO.E2BIG],
      [{ maxEntries: 0xffff_ffff }, ERRNO.E2BIG],
      [{ mapExtra: 0x7f7d_ffff_f000n }, ERRNO.ERANGE],
      [{ maxEntries: 0x10_0000, mapExtra: 0x7f7e_0000_1000n }, ERRNO.ERANGE],
    ];
    const held = pages.freePages;
    for (const [change, errno] of cases) {
      expect([change, arenaMapAlloc(bpf, { ...base, ...change })]).toEqual([change, errno]);
    }
    const noJit = arenaMapAlloc(bpf, { ...base, maxEntries: 0 }, { jitSupportsArena: false });
    expect(noJit).toBe(ERRNO.EOPNOTSUPP);
    expect(pages.freePages).toBe(held);
    const accepted: Partial<ArenaAttr>[] = [
      { maxEntries: 1, mapExtra: 0x7f7d_ffff_f000n },
      { maxEntries: 0x10_0000 },
      { mapFlags: BPF_F_MMAPABLE | BPF_F_SEGV_ON_FAULT | BPF_F_NO_USER_CONV },
    ];
    for (const change of accepted) {
      expect(arenaMapAlloc(bpf, { ...base, ...change })).toBeTypeOf('object');
    }
  });

  it('has no user range until map_extra or a mapping gives it one', () => {
    const world = createWorld(arch);
    const arena = createArena(world, { ...A, mapExtra: 0n });
    expect([arena.userVmStart, arena.userVmEnd, arena.pageCntMax]).toEqual([0n, 0n, 0]);
    expect(arenaMapDirectValueAddr(arena, 0)).toBe(ERRNO.ERANGE);
  });

  it.each<{ at: InjectionPoint; nth: number; freed: string[] }>([
    { at: 'map_area', nth: 1, freed: [] },
    { at: 'alloc_page', nth: 1, freed: [] },
    { at: 'range_node', nth: 1, freed: ['scratch page'] },
    { at: 'populate', nth: 1, freed: ['scratch page'] },
  ])('T31: gives everything back when $at fails', ({ at, nth, freed }) => {
    const world = createWorld(arch);
    const { kernel, bpf, pages, vmalloc } = world;
    const free = pages.freePages;
    const events = record(world, 'page');
    kernel.inject(at, nth, ERRNO.ENOMEM);
    expect(arenaMapAlloc(bpf, A)).toBe(ERRNO.ENOMEM);
    expect(events.filter((e) => e.op === 'free').map((e) => e.purpose)).toEqual(freed);
    expect(pages.freePages).toBe(free);
    expect(vmalloc.findVmArea(virtAddr(FACTS[arch].vmalloc[0]))).toBeNull();
    expect(arenaMapAlloc(bpf, A)).toBeTypeOf('object');
  });

  it('T31: gives nodes, scratch page and addresses back, in this order', () => {
    const { kernel, bpf, pages, vmalloc } = createWorld(arch);
    const order: string[] = [];
    const nodes: number[] = [];
    const told =
      <T extends unknown[], R>(what: string, call: (...args: T) => R) =>
      (...args: T): R => {
        order.push(what);
        return call(...args);
      };
    const destroy = RangeTree.prototype.destroy;
    const spy = vi.spyOn(RangeTree.prototype, 'destroy').mockImplementation(function (
      this: RangeTree,
    ) {
      order.push('nodes');
      nodes.push(this.nodes().length);
      destroy.call(this);
      nodes.push(this.nodes().length);
    });
    pages.freePage = told('scratch page', pages.freePage.bind(pages));
    vmalloc.freeVmArea = told('addresses', vmalloc.freeVmArea.bind(vmalloc));
    kernel.inject('populate', 1, ERRNO.ENOMEM);
    expect(arenaMapAlloc(bpf, A)).toBe(ERRNO.ENOMEM);
    spy.mockRestore();
    expect(order).toEqual(['nodes', 'scratch page', 'addresses']);
    expect(nodes).toEqual([1, 0]);
  });

  it('passes on the errno of an injected failure to populate', () => {
    const { kernel, bpf } = createWorld(arch);
    kernel.inject('populate', 1, ERRNO.EBUSY);
    expect(arenaMapAlloc(bpf, A)).toBe(ERRNO.EBUSY);
  });

  it('fails with -ENOMEM without pages for tables, and keeps only tables', () => {
    const world = createWorld(arch, {}, 4 << 20);
    const before = world.pages.outstanding().get('page table')!;
    expect(arenaMapAlloc(world.bpf, B)).toBe(ERRNO.ENOMEM);
    const after = world.pages.outstanding();
    expect([...after.keys()]).toEqual(['page table']);
    expect(after.get('page table')).toBeGreaterThan(before);
  });

  it('fails with -ENOMEM where the wanted address is taken', () => {
    const world = createWorld(arch);
    createArenaAt(world, arch, A);
    const kernVmStart = virtAddr(FACTS[arch].kbase);
    expect(arenaMapAlloc(world.bpf, A, { kernVmStart })).toBe(ERRNO.ENOMEM);
    const other = createArena(world, A);
    const distance = other.kernVmStart - kernVmStart;
    expect(distance >= 0x1_0001_0000n || distance <= -0x1_0001_0000n).toBe(true);
  });

  it('gives its user address for any offset inside, and refuses elements', () => {
    expect(ARENA_MAP_OPS).toMatchObject({ updateElem: -95, lookupElem: -22, checkBtf: 0 });
    const world = createWorld(arch);
    const arena = createArenaAt(world, arch, A);
    expect(arenaMapDirectValueAddr(arena, 0)).toBe(A.mapExtra);
    expect(arenaMapDirectValueAddr(arena, 1000 * 4096 - 1)).toBe(A.mapExtra);
    expect(arenaMapDirectValueAddr(arena, 1000 * 4096)).toBe(ERRNO.ERANGE);
  });
});

describe.each(BOTH)('arena_map_free on $arch, $series', ({ arch, series }) => {
  it('T30: frees each data page and the scratch page once, and clears every PTE', () => {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, B);
    const { ip } = loadProg(world, arena);
    world.stack = [ip];
    finish(arenaAllocPages(arena, arena.userVmStart + 0x5000n, 2, -1, true));
    const scratched = [0n, 0x8000n, 0x1_0000_7000n].map((o) => arena.kernVmStart + o);
    for (const addr of scratched) expect(kernelFault(world, addr, true)).toBe(true);

    const events = record(world, 'page');
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 2, leaked: 0 });
    expect(events.map((e) => [e.op, e.purpose])).toEqual([
      ['free', 'arena page'],
      ['free', 'arena page'],
      ['free', 'scratch page'],
    ]);
    const touched = [...scratched, arena.kernVmStart + 0x5000n, arena.kernVmStart + 0x6000n];
    for (const addr of touched) expect(pteAt(world, addr)).toBe(0n);
    expect(world.pages.bugs).toEqual([]);
    expect([...world.pages.outstanding().keys()]).toEqual(['page table']);
    const { addr, size } = arena.kernVm;
    const range = `range ${addr.toString(16)} ${(addr + BigInt(size)).toString(16)}`;
    expect(world.flushes).toEqual([range]);
    expect(world.vmalloc.findVmArea(arena.kernVmStart)).toBeNull();
  });

  it('T30: warns and frees nothing while a user mapping lives', () => {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, A);
    const mm = new UserMm();
    const request = { addr: A.mapExtra, len: 0x3e8000n };
    const vma = finish(arenaMmap(arena, mm, request)) as Vma;
    finish(arenaAllocPages(arena, 0n, 3, -1, true));
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 0, leaked: 4 });
    expect(world.kernel.log).toEqual([
      'WARNING: at arena_map_free (user mappings are still around)',
    ]);
    expect(world.vmalloc.findVmArea(arena.kernVmStart)).not.toBeNull();
    finish(arenaMunmap(vma));
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 3, leaked: 0 });
  });

  it('runs a queued worker first, and tells of one that queued itself again', () => {
    for (const fails of [false, true]) {
      const world = createWorld(arch, { series });
      const arena = createArenaAt(world, arch, A);
      finish(arenaAllocPages(arena, 0n, 2, -1, true));
      finish(arenaFreePages(arena, A.mapExtra, 1, false));
      if (fails) world.kernel.inject('spinlock', 1, ERRNO.EBUSY);
      const decisions = record(world, 'decision');
      expect(finish(arenaMapFree(arena))).toEqual({ freed: 2, leaked: 0 });
      expect(decisions.map((d) => d.text)).toEqual(
        fails ? ['free_work is still queued on an arena that goes away'] : [],
      );
      expect(world.pages.bugs).toEqual([]);
    }
  });

  it('counts a page whose PTE somebody overwrote as leaked', () => {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, A);
    finish(arenaAllocPages(arena, 0n, 2, -1, true));
    const ptep = world.mm.ptepOffset(virtAddr(arena.kernVmStart + 0x2620_0000n))!;
    world.ram.write64(ptep, 0n);
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 1, leaked: 1 });
  });

  it('frees what is mapped up to the end of the upper half-guard', () => {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, A);
    finish(arenaAllocPages(arena, 0n, 1, -1, true));
    const [from, to] = [arena.kernVmStart + 0x2620_0000n, arena.recoveryEnd - 0x1000n];
    world.ram.write64(world.mm.ptepOffset(virtAddr(to))!, pteAt(world, from));
    world.ram.write64(world.mm.ptepOffset(virtAddr(from))!, 0n);
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 1, leaked: 0 });
  });

  it('tells the memory it uses as its revision does', () => {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, A);
    finish(arenaAllocPages(arena, 0n, 3, -1, true));
    expect(arenaMapMemUsage(arena)).toBe(series === 'v2' ? 0 : 3 * 4096);
  });
});

describe('other kernels on x86', () => {
  it('LA57 and PTI: five levels, and PTEs that are not global', () => {
    const world = createWorld('x86_64', { la57: true, pti: true });
    const arena = createArenaAt(world, 'x86_64', A);
    world.stack = [loadProg(world, arena).ip];
    expect(world.mm.tablePages).toBe(2057);
    expect(kernelFault(world, arena.kernVmStart, true)).toBe(true);
    expect(pteAt(world, arena.kernVmStart)).toBe(0x8000000001234063n);
    finish(arenaAllocPages(arena, 0n, 1, -1, true));
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 1, leaked: 0 });
  });
});

describe('other page sizes on arm64', () => {
  it.each([
    { pageSize: 16384, kbase: 0xffff800081008000n, tables: 129 },
    { pageSize: 65536, kbase: 0xffff800081010000n, tables: 9 },
  ])('maps and frees pages of $pageSize bytes', ({ pageSize, kbase, tables }) => {
    const world = createWorld('arm64', { pageSize });
    const arena = createArena(
      world,
      { ...B, maxEntries: 2 ** 32 / pageSize },
      {
        kernVmStart: virtAddr(kbase),
        scratchPfn: 0x1230,
      },
    );
    const { ip } = loadProg(world, arena);
    world.stack = [ip];
    expect(world.mm.tablePages).toBeGreaterThan(tables);
    const addr = finish(arenaAllocPages(arena, 0n, 3, -1, true));
    expect(addr).toBe(B.mapExtra);
    const frames = pageSize / 4096;
    const [first, second] = [0, 1].map((i) =>
      world.mm.vmallocToPage(virtAddr(kbase + BigInt(i * pageSize))),
    );
    expect(first % frames).toBe(0);
    expect(Math.abs(second - first)).toBe(frames);
    expect(kernelFault(world, kbase + BigInt(recoverySize(pageSize)) - 1n, false)).toBe(true);
    expect(kernelFault(world, kbase + BigInt(recoverySize(pageSize)), false)).toBe(false);
    expect(finish(arenaMapFree(arena))).toEqual({ freed: 3, leaked: 0 });
    expect(world.pages.bugs).toEqual([]);
  });
});
