import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { type Change, setRegs, TestKernel } from '../testing.ts';
import type { OrcEntry } from '../unwind.ts';
import { X86PtRegs } from './registers.ts';
import { archBpfStackWalk, UnwindState } from './unwind.ts';

// One C function under test (with ORC), called by a C function that keeps an rbp frame, called by a program.
const CODE = 0x110n;
const CALLER = 0x240n;
const PROG = 0x350n;
const OUTER = 0x460n;
const TEXT = 0xffffffff81000000n;

function setUp(entry: OrcEntry | null, change: Change = {}) {
  const test = new TestKernel('x86_64', {
    orc: { find: (ip) => (ip - TEXT < 0x200n ? entry : null) },
    ...change,
  });
  const { text, stack } = test.layout;
  const regs = new X86PtRegs();
  const frame = stack + 0x3000n;
  setRegs(regs, { rip: text + CODE, rsp: frame, rbp: frame + 0x100n });
  const words = (values: Readonly<Record<string, bigint>>) => {
    for (const [offset, value] of Object.entries(values)) {
      test.write(frame + BigInt(offset), value);
    }
  };
  words({
    32: text + CALLER,
    256: frame + 0x200n,
    264: text + PROG,
    512: 0n,
    520: text + OUTER,
  });
  const walk = (limit = Infinity) => {
    const seen: string[] = [];
    archBpfStackWalk(test.context, regs, (ip, sp, bp) => {
      seen.push(
        `${(ip - text).toString(16)} ${(sp - frame).toString(16)} ${(bp - frame).toString(16)}`,
      );
      return seen.length < limit;
    });
    return seen;
  };
  return { test, regs, frame, words, walk };
}

const AT_0x20: OrcEntry = { base: 'sp', offset: 0x28n, bpSlot: null };

describe('arch_bpf_stack_walk() with ORC', () => {
  it('offers the interrupted ip, then return addresses, and goes on by rbp where ORC knows nothing', () => {
    const { walk } = setUp(AT_0x20);
    expect(walk()).toEqual(['110 0 100', '240 28 100', '350 110 200', '460 210 -ffffc90000103000']);
  });

  it("takes the caller's rbp from the slot that ORC names", () => {
    const { words, frame, walk } = setUp({ base: 'sp', offset: 0x28n, bpSlot: 16n });
    words({ 24: frame + 0x200n });
    expect(walk(2)).toEqual(['110 0 100', '240 28 200']);
  });

  it('follows an rbp frame of known code', () => {
    const { walk } = setUp({ base: 'bp', offset: 16n, bpSlot: 16n });
    expect(walk(2)).toEqual(['110 0 100', '350 110 200']);
  });

  it('skips the caller where it must guess: a leaf without a frame and without ORC', () => {
    const { walk } = setUp(null);
    expect(walk(2)).toEqual(['110 0 100', '350 110 200']);
  });

  it('looks up the byte before a return address, and the interrupted byte itself', () => {
    const asked: bigint[] = [];
    const { walk } = setUp(null, {
      orc: {
        find: (ip) => {
          asked.push(ip - TEXT);
          return null;
        },
      },
    });
    walk();
    expect(asked).toEqual([CODE, PROG - 1n, OUTER - 1n]);
  });

  it('stops when the callback says so', () => {
    expect(setUp(AT_0x20).walk(1)).toEqual(['110 0 100']);
  });

  it('stops at an address that is not kernel text, and offers it not', () => {
    const { words, walk } = setUp(AT_0x20);
    words({ 32: 0n });
    expect(walk()).toEqual(['110 0 100']);
  });

  it('offers nothing after a jump into data (T17)', () => {
    const { regs, walk } = setUp(AT_0x20);
    regs.ip = virtAddr(0xffffc90028069000n);
    expect(walk()).toEqual([]);
  });

  it.each(['orc', 'frame_pointer'] as const)(
    'has a way past a call through a null pointer, for the trace of an oops: %s',
    (unwinder) => {
      const { test, regs, words } = setUp(null, { config: { unwinder } });
      regs.ip = virtAddr(0n);
      words({ 0: test.layout.text + CALLER });
      const state = new UnwindState(test.context, regs);
      expect(state.returnAddress()).toBe(0n);
      expect(state.next()).toBe(true);
      expect(state.returnAddress()).toBe(test.layout.text + CALLER);
      expect(state.returnAddressPtr()).toBe(regs.sp);
      expect(state.next()).toBe(true);
      expect(state.returnAddress()).toBe(test.layout.text + PROG);
    },
  );

  it('ends off the stack, below it, and where it does not go up', () => {
    const length = (prepare: (s: ReturnType<typeof setUp>) => void) => {
      const s = setUp(null);
      prepare(s);
      return s.walk().length;
    };
    expect(length(({ regs }) => regs.set('rbp', 0n))).toBe(1);
    expect(length(({ regs, test }) => regs.set('rbp', test.layout.stack - 16n))).toBe(1);
    expect(length(({ regs, frame }) => regs.set('rbp', frame + 0xff8n))).toBe(1);
    expect(length(({ words, frame }) => words({ 256: frame + 0x100n }))).toBe(2);
    expect(length(({ words, frame }) => words({ 256: frame - 0x100n }))).toBe(2);
  });

  it('offers nothing for an interrupted user mode', () => {
    const { test } = setUp(AT_0x20);
    const seen: bigint[] = [];
    archBpfStackWalk(test.context, new X86PtRegs(undefined, true), (ip) => seen.push(ip) > 0);
    expect(seen).toEqual([]);
  });
});

describe('arch_bpf_stack_walk() without ORC', () => {
  it.each(['frame_pointer', 'none'] as const)('offers nothing with %s (T13)', (unwinder) => {
    expect(setUp(AT_0x20, { config: { unwinder } }).walk()).toEqual([]);
  });
});
