// Nothing old is used: neither a translation that was dropped nor code that was overwritten, whoever did it and whenever.
import { afterEach, describe, expect, it } from 'vitest';
import { arm64Description as arm64 } from '../../arch/arm64/registers.ts';
import { x86Description as x86 } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import { type CpuDescription, FETCH, PERM_R, PERM_W, PERM_X } from '../engine.ts';
import { createEngine } from './engine.ts';
import { ensureLibrary } from './library.ts';
import { CODE, CODE_PA, DATA, TestMachine } from './test-machine.ts';

const library = ensureLibrary();
const VARIANTS = [
  { variant: 'all short cuts', shortCuts: {}, counting: true },
  { variant: 'no short cut', shortCuts: { internals: false, native: false }, counting: true },
  { variant: 'no counting', shortCuts: {}, counting: false },
].map((one) => ({ ...one, engine: createEngine(library, one.shortCuts) }));

const open: TestMachine[] = [];
afterEach(() => {
  for (const m of open.splice(0)) m.cpu.close();
});

/** Stores to a page, goes on to the next one, for ever: the second instruction is the store. */
const STORES = [
  // nop; 1: mov [rdi],rcx; add rdi,0x1000; jmp 1b
  { description: x86, pointer: 'rdi', code: '90 48890f 4881c700100000 ebf4', store: 1n },
  // nop; 1: str x1,[x0]; add x0,x0,#1,lsl #12; b 1b
  {
    description: arm64,
    pointer: 'x0',
    code: [0xd503201f, 0xf9000001, 0x91400400, 0x17fffffe],
    store: 4n,
  },
];

describe.each(VARIANTS)('$variant', ({ engine, counting }) => {
  describe.each(STORES)('$description.name', ({ description, pointer, code, store }) => {
    it.each([
      ['its page', (m: TestMachine) => m.cpu.flushTlbPage(CODE)],
      ['everything', (m: TestMachine) => m.cpu.flushTlb()],
    ])('fetches a loop again when a handler of its faults has dropped %s', (_name, flush) => {
      const m = new TestMachine(description, code, { engine, counting });
      open.push(m);
      m.set({ [pointer]: DATA });
      let faults = 0;
      const stop = m.cpu.run(counting ? 1000 : Number.POSITIVE_INFINITY, (va, kind) => {
        if (kind === FETCH) return false;
        m.mapData(Number((va - DATA) >> 12n));
        if (++faults === 3) {
          m.pages.unmap(CODE);
          flush(m);
        }
        return faults < 40;
      });
      const ip = virtAddr(CODE + store);
      expect(stop).toEqual({ reason: 'fault', ip, va: ip, kind: FETCH });
      expect(faults).toBe(3);
      // The store was begun again, and has not retired.
      if (counting) expect(m.cpu.retired).toBe(7);
    });
  });
});

const movz = (n: number): number => (0x5280_0000 | (n << 5)) >>> 0;

/** Overwrites the number that a function loads, five times, calls it and makes a word of what it returns. */
const REWRITES: readonly {
  readonly description: CpuDescription;
  readonly code: string | readonly number[];
  readonly function: string | readonly number[];
  readonly registers: Readonly<Record<string, bigint>>;
  readonly result: string;
  /** Offset of the call, and the register that counts rounds. */
  readonly call: bigint;
  readonly counter: string;
}[] = [
  {
    description: x86,
    // 1: mov [rdi],esi; call rdx; shl rbx,4; or rbx,rax; inc esi; dec ecx; jnz 1b; hlt
    code: '8937 ffd2 48c1e304 4809c3 ffc6 ffc9 75ef f4',
    // mov eax,9; ret
    function: 'b809000000 c3',
    registers: {
      rdi: DATA + 1n,
      rsi: 1n,
      rdx: CODE + 0x1000n,
      rcx: 5n,
      rbx: 0n,
      rsp: DATA + 0x1800n,
    },
    result: 'rbx',
    call: 2n,
    counter: 'rcx',
  },
  {
    description: arm64,
    // 1: str w2,[x1]; blr x3; orr x5,x0,x5,lsl #4; add x2,x2,#32; subs x4,x4,#1; b.ne 1b; wfi
    code: [...[0xb9000022, 0xd63f0060, 0xaa051005, 0x91008042, 0xf1000484, 0x54ffff61, 0xd503207f]],
    // mov w0,#9; ret
    function: [movz(9), 0xd65f03c0],
    registers: { x1: DATA, x2: BigInt(movz(1)), x3: CODE + 0x1000n, x4: 5n, x5: 0n },
    result: 'x5',
    call: 4n,
    counter: 'x4',
  },
];

describe.each(VARIANTS)('$variant', ({ engine, counting }) => {
  it.each(REWRITES)('runs what a $description.name vCPU has stored, each time', (one) => {
    const m = new TestMachine(one.description, one.code, { engine, counting });
    open.push(m);
    m.load(CODE_PA + 0x1000, one.function);
    m.pages.map(CODE + 0x1000n, CODE_PA + 0x1000, PERM_R | PERM_X);
    m.pages.map(DATA, CODE_PA + 0x1000, PERM_R | PERM_W);
    m.mapData(1);
    m.set(one.registers);
    const limit = counting ? 200 : Number.POSITIVE_INFINITY;
    expect(m.cpu.run(limit).reason).toBe('halt');
    expect(m.get(one.result).toString(16)).toBe('12345');
  });

  it.each(REWRITES)('runs on $description.name what was put back after its own stores', (one) => {
    const m = new TestMachine(one.description, one.code, { engine, counting });
    open.push(m);
    m.pages.map(CODE + 0x1000n, CODE_PA + 0x1000, PERM_R | PERM_X);
    m.pages.map(DATA, CODE_PA + 0x1000, PERM_R | PERM_W);
    m.mapData(1);
    const { instructionPointer: ip } = one.description;
    const limit = counting ? 200 : Number.POSITIVE_INFINITY;
    const runFrom = (at: bigint, more: Readonly<Record<string, bigint>>): string => {
      m.set({ ...one.registers, ...more, [ip]: CODE + at });
      expect(m.cpu.run(limit).reason).toBe('halt');
      return m.get(one.result).toString(16);
    };
    for (let round = 0; round < 3; round++) {
      m.load(CODE_PA + 0x1000, one.function);
      m.cpu.flushCode();
      expect(runFrom(one.call, { [one.counter]: 1n })).toBe('9');
      expect(runFrom(0n, {})).toBe('12345');
    }
  });
});

// Without short cuts every step asks for its code.
describe('with all short cuts', () => {
  it.each(REWRITES)('keeps $description.name code in a frame that held data once', (one) => {
    const m = new TestMachine(one.description, one.code, { engine: VARIANTS[0].engine });
    open.push(m);
    m.load(CODE_PA + 0x1000, one.function);
    m.pages.map(CODE + 0x1000n, CODE_PA + 0x1000, PERM_R | PERM_X);
    m.pages.map(DATA, CODE_PA + 0x1000, PERM_R | PERM_W);
    m.mapData(1);
    m.set(one.registers);
    m.cpu.run(200);
    m.cpu.forgetCode();
    const fetches = () => {
      m.cpu.flushCode();
      m.set({ [one.description.instructionPointer]: CODE + 0x1000n });
      m.pages.asked.length = 0;
      m.cpu.step();
      return m.pages.asked.length > 0;
    };
    expect([fetches(), fetches(), fetches()]).toEqual([true, false, false]);
  });
});
