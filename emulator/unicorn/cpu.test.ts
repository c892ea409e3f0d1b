// Runs, steps, limits, exits, exceptions and caches of a vCPU, with every combination of the engine's short cuts: the
// library's inner offsets and our machine code. What is told must not depend on them.
import { afterEach, describe, expect, it } from 'vitest';
import { arm64Description as arm64 } from '../../arch/arm64/registers.ts';
import { x86Description as x86 } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import { type CpuDescription, FETCH, PERM_R, PERM_W, PERM_X, READ, type Stop } from '../engine.ts';
import { createEngine } from './engine.ts';
import { ensureLibrary } from './library.ts';
import { CODE, CODE_PA, DATA, DATA_PA, TestMachine } from './test-machine.ts';

const library = ensureLibrary();
const VARIANTS = [
  { variant: 'all short cuts', shortCuts: {}, counting: true },
  { variant: 'no machine code', shortCuts: { native: false }, counting: true },
  { variant: 'no inner offsets', shortCuts: { internals: false }, counting: true },
  { variant: 'no short cut', shortCuts: { internals: false, native: false }, counting: true },
  { variant: 'no counting', shortCuts: {}, counting: false },
  { variant: 'no counting, no short cut', shortCuts: { internals: false }, counting: false },
].map((one) => ({ ...one, engine: createEngine(library, one.shortCuts) }));

const open: TestMachine[] = [];
afterEach(() => {
  for (const m of open.splice(0)) m.cpu.close();
});

/** One architecture's way to write the same programs. */
interface Dialect {
  readonly description: CpuDescription;
  readonly ip: string;
  readonly counter: string;
  readonly sum: string;
  readonly pointer: string;
  /** counter = 5; do sum += counter while (--counter); halt. Offsets of each instruction retired, in order. */
  readonly loop: { readonly code: string | number[]; readonly path: readonly number[] };
  /** Loads from [pointer], then falls through to the end of its page; nop where nothing else is said. */
  readonly load: string | number[];
  readonly nop: string | number[];
  readonly halt: string | number[];
  readonly haltName: string;
  readonly jumpToPointer: string | number[];
  /** Stores `number` at [pointer], then goes to offset 0x100, where a victim gives the counter a value and halts. */
  readonly patcher: {
    readonly start: string | number[];
    readonly number: string;
    readonly victim: (value: number) => string | number[];
  };
}

const DIALECTS: readonly Dialect[] = [
  {
    description: x86,
    ip: 'rip',
    counter: 'rcx',
    sum: 'rax',
    pointer: 'rdi',
    // mov ecx,5; 5: add rax,rcx; 8: dec ecx; a: jnz 5; c: push rbx; d: pop rdx; e: hlt
    loop: {
      code: 'b905000000 4801c8 ffc9 75f9 53 5a f4',
      path: [0, ...[5, 8, 10], ...[5, 8, 10], ...[5, 8, 10], ...[5, 8, 10], ...[5, 8, 10], 12, 13],
    },
    load: '488b07',
    nop: '90',
    halt: 'f4',
    haltName: 'hlt',
    jumpToPointer: 'ffe7',
    // mov [rdi],rax; jmp 0x100; mov ecx,value; hlt
    patcher: {
      start: '488907 e9f8000000',
      number: 'rax',
      victim: (value) => `b9${value.toString(16).padStart(2, '0')}000000 f4 9090`,
    },
  },
  {
    description: arm64,
    ip: 'pc',
    counter: 'x2',
    sum: 'x0',
    pointer: 'x1',
    // mov x2,#5; 4: add x0,x0,x2; 8: subs x2,x2,#1; c: b.ne 4; 10: str x3,[sp,#-16]!; 14: ldr x4,[sp],#16; 18: wfi
    loop: {
      code: [0xd28000a2, 0x8b020000, 0xf1000442, 0x54ffffc1, 0xf81f0fe3, 0xf84107e4, 0xd503207f],
      path: [0, ...[4, 8, 12], ...[4, 8, 12], ...[4, 8, 12], ...[4, 8, 12], ...[4, 8, 12], 16, 20],
    },
    load: [0xf9400020],
    nop: [0xd503201f],
    halt: [0xd503207f],
    haltName: 'wfi',
    jumpToPointer: [0xd61f0020],
    // str x0,[x1]; b 0x100; mov x2,#value; wfi
    patcher: {
      start: [0xf9000020, 0x1400003f],
      number: 'x0',
      victim: (value) => [0xd2800002 | (value << 5), 0xd503207f],
    },
  },
];

const join = (...parts: readonly (string | number[])[]): string | number[] =>
  typeof parts[0] === 'string' ? parts.join('') : (parts as number[][]).flat();
const repeat = (part: string | number[], times: number): string | number[] =>
  join(...Array.from({ length: times }, () => part));

describe.each(VARIANTS)('$variant', ({ engine, counting }) => {
  const machine = (
    description: CpuDescription,
    code: string | readonly number[],
    codePages = 1,
  ): TestMachine => {
    const m = new TestMachine(description, code, { engine, counting, codePages });
    m.mapData(8);
    m.set({ [description.stackPointer]: DATA + 0x8800n });
    open.push(m);
    return m;
  };

  describe.each(DIALECTS)('$description.name', (dialect) => {
    const { description, ip, loop } = dialect;
    const end = CODE + BigInt(loop.path.at(-1)! + (description === x86 ? 1 : 4));

    it('stops at an instruction that halts, again and again', () => {
      const m = machine(description, loop.code);
      const halt = { reason: 'halt', ip: end, name: dialect.haltName };
      expect(m.cpu.run(Infinity)).toEqual(halt);
      expect(m.get(dialect.sum)).toBe(15n);
      expect(m.cpu.run(Infinity)).toEqual(halt);
      expect(m.cpu.step()).toEqual(halt);
      if (counting) expect(m.cpu.retired).toBe(loop.path.length);
    });

    it('retires exactly as many instructions as a limit allows', () => {
      const m = machine(description, loop.code);
      for (let limit = 0; limit <= loop.path.length; limit++) {
        m.set({ [ip]: CODE, [dialect.sum]: 0 });
        m.cpu.retired = 0;
        const at = limit < loop.path.length ? CODE + BigInt(loop.path[limit]) : end;
        expect(m.cpu.run(limit)).toEqual({ reason: 'limit', ip: at });
        expect(m.cpu.retired).toBe(limit);
      }
      expect(m.cpu.run(1)).toMatchObject({ reason: 'halt' });
    });

    it('steps along the same path', () => {
      const m = machine(description, loop.code);
      for (const offset of loop.path) {
        expect(m.get(ip)).toBe(CODE + BigInt(offset));
        expect(m.cpu.step().reason).toBe('limit');
      }
      expect(m.cpu.retired).toBe(loop.path.length);
      expect(m.cpu.step()).toEqual({ reason: 'halt', ip: end, name: dialect.haltName });
      expect(m.get(dialect.sum)).toBe(15n);
    });

    it('takes up a run anywhere after steps, and steps after a run', () => {
      for (let first = 0; first < loop.path.length; first += 3) {
        const m = machine(description, loop.code);
        expect(m.cpu.run(first).reason).toBe('limit');
        m.cpu.step();
        m.cpu.run(2);
        m.cpu.step();
        expect(m.cpu.run(100).reason).toBe('halt');
        expect(m.get(dialect.sum)).toBe(15n);
        expect(m.cpu.retired).toBe(loop.path.length);
        m.cpu.close();
      }
    });

    it('ends at an exit, wherever it lies in a block, and starts behind it', () => {
      const offsets = [...new Set(loop.path)];
      for (const offset of offsets) {
        const m = machine(description, loop.code);
        const exit = virtAddr(CODE + BigInt(offset));
        m.cpu.setExits([exit]);
        expect(m.cpu.run(1000)).toEqual({ reason: 'exit', ip: exit });
        if (counting) expect(m.cpu.retired).toBe(loop.path.indexOf(offset));
        expect(m.cpu.run(1000)).toEqual({ reason: 'exit', ip: exit });
        m.cpu.setExits([]);
        expect(m.cpu.run(1000)).toMatchObject({ reason: 'halt' });
        expect(m.get(dialect.sum)).toBe(15n);
        // Blocks translated without the exit must heed it now.
        m.set({ [ip]: CODE });
        m.cpu.setExits([exit]);
        expect(m.cpu.run(Infinity)).toEqual({ reason: 'exit', ip: exit });
        // And heed it again, though nothing was changed.
        for (let again = 0; again < 3; again++) {
          m.set({ [ip]: CODE, [dialect.counter]: 5n });
          m.cpu.setExits([exit]);
          expect(m.cpu.run(Infinity)).toEqual({ reason: 'exit', ip: exit });
        }
        m.cpu.close();
      }
    });

    it('ends at an exit that is not mapped', () => {
      const m = machine(description, dialect.jumpToPointer);
      m.set({ [dialect.pointer]: DATA });
      m.cpu.setExits([DATA]);
      expect(m.cpu.run(10)).toEqual({ reason: 'exit', ip: DATA });
    });

    it('tells a fetch from a page that is not there, or may not run', () => {
      const m = machine(description, dialect.jumpToPointer);
      const target = virtAddr(DATA + 0x7f0n);
      m.set({ [dialect.pointer]: target });
      const fault: Stop = { reason: 'fault', ip: target, va: target, kind: FETCH };
      expect(m.cpu.run(10)).toEqual(fault);
      m.mapData(0);
      expect(m.cpu.run(10)).toEqual(fault);
      expect(m.cpu.run(10, () => false)).toEqual(fault);
      m.load(DATA_PA + 0x7f0, dialect.halt);
      const asked: unknown[] = [];
      const stop = m.cpu.run(10, (va, kind) => {
        asked.push([va, kind]);
        m.pages.map(DATA, DATA_PA, PERM_R | PERM_X);
        return true;
      });
      expect(asked).toEqual([[target, FETCH]]);
      expect(stop).toEqual({ reason: 'halt', ip: target, name: dialect.haltName });
    });

    it('runs code at address 0', () => {
      const m = machine(description, dialect.jumpToPointer);
      const nowhere = virtAddr(0n);
      m.set({ [dialect.pointer]: nowhere });
      m.load(DATA_PA, join(dialect.nop, dialect.halt));
      m.pages.map(nowhere, DATA_PA, PERM_R | PERM_X);
      const end = virtAddr(description === x86 ? 1n : 4n);
      for (const limit of [10, Infinity, 1]) {
        m.set({ [ip]: CODE });
        if (limit === 1) {
          expect(m.cpu.step()).toEqual({ reason: 'limit', ip: nowhere });
          expect(m.cpu.step()).toEqual({ reason: 'limit', ip: end });
        } else expect(m.cpu.run(limit)).toMatchObject({ reason: 'halt', ip: end });
      }
    });

    it('faults on a fetch only where the code arrives, and on data before it', () => {
      const unit = description === x86 ? 1 : 4;
      const room = 24 / unit;
      const load = dialect.load.length / (description === x86 ? 2 : 1);
      const code = join(repeat(dialect.nop, room - load), dialect.load);
      const m = machine(description, '');
      m.load(CODE_PA + 4096 - 24, code);
      const start = virtAddr(CODE + 4096n - 24n);
      m.set({ [ip]: start, [dialect.pointer]: DATA });
      const loadAt = virtAddr(CODE + 4096n - BigInt(load * unit));
      expect(m.cpu.run(100)).toEqual({ reason: 'fault', ip: loadAt, va: DATA, kind: READ });
      m.mapData(0);
      const next = virtAddr(CODE + 4096n);
      expect(m.cpu.run(100)).toEqual({ reason: 'fault', ip: next, va: next, kind: FETCH });
      if (counting) expect(m.cpu.retired).toBe(room - load + 1);
    });

    it('counts a limit, not a fault that lies just behind it', () => {
      const m = machine(description, '');
      m.load(CODE_PA + 4096 - 8, repeat(dialect.nop, description === x86 ? 8 : 2));
      const count = description === x86 ? 8 : 2;
      m.set({ [ip]: CODE + 4088n });
      expect(m.cpu.run(count)).toEqual({ reason: 'limit', ip: CODE + 4096n });
      expect(m.cpu.retired).toBe(count);
    });

    it('asks a handler once for each fault, and stops where it declines', () => {
      const m = machine(description, join(dialect.nop, dialect.load, dialect.halt));
      const va = virtAddr(DATA + 0x123n);
      m.set({ [dialect.pointer]: va });
      const unit = description === x86 ? 1n : 4n;
      let asked = 0;
      const stop = m.cpu.run(100, (at, kind) => {
        asked++;
        expect([at, kind, m.get(ip)]).toEqual([va, READ, CODE + unit]);
        if (counting) expect(m.cpu.retired).toBe(1);
        return false;
      });
      expect(asked).toBe(1);
      expect(stop).toEqual({ reason: 'fault', ip: CODE + unit, va, kind: READ });
      if (counting) expect(m.cpu.retired).toBe(1);
    });

    it('lets an exception of the translator or the handler through, and goes on afterwards', () => {
      const m = machine(description, join(dialect.nop, dialect.load, dialect.halt));
      m.set({ [dialect.pointer]: DATA });
      const boom = () => {
        throw new Error('boom');
      };
      expect(() => m.cpu.run(100, boom)).toThrow('boom');
      const translate = m.pages.translate;
      m.pages.translate = boom;
      expect(() => m.cpu.run(100)).toThrow('boom');
      m.pages.translate = translate;
      m.mapData(0);
      expect(m.cpu.run(100).reason).toBe('halt');
      if (counting) expect(m.cpu.retired).toBe(2);
    });

    it('saves and restores registers and the count', () => {
      const m = machine(description, loop.code);
      m.cpu.run(4);
      const saved = m.cpu.save();
      expect(m.cpu.run(100).reason).toBe('halt');
      m.cpu.restore(saved);
      expect(m.cpu.retired).toBe(4);
      expect(m.get(ip)).toBe(CODE + BigInt(loop.path[4]));
      expect(m.cpu.run(100).reason).toBe('halt');
      expect(m.get(dialect.sum)).toBe(15n);
      const other = machine(description, loop.code);
      expect(() => other.cpu.restore(saved)).toThrow(RangeError);
    });

    it('drops one translation, or all', () => {
      const m = machine(description, join(dialect.load, dialect.halt));
      m.mapData(0);
      m.mapData(1);
      const read = (va: bigint) => {
        m.set({ [ip]: CODE, [dialect.pointer]: va });
        return m.cpu.run(10).reason;
      };
      expect([read(DATA), read(DATA + 4096n)]).toEqual(['halt', 'halt']);
      m.pages.unmap(DATA);
      m.pages.unmap(DATA + 4096n);
      expect([read(DATA), read(DATA + 4096n)]).toEqual(['halt', 'halt']);
      m.cpu.flushTlbPage(DATA);
      expect(read(DATA)).toBe('fault');
      if (engine.knowsInternals) expect(read(DATA + 4096n)).toBe('halt');
      m.cpu.flushTlb();
      expect(read(DATA + 4096n)).toBe('fault');
    });

    it('drops a translation at whatever privilege it was made', () => {
      const arm64 = description.name === 'arm64';
      // EL1 with and without PAN, EL0; CPL 0 with and without EFLAGS.AC, CPL 3.
      const states: Readonly<Record<string, bigint>>[] = arm64
        ? [{ pstate: 0x40_0005n }, { pstate: 5n }, { pstate: 0n }]
        : [{ rflags: 0x202n }, { rflags: 0x4_0202n }, { cpl: 3n }];
      for (const state of states) {
        const m = machine(description, join(dialect.load, dialect.halt));
        m.mapData(0);
        const read = () => {
          m.set({ ...state, [ip]: CODE, [dialect.pointer]: DATA });
          return m.cpu.run(1).reason;
        };
        expect(read()).toBe('limit');
        m.pages.unmap(DATA);
        expect(read()).toBe('limit');
        m.cpu.flushTlbPage(DATA);
        expect(read()).toBe('fault');
      }
    });

    it('runs what was written into a page of code after flushCode', () => {
      const m = machine(description, loop.code);
      m.cpu.run(100);
      expect([...m.cpu.executedFrames]).toEqual([CODE_PA / 4096]);
      m.load(CODE_PA, join(repeat(dialect.nop, 3), dialect.halt));
      m.cpu.flushCode();
      m.cpu.retired = 0;
      m.set({ [ip]: CODE });
      expect(m.cpu.run(100).reason).toBe('halt');
      if (counting) expect(m.cpu.retired).toBe(3);
    });

    it('runs code put back in place of other code', () => {
      const m = machine(description, loop.code);
      const original = m.ram.read(CODE_PA, 64);
      const run = () => {
        m.set({ [ip]: CODE, [dialect.sum]: 0n });
        expect(m.cpu.run(100).reason).toBe('halt');
        return m.get(dialect.sum);
      };
      expect(run()).toBe(15n);
      m.load(CODE_PA, join(repeat(dialect.nop, 3), dialect.halt));
      m.cpu.flushCode();
      // Nothing ran meanwhile: the first code's blocks may still be there.
      m.ram.write(CODE_PA, original);
      m.cpu.flushCode();
      expect(run()).toBe(15n);
      m.load(CODE_PA, join(repeat(dialect.nop, 3), dialect.halt));
      m.cpu.flushCode();
      expect(run()).toBe(0n);
      m.ram.write(CODE_PA, original);
      m.cpu.flushCode();
      expect(run()).toBe(15n);
    });

    it('runs code put back after the guest itself had changed it', () => {
      const { start, victim, number } = dialect.patcher;
      const m = machine(description, start);
      m.load(CODE_PA + 0x100, victim(1));
      m.pages.map(DATA, CODE_PA, PERM_R | PERM_W);
      const run = (offset: bigint) => {
        m.set({ [ip]: CODE + offset });
        expect(m.cpu.run(100).reason).toBe('halt');
        return m.get(dialect.counter);
      };
      expect(run(0x100n)).toBe(1n);
      m.load(DATA_PA, victim(2));
      m.set({ [dialect.pointer]: DATA + 0x100n, [number]: m.ram.read64(DATA_PA) });
      expect(run(0n)).toBe(2n);
      m.load(CODE_PA + 0x100, victim(1));
      m.cpu.flushCode();
      expect(run(0x100n)).toBe(1n);
    });

    it('runs other code when its page moves to another frame', () => {
      const m = machine(description, join(dialect.nop, dialect.halt));
      const frame = CODE_PA + 0x8000;
      m.load(frame, join(dialect.nop, repeat(dialect.nop, 4), dialect.halt));
      for (const [pa, count] of [
        [CODE_PA, 1],
        [frame, 5],
        [CODE_PA, 1],
      ] as const) {
        m.pages.map(CODE, pa, PERM_R | PERM_X);
        m.cpu.flushTlb();
        m.cpu.retired = 0;
        m.set({ [ip]: CODE });
        expect(m.cpu.run(100).reason).toBe('halt');
        if (counting) expect(m.cpu.retired).toBe(count);
      }
    });

    it('refuses what lies outside RAM', () => {
      const m = machine(description, join(dialect.load, dialect.halt));
      m.pages.map(DATA, 2 ** 40, PERM_R | PERM_W);
      m.set({ [dialect.pointer]: DATA });
      const stop = m.cpu.run(10);
      expect(stop).toMatchObject({ reason: 'engine', ip: CODE });
      expect((stop as { why: string }).why).toMatch(/outside RAM/);
    });

    it('shares RAM with other vCPUs', () => {
      const a = machine(description, loop.code);
      const b = new TestMachine(description, loop.code, { engine, counting, ram: a.ram });
      open.push(b);
      b.mapData(8);
      b.set({ [description.stackPointer]: DATA + 0x8800n });
      const pushed = description === x86 ? 'rbx' : 'x3';
      a.set({ [pushed]: 0x1234n });
      expect([a.cpu.run(100).reason, b.cpu.run(5).reason]).toEqual(['halt', 'limit']);
      const slot = DATA_PA + 0x8800 - (description === x86 ? 8 : 16);
      expect(a.ram.read64(slot)).toBe(0x1234n);
      expect(b.cpu.run(100).reason).toBe('halt');
      expect(a.ram.read64(slot)).toBe(0n);
      expect([a.get(dialect.sum), b.get(dialect.sum)]).toEqual([15n, 15n]);
    });

    it('says so when it is used after its end', () => {
      const m = machine(description, loop.code);
      const saved = m.cpu.save();
      m.cpu.close();
      const uses = [
        () => m.cpu.run(1),
        () => m.cpu.step(),
        () => m.get(ip),
        () => m.set({ [ip]: 0 }),
        () => m.cpu.flushTlb(),
        () => m.cpu.flushCode(),
        () => m.cpu.save(),
        () => m.cpu.restore(saved),
      ];
      for (const use of uses) expect(use).toThrow(/closed/);
    });

    it('reads and writes all general registers', () => {
      const m = machine(description, loop.code);
      const words = new BigUint64Array(description.general.length);
      m.cpu.readGeneral(words);
      const flags = words[words.length - 1];
      for (let i = 0; i < words.length - 1; i++) words[i] = 0x1111_0000_1111n * BigInt(i + 1);
      m.cpu.writeGeneral(words);
      const again = new BigUint64Array(words.length);
      m.cpu.readGeneral(again);
      expect([...again]).toEqual([...words]);
      expect(again.at(-1)).toBe(flags);
      description.general.forEach((name, i) => void expect(m.get(name)).toBe(words[i]));
    });
  });

  describe('x86-64 exceptions', () => {
    const exceptions: [string, string, number, string, number][] = [
      ['div by zero', '31c9 f7f1', 0, '#DE', 2],
      ['int3', '90 cc', 3, '#BP', 2],
      ['int 0x20', '90 cd20', 32, 'INT 32', 3],
      ['ud2', '90 0f0b', 6, '#UD', 1],
      ['ud0', '90 0fffc0', 6, '#UD', 1],
      ['lock on a register', '90 f0480fc1c8', 6, '#UD', 1],
      // The library's translator aborts the process at these.
      ['lock bt on a register', '90 f0480fa3c8', 6, '#UD', 1],
      ['lock btr on a register, more prefixes', '90 66f02e0fb3c8', 6, '#UD', 1],
    ];
    it.each(exceptions)('%s', (_name, code, number, name, at) => {
      const m = machine(x86, code);
      for (let round = 0; round < 4; round++) {
        m.set({ rip: CODE });
        const stop = m.cpu.run(100);
        expect(stop).toEqual({ reason: 'exception', ip: CODE + BigInt(at), number, name });
      }
    });
  });

  describe('arm64 exceptions', () => {
    const exceptions: [string, number, string, number][] = [
      ['brk', 0xd4200000, 'BRK', 4],
      ['udf', 0x00000000, 'UNDEFINED', 4],
      ['svc', 0xd4000001, 'SVC', 8],
    ];
    it.each(exceptions)('%s', (_name, word, name, at) => {
      const m = machine(arm64, [0xd503201f, word]);
      for (let round = 0; round < 3; round++) {
        m.set({ pc: CODE });
        expect(m.cpu.run(100)).toMatchObject({ reason: 'exception', ip: CODE + BigInt(at), name });
      }
    });

    // The library's translator aborts the process at these.
    it.each([
      ['three-same', 0x0e422c00],
      ['two-register', 0x5e780800],
    ])('are not what unallocated half-precision %s ends in', (_name, word) => {
      const m = machine(arm64, [0xd503201f, word]);
      for (let round = 0; round < 3; round++) {
        m.set({ pc: CODE });
        const bytes = new Uint8Array(Uint32Array.of(word).buffer);
        expect(m.cpu.run(100)).toMatchObject({ reason: 'engine', ip: CODE + 4n, bytes });
      }
    });
  });

  describe('repeated string instructions', () => {
    // mov ecx,4; rep stosb; inc eax; hlt
    const CODE_REP = 'b904000000 f3aa ffc0 f4';

    it('counts each repetition', () => {
      const m = machine(x86, CODE_REP);
      m.mapData(0);
      const places = [0, 5, 5, 5, 5, 7, 9];
      for (let limit = 0; limit < places.length; limit++) {
        m.set({ rip: CODE, rdi: DATA });
        m.cpu.retired = 0;
        expect(m.cpu.run(limit)).toEqual({ reason: 'limit', ip: CODE + BigInt(places[limit]) });
        expect(m.cpu.retired).toBe(limit);
      }
      m.set({ rip: CODE, rdi: DATA });
      m.cpu.retired = 0;
      for (const place of places.slice(1)) {
        expect(m.cpu.step()).toEqual({ reason: 'limit', ip: CODE + BigInt(place) });
      }
      expect(m.cpu.retired).toBe(6);
      if (!counting) return;
      m.set({ rip: CODE, rdi: DATA });
      m.cpu.retired = 0;
      expect(m.cpu.run(Infinity).reason).toBe('halt');
      expect(m.cpu.retired).toBe(6);
    });

    it('counts one for no repetition, and stops early where the condition ends it', () => {
      if (!counting) return;
      // rep stosb; hlt
      const none = machine(x86, 'f3aa f4');
      expect(none.cpu.run(100).reason).toBe('halt');
      expect(none.cpu.retired).toBe(1);
      // mov ecx,5; repne scasb; hlt
      const scan = machine(x86, 'b905000000 f2ae f4');
      scan.mapData(0);
      scan.ram.bytes.set([1, 2, 0, 4, 5], DATA_PA);
      scan.set({ rdi: DATA });
      expect(scan.cpu.run(100).reason).toBe('halt');
      expect([scan.cpu.retired, scan.get('rcx')]).toEqual([4, 2n]);
    });

    it('counts the same when it faults in the middle', () => {
      const m = machine(x86, CODE_REP);
      m.mapData(0);
      m.set({ rdi: DATA + 4094n });
      const boundary = virtAddr(DATA + 4096n);
      const stop = m.cpu.run(100);
      expect(stop).toMatchObject({ reason: 'fault', va: boundary, ip: CODE + 5n });
      expect([m.get('rcx'), m.get('rdi')]).toEqual([2n, boundary]);
      if (counting) expect(m.cpu.retired).toBe(3);
      m.mapData(1);
      expect(m.cpu.run(100).reason).toBe('halt');
      if (counting) expect(m.cpu.retired).toBe(6);
    });
  });

  describe('what must not reach the core', () => {
    const refused: [string, CpuDescription, string | number[], string | number[], RegExp][] = [
      ['vaddps', x86, '90', 'c5f058c2', /AVX/],
      ['vmovdqu with a prefix', x86, '90', '64c5fa6f07', /AVX/],
      ['an EVEX form', x86, '90', '62f17c48100f', /AVX/],
      ['in', x86, '90', 'ec', /ports/],
      ['rep outsb', x86, '90', 'f36e', /ports/],
      ['syscall', x86, '90', '0f05', /system calls/],
      ['rdrand', x86, '90', '480fc7f0', /random/],
      ['rndr', arm64, [0xd503201f], [0xd53b2400], /random/],
      ['cntvct_el0', arm64, [0xd503201f], [0xd53be040], /clock/],
    ];
    it.each(refused)('refuses %s, with its address and bytes', (_n, description, nop, bad, why) => {
      const m = machine(description, join(nop, nop, bad, nop));
      const unit = description === x86 ? 2n : 8n;
      for (const stop of [m.cpu.run(100), m.cpu.run(100), m.cpu.step()]) {
        expect(stop).toMatchObject({ reason: 'engine', ip: CODE + unit });
        if (stop.reason !== 'engine') continue;
        expect(stop.why).toMatch(why);
        const hex =
          typeof bad === 'string' ? bad : Buffer.from(Uint32Array.from(bad).buffer).toString('hex');
        if (!/AVX/.test(stop.why)) expect(Buffer.from(stop.bytes).toString('hex')).toBe(hex);
      }
      if (counting) expect(m.cpu.retired).toBe(2);
    });

    it('reads the clock from the count, not from the host', () => {
      // nop; rdtsc; hlt
      const m = machine(x86, '90 0f31 f4');
      m.set({ rax: -1, rdx: -1 });
      expect(m.cpu.run(100).reason).toBe('halt');
      expect([m.get('rdx'), m.get('rax') < 10n]).toEqual([0n, true]);
    });

    it('has clflush read, as the hardware does', () => {
      const m = machine(x86, '90 0fae3f f4');
      m.set({ rdi: DATA + 5n });
      const fault = { reason: 'fault', ip: CODE + 1n, va: DATA + 5n, kind: READ };
      expect(m.cpu.run(100)).toEqual(fault);
      expect(m.cpu.step()).toEqual(fault);
      m.mapData(0, PERM_R);
      expect(m.cpu.run(100).reason).toBe('halt');
      if (counting) expect(m.cpu.retired).toBe(2);
    });
  });

  it('follows code that rewrites itself', () => {
    // mov byte [rip+1], 0x42 -> changes the immediate of the next mov; mov al, 0x41; hlt
    const m = machine(x86, 'c605010000 0042 b041 f4');
    m.pages.map(CODE, CODE_PA, PERM_R | PERM_W | PERM_X);
    expect(m.cpu.run(100).reason).toBe('halt');
    expect(m.get('rax')).toBe(0x42n);
    m.ram.bytes[CODE_PA + 8] = 0x41;
    m.cpu.flushCode();
    m.set({ rip: CODE });
    expect(m.cpu.run(100).reason).toBe('halt');
    expect(m.get('rax')).toBe(0x42n);
  });
});
