import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { ERRNO } from '../mm/context.ts';
import { BpfKsyms, BpfProg, resolveArena } from './prog.ts';
import { A, createArena, createWorld, KERNEL_IP, loadProg } from './test-world.ts';

const at = (n: number) => virtAddr(0xffffffffc0000000n + BigInt(n));
const ksym = (name: string, start: number, end: number, prog: BpfProg | null) => ({
  name,
  start: at(start),
  end: at(end),
  prog,
});

describe('symbols of JITed images', () => {
  const first = new BpfProg('first', null);
  const second = new BpfProg('second', null);
  const ksyms = new BpfKsyms();
  ksyms.add(ksym('second', 0x200, 0x300, second));
  ksyms.add(ksym('first', 0, 0x100, first));
  ksyms.add(ksym('trampoline', 0x400, 0x500, null));

  it.each([
    { ip: 0, found: first, why: 'its start' },
    { ip: 0xff, found: first, why: 'its last byte' },
    { ip: 0x100, found: first, why: 'its end, where a final call returns to' },
    { ip: 0x101, found: null, why: 'behind its end' },
    { ip: 0x1ff, found: null, why: 'before the next' },
    { ip: 0x250, found: second, why: 'the middle' },
    { ip: 0x450, found: null, why: 'a trampoline, no program' },
    { ip: 0x501, found: null, why: 'behind everything' },
    { ip: -1, found: null, why: 'before everything' },
  ])('at $ip: $why', ({ ip, found }) => {
    expect(ksyms.findProg(at(ip))).toBe(found);
  });

  it('answers with the earlier of two images that touch', () => {
    const touching = new BpfKsyms();
    touching.add(ksym('second', 0x100, 0x200, second));
    touching.add(ksym('first', 0, 0x100, first));
    expect(touching.findProg(at(0x100))).toBe(first);
    expect(touching.findProg(at(0x101))).toBe(second);
  });

  it('forgets an image that is removed', () => {
    const gone = ksym('gone', 0x800, 0x900, first);
    ksyms.add(gone);
    const { generation } = ksyms;
    ksyms.remove(gone);
    expect(ksyms.find(at(0x880))).toBeNull();
    expect(ksyms.generation).toBeGreaterThan(generation);
    expect(new BpfKsyms().find(at(0))).toBeNull();
  });

  it('refuses images that overlap or are empty', () => {
    expect(() => ksyms.add(ksym('x', 0x80, 0x180, null))).toThrow(/overlaps first/);
    expect(() => ksyms.add(ksym('x', 0x800, 0x800, null))).toThrow(/empty/);
  });

  it('searches the exception table of the program at ip only', () => {
    const entry = { insn: at(0x10), fixup: at(0), type: 7, data: 0, fixupWord: 0 };
    first.extable = [entry];
    expect(ksyms.searchExtables(at(0x10))).toBe(entry);
    expect(ksyms.searchExtables(at(0x11))).toBeNull();
    expect(ksyms.searchExtables(KERNEL_IP)).toBeNull();
  });
});

describe('finding the program on the stack', () => {
  it('takes the innermost frame, and the main program of a subprogram', () => {
    const world = createWorld('x86_64');
    const outer = loadProg(world, null, 'outer');
    const main = loadProg(world, null, 'main');
    const sub = loadProg(world, null, 'sub', main.prog);
    const find = (...stack: bigint[]) => {
      world.stack = stack.map(virtAddr);
      world.bpf.trace.walk();
      return world.bpf.trace.findProg();
    };
    expect(find(KERNEL_IP, sub.ip, main.ip, outer.ip)).toBe(main.prog);
    expect(find(KERNEL_IP, outer.ip, sub.ip)).toBe(outer.prog);
    expect(find(KERNEL_IP, main.ksym.end)).toBe(main.prog);
    expect(find(KERNEL_IP)).toBeNull();
    expect(find()).toBeNull();
  });
});

describe('the arena of a program', () => {
  const world = createWorld('x86_64');
  const a = createArena(world, A);
  const b = createArena(world, { ...A, mapExtra: 0n });
  const rights = { capable: true, jitRequested: true, jitSupportsArena: true };

  it('is set once, and handed down to subprograms', () => {
    const prog = new BpfProg('p', null);
    expect(resolveArena(prog, a)).toEqual({ errno: 0, message: '' });
    expect(resolveArena(prog, a).errno).toBe(0);
    expect(new BpfProg('sub', null, prog).arena).toBe(a);
  });

  it.each([
    { arena: b, used: a, change: {}, errno: ERRNO.EBUSY, message: 'Only one arena per program' },
    {
      arena: a,
      used: null,
      change: { capable: false, jitRequested: false },
      errno: ERRNO.EPERM,
      message: 'CAP_BPF and CAP_PERFMON are required to use arena',
    },
    {
      arena: a,
      used: null,
      change: { jitRequested: false, jitSupportsArena: false },
      errno: ERRNO.EOPNOTSUPP,
      message: 'JIT is required to use arena',
    },
    {
      arena: b,
      used: null,
      change: { jitSupportsArena: false },
      errno: ERRNO.EOPNOTSUPP,
      message: "JIT doesn't support arena",
    },
    {
      arena: b,
      used: null,
      change: {},
      errno: ERRNO.EINVAL,
      message: "arena's user address must be set via map_extra or mmap()",
    },
  ])('is refused: $message', ({ arena, used, change, errno, message }) => {
    const prog = new BpfProg('p', used);
    expect(resolveArena(prog, arena, { ...rights, ...change })).toEqual({ errno, message });
    expect(prog.arena).toBe(used);
  });
});
