// The patch's handler: T1 to T14, T21, T22, T37, T38 and T40 of the kernel reference, as far as they lie on this floor.
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { finish, onward } from '../mm/context.ts';
import { KFENCE_ARM64, KFENCE_X86, Kfence } from '../mm/kfence.ts';
import { NO_TLB } from '../mm/tlb-control.ts';
import type { BpfArena } from './arena.ts';
import { arenaAllocPages } from './arena-alloc.ts';
import {
  arenaRecoverer,
  bpfArenaHandlePageFault,
  bpfProgReportArenaViolation,
} from './arena-fault.ts';
import { BPF_STDERR, bpfStreamVprintk } from './stream.ts';
import {
  A,
  B,
  BOTH,
  createArena,
  createArenaAt,
  createWorld,
  FACTS,
  KERNEL_IP,
  kernelAccess,
  kernelFault,
  loadProg,
  pteAt,
  readStderr,
  record,
} from './test-world.ts';

describe.each(BOTH)('bpf_arena_handle_page_fault on $arch, $series', ({ arch, series }) => {
  const K = FACTS[arch].kbase;
  const scratchPte = FACTS[arch].scratchPte;

  function setUp(attr = A) {
    const world = createWorld(arch, { series });
    const arena = createArenaAt(world, arch, attr);
    const { prog, ip, ksym } = loadProg(world, arena);
    world.stack = [KERNEL_IP, ip];
    const firstLine = () => readStderr(world, prog).split('\n')[0];
    return { world, arena, prog, ip, ksym, firstLine };
  }

  it.each([
    { offset: -1n, a: null, b: null },
    { offset: 0n, a: '0x7f7d00000000', b: '0x7f7e00000000' },
    { offset: 0x26200000n, a: '0x7f7d26200000', b: '0x7f7e26200000' },
    { offset: 0x26200123n, a: '0x7f7d26200000', b: '0x7f7e26200000' },
    { offset: 0x265e7fffn, a: '0x7f7d265e7000', b: '0x7f7e265e7000' },
    { offset: 0xffffffffn, a: '0x7f7dfffff000', b: '0x7f7efffff000' },
    { offset: 0x100000000n, a: '0x7f7e00000000', b: '0x7f7f00000000' },
    { offset: 0x100000010n, a: '0x7f7e00000000', b: '0x7f7f00000000' },
    { offset: 0x100007fffn, a: '0x7f7e00007000', b: '0x7f7f00007000' },
    { offset: 0x100008000n, a: null, b: null },
  ])('recovers offset $offset, or not, and prints its page', ({ offset, a, b }) => {
    for (const [attr, printed] of [
      [A, a],
      [B, b],
    ] as const) {
      const { world, firstLine } = setUp(attr);
      expect(kernelFault(world, K + offset, false)).toBe(printed !== null);
      expect(firstLine()).toBe(
        printed ? `ERROR: Arena READ access at unmapped address ${printed}` : '',
      );
      const page = (K + offset) & ~0xfffn;
      expect(pteAt(world, page)).toBe(printed ? scratchPte : 0n);
    }
  });

  it('T1 to T3: one report a page, and one frame behind all of them', () => {
    const { world, firstLine } = setUp();
    expect(kernelAccess(world, K + 0x26200123n, 0xab)).toBe(0xab);
    expect(pteAt(world, K + 0x26200000n)).toBe(scratchPte);
    expect(world.ram.readUint(0x1234123, 1)).toBe(0xabn);
    expect(firstLine()).toBe('ERROR: Arena WRITE access at unmapped address 0x7f7d26200000');
    expect(kernelAccess(world, K + 0x26200ff0n, null)).toBe(0);
    expect(firstLine()).toBe('');
    expect(kernelAccess(world, K + 0x26201123n, null)).toBe(0xab);
    expect(firstLine()).toBe('ERROR: Arena READ access at unmapped address 0x7f7d26201000');
  });

  it('prints the whole report', () => {
    const { world, prog, ip } = setUp();
    world.task = { comm: 'scx_simple', pid: 4711, uid: 1000 };
    world.kernel.cpu = 3;
    prog.lineInfo = () => ({ line: 'x->y = 1;', file: 'scx.bpf.c', num: 42 });
    kernelFault(world, K, true);
    expect(readStderr(world, prog)).toBe(
      [
        'ERROR: Arena WRITE access at unmapped address 0x7f7d00000000',
        'CPU: 3 UID: 1000 PID: 4711 Comm: scx_simple',
        'Call trace:',
        `sym_${KERNEL_IP.toString(16)}`,
        `sym_${ip.toString(16)}`,
        '  x->y = 1; @ scx.bpf.c:42',
        '',
        '',
      ].join('\n'),
    );
  });

  it('prints the trace of the stack, task and CPU of each fault', () => {
    const { world, prog, ip } = setUp();
    kernelFault(world, K, true);
    const first = readStderr(world, prog);
    world.stack = [KERNEL_IP, virtAddr(KERNEL_IP + 8n), ip];
    kernelFault(world, K + 0x1000n, true);
    expect(readStderr(world, prog)).toContain(`sym_${(KERNEL_IP + 8n).toString(16)}\n`);
    world.stack = [KERNEL_IP, ip];
    world.task.pid++;
    kernelFault(world, K + 0x2000n, true);
    expect(readStderr(world, prog)).toContain(`PID: ${world.task.pid} `);
    world.task.pid--;
    kernelFault(world, K, true);
    expect(readStderr(world, prog)).toBe(first);
  });

  it('T9, T10: declines without a program, or without an arena in the innermost one', () => {
    const { world, ip, prog } = setUp();
    world.stack = [KERNEL_IP];
    expect(kernelFault(world, K, true)).toBe(false);
    const inner = loadProg(world, null, 'inner');
    world.stack = [KERNEL_IP, inner.ip, ip];
    expect(kernelFault(world, K, true)).toBe(false);
    expect(pteAt(world, K)).toBe(0n);
    expect(readStderr(world, prog)).toBe('');
  });

  it("T11: declines an address of another program's arena", () => {
    const { world } = setUp();
    const other = createArena(world, B, { name: 'b' });
    expect(kernelFault(world, other.kernVmStart, true)).toBe(false);
  });

  it("T12: reports a subprogram's fault in its main program's stream", () => {
    const { world, arena, prog, firstLine } = setUp();
    const sub = loadProg(world, arena, 'sub', prog);
    world.stack = [KERNEL_IP, sub.ip];
    expect(kernelFault(world, K, true)).toBe(true);
    expect(firstLine()).toContain('ERROR: Arena WRITE');
    expect(sub.prog.streams[1].capacity).toBe(0);
  });

  it('T13: declines when the unwinder gives nothing', () => {
    const { world } = setUp();
    world.stack = [];
    expect(kernelFault(world, K, true)).toBe(false);
  });

  it('T14: knows a program by a return address at its end', () => {
    const { world, ksym } = setUp();
    world.stack = [KERNEL_IP, ksym.end];
    expect(kernelFault(world, K, true)).toBe(true);
    world.stack = [KERNEL_IP, virtAddr(ksym.end + 1n)];
    expect(kernelFault(world, K, true)).toBe(false);
  });

  it('leaves a page that was mapped meanwhile, and reports all the same', () => {
    const { world, arena, firstLine } = setUp();
    finish(arenaAllocPages(arena, 0n, 1, -1, true));
    const pte = pteAt(world, K + 0x26200000n);
    expect(kernelFault(world, K + 0x26200008n, true)).toBe(true);
    expect(pteAt(world, K + 0x26200000n)).toBe(pte);
    expect(firstLine()).toContain('0x7f7d26200000');
  });

  it('flushes no TLB', () => {
    const { world } = setUp();
    kernelFault(world, K, true);
    expect(world.flushes).toEqual([]);
  });

  it('T37: drops the whole report when the stream is full, and recovers all the same', () => {
    const { world, prog } = setUp();
    for (let i = 0; i < 99; i++) {
      bpfStreamVprintk(world.kernel, prog, BPF_STDERR, 'x'.repeat(1000));
    }
    bpfStreamVprintk(world.kernel, prog, BPF_STDERR, 'x'.repeat(950));
    expect(kernelFault(world, K, true)).toBe(true);
    expect(pteAt(world, K)).toBe(scratchPte);
    expect(prog.streams[1].capacity).toBe(99_950);
    const events = record(world, 'streamWrite');
    expect(kernelFault(world, K + 0x1000n, true)).toBe(true);
    expect(events).toMatchObject([{ prog: 'prog', stream: 'stderr', dropped: true }]);
    expect(events[0].text).toContain('0x7f7d00001000');
    expect(readStderr(world, prog)).toHaveLength(99_950);
    expect(kernelFault(world, K + 0x2000n, true)).toBe(true);
    expect(readStderr(world, prog)).toContain('0x7f7d00002000');
  });

  it('takes a report that fits to the byte, with and without readers of events', () => {
    const room = setUp();
    kernelFault(room.world, K, true);
    const length = readStderr(room.world, room.prog).length;
    for (const spare of [0, 1]) {
      for (const told of [false, true]) {
        const { world, prog } = setUp();
        prog.streams[1].capacity = 100_000 - length - spare;
        if (told) record(world, 'streamWrite');
        kernelFault(world, K, true);
        expect(readStderr(world, prog).length).toBe(spare ? length : 0);
      }
    }
  });

  it('is a stub that declines without CONFIG_BPF_SYSCALL', () => {
    for (const bpfSyscall of [true, false]) {
      const world = createWorld(arch, { series, bpfSyscall });
      const arena = createArenaAt(world, arch, A);
      world.stack = [loadProg(world, arena).ip];
      const recoverer = arenaRecoverer(world.bpf);
      expect(recoverer.resolution).toBe('scratch');
      const regs = { ip: KERNEL_IP } as never;
      expect(finish(recoverer.handlePageFault(virtAddr(K), true, regs))).toBe(bpfSyscall);
    }
  });

  it('T40: declines a null pointer', () => {
    const { world } = setUp();
    expect(kernelFault(world, 0n, true)).toBe(false);
  });

  it('tells what it did', () => {
    const { world } = setUp();
    const calls = record(world, 'call');
    const decisions = record(world, 'decision');
    const ptes = record(world, 'pteChange');
    kernelFault(world, K + 0x123n, true);
    kernelFault(world, K - 1n, false);
    kernelFault(world, K, true);
    expect(calls.map((c) => c.args)).toEqual([
      { addr: `0x${(K + 0x123n).toString(16)}`, access: 'write' },
      { addr: `0x${(K - 1n).toString(16)}`, access: 'read' },
      { addr: `0x${K.toString(16)}`, access: 'write' },
    ]);
    expect(decisions.map((d) => d.text)).toEqual([
      'scratch page installed',
      "not in the recovery range of prog's arena",
      'the page is mapped by now',
    ]);
    expect(ptes).toMatchObject([{ va: K, before: 0n, after: scratchPte, by: 'ptep_try_set' }]);
  });

  it('stops before it looks, before it installs and before it reports', () => {
    const { world } = setUp();
    world.kernel.stepping = true;
    const activity = onward(bpfArenaHandlePageFault(world.bpf, virtAddr(K), true, KERNEL_IP));
    expect([...activity].map((s) => `${s.kind} ${s.what.split(' ')[0]}`)).toEqual([
      'pte ptep_get',
      'pte ptep_try_set',
      'report arena',
    ]);
  });

  it('is as much work in steps as at once', () => {
    const work = [false, true].map((stepping) => {
      const { world } = setUp();
      world.kernel.stepping = stepping;
      finish(bpfArenaHandlePageFault(world.bpf, virtAddr(K), true, KERNEL_IP));
      return world.kernel.work;
    });
    expect(work[0].frames).toBeGreaterThan(0);
    expect(work[1]).toEqual(work[0]);
  });

  it('loses the race to another installer without harm', () => {
    const { world } = setUp();
    world.kernel.stepping = true;
    const activity = onward(bpfArenaHandlePageFault(world.bpf, virtAddr(K), true, KERNEL_IP));
    activity.next();
    activity.next();
    const other = FACTS[arch].scratchPte + 0x1000n;
    world.ram.write64(world.mm.ptepOffset(virtAddr(K))!, other);
    let step = activity.next();
    while (!step.done) step = activity.next();
    expect(step.value).toBe(true);
    expect(pteAt(world, K)).toBe(other);
  });

  it('T21, T22: reports BPF instructions byte exact, maps nothing, and again each time', () => {
    const { world, prog, ip, firstLine } = setUp();
    const report = (isWrite: boolean, addr: bigint) =>
      finish(bpfProgReportArenaViolation(world.bpf, isWrite, addr, ip));
    report(false, 0x26200030n);
    report(false, 0x26200030n);
    const text = readStderr(world, prog);
    expect(text.match(/READ access at unmapped address 0x7f7d26200030\n/g)).toHaveLength(2);
    report(true, -8n);
    expect(firstLine()).toBe('ERROR: Arena WRITE access at unmapped address 0x7f7cfffffff8');
    expect(pteAt(world, K + 0x26200000n)).toBe(0n);
    finish(bpfProgReportArenaViolation(world.bpf, true, 0n, KERNEL_IP));
    expect(firstLine()).toBe('');
  });

  it('T38: KFENCE, asked first, keeps a faked pool from the arena', () => {
    const { world, prog } = setUp();
    const kfenceArch = arch === 'arm64' ? KFENCE_ARM64 : KFENCE_X86;
    const { kernel, ram, mm } = world;
    const formatSymbol = () => 'kfunc+0x0/0x8';
    const host = { kernel, ram, mm, tlb: NO_TLB, arch: kfenceArch, formatSymbol };
    const kfence = new Kfence(host, virtAddr(K + 0x10000n), 3);
    const guard = virtAddr(K + 0x13000n);
    const regs = { ip: KERNEL_IP };
    const handled =
      finish(kfence.handlePageFault(guard, true, regs)) || kernelFault(world, guard, true);
    expect(handled).toBe(true);
    expect(kernel.log[1]).toBe('BUG: KFENCE: invalid write in kfunc+0x0/0x8');
    expect(mm.format.ptePresent(pteAt(world, guard))).toBe(true);
    expect(pteAt(world, guard)).not.toBe(scratchPte);
    expect(readStderr(world, prog)).toBe('');
  });
});

describe('entries that are neither none nor present', () => {
  it('x86: an entry of dirty bits alone is none, is never set, and is reported each time', () => {
    const world = createWorld('x86_64');
    const arena: BpfArena = createArenaAt(world, 'x86_64', A);
    const { prog, ip } = loadProg(world, arena);
    world.stack = [ip];
    const ptep = world.mm.ptepOffset(arena.kernVmStart)!;
    world.ram.write64(ptep, 0x60n);
    expect(kernelFault(world, arena.kernVmStart, true)).toBe(true);
    expect(world.ram.read64(ptep)).toBe(0x60n);
    expect(readStderr(world, prog)).not.toBe('');
  });

  it('arm64 without CONTPTE has no ptep_try_set: handled, reported, nothing installed', () => {
    const world = createWorld('arm64', { contpte: false });
    const arena = createArenaAt(world, 'arm64', A);
    const { prog, ip } = loadProg(world, arena);
    world.stack = [ip];
    expect(kernelFault(world, arena.kernVmStart, true)).toBe(true);
    expect(pteAt(world, arena.kernVmStart)).toBe(0n);
    expect(readStderr(world, prog)).not.toBe('');
  });
});
