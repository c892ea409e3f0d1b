import { describe, expect, it } from 'vitest';
import { setRegs, TestKernel } from '../testing.ts';
import { Arm64PtRegs } from './registers.ts';
import { archBpfStackWalk, stripKernelInsnPac } from './unwind.ts';

const TEXT = 0xffff800080000000n;
const PC = TEXT + 0x110n;
const CALLER = TEXT + 0x240n;
const PROG = TEXT + 0x350n;

function setUp() {
  const test = new TestKernel('arm64');
  const base = test.layout.stack + 0x2000n;
  const words = (values: Readonly<Record<string, bigint>>) => {
    for (const [offset, value] of Object.entries(values)) test.write(base + BigInt(offset), value);
  };
  const regs = new Arm64PtRegs();
  setRegs(regs, { pc: PC, x29: base, x30: TEXT + 0x999n });
  // Two records and the final one.
  words({ 0: base + 0x40n, 8: CALLER, 64: base + 0x80n, 72: PROG, 128: 0n, 136: 0n, 144: 1n });
  const walk = (limit = Infinity) => {
    const seen: string[] = [];
    archBpfStackWalk(test.context, regs, (ip, sp, fp) => {
      seen.push(`${(ip - TEXT).toString(16)} ${sp} ${(fp - base).toString(16)}`);
      return seen.length < limit;
    });
    return seen;
  };
  return { test, base, regs, words, walk };
}

describe('arch_bpf_stack_walk()', () => {
  it('offers the pc and the return address of each record, and never x30', () => {
    expect(setUp().walk()).toEqual(['110 0 0', '240 0 40', '350 0 80']);
  });

  it('stops when the callback says so', () => {
    expect(setUp().walk(2)).toHaveLength(2);
  });

  it('hides the caller of a function without a record', () => {
    const { regs, base, walk } = setUp();
    // x29 is the program's own record: its return address lies in the caller of the program.
    regs.set('x29', base + 0x40n);
    expect(walk()).toEqual(['110 0 40', '350 0 80']);
  });

  it('strips pointer authentication codes', () => {
    const { words, walk } = setUp();
    words({ 8: CALLER & ~(0x7fn << 48n), 72: PROG ^ (0x55n << 56n) });
    expect(walk()).toEqual(['110 0 0', '240 0 40', '350 0 80']);
  });

  it('goes on at the registers that an exception left on the stack', () => {
    const { base, words, walk } = setUp();
    // struct pt_regs at +0x100, its frame record at +0x128 in it; the interrupted x29 is +0x300.
    words({
      128: base + 0x100n + 0x128n,
      136: CALLER + 4n,
      [0x100 + 0x128]: 0n,
      [0x100 + 0x130]: 0n,
      [0x100 + 0x138]: 2n,
      [0x100 + 32 * 8]: PC + 8n,
      [0x100 + 29 * 8]: base + 0x300n,
      768: 0n,
      776: PROG + 4n,
    });
    expect(walk()).toEqual([
      '110 0 0',
      '240 0 40',
      '350 0 80',
      '244 0 228',
      '118 0 300',
      '354 0 -ffff800080c02000',
    ]);
  });

  it.each<[string, Readonly<Record<string, bigint>>]>([
    ['an unknown metadata type', { 144: 3n }],
    ['exception registers that would lie lower', { 144: 2n }],
  ])('ends at %s', (_, values) => {
    const { words, walk } = setUp();
    words(values);
    expect(walk()).toHaveLength(3);
  });

  it('ends at a record that is misaligned, off the stack, or not above the last', () => {
    const length = (fp: (base: bigint) => bigint) => {
      const { base, words, walk } = setUp();
      words({ 0: fp(base) });
      return walk().length;
    };
    expect(length((base) => base + 0x40n)).toBe(3);
    expect(length((base) => base + 0x44n)).toBe(2);
    expect(length((base) => base)).toBe(2);
    expect(length((base) => base + 8n)).toBe(2);
    expect(length((base) => base - 0x100n)).toBe(2);
    expect(length((base) => base + 0x1ff8n)).toBe(2);
    expect(length((base) => base + 0x2000n)).toBe(2);
    expect(length(() => 0n)).toBe(2);
  });

  it('offers nothing for an interrupted user mode', () => {
    const { test } = setUp();
    const seen: bigint[] = [];
    archBpfStackWalk(test.context, new Arm64PtRegs(undefined, true), (ip) => seen.push(ip) > 0);
    expect(seen).toEqual([]);
  });
});

describe('ptrauth_strip_kernel_insn_pac()', () => {
  it.each([
    [0xffff800080000110n, 0xffff800080000110n],
    [0x0080800080000110n, 0xffff800080000110n],
    [0x5a2a00007fff1234n, 0x00000000_7fff1234n],
    [0n, 0n],
  ])('%x gives %x', (signed, stripped) => {
    expect(stripKernelInsnPac(signed)).toBe(stripped);
  });
});
