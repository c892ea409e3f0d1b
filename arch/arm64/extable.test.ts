import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import type { FaultPath } from '../arch.ts';
import { setRegs, TestKernel } from '../testing.ts';
import {
  ARM64_EX_TYPE,
  type Arm64ExtableSource,
  buildArm64Extable,
  fixupException,
  insnMayAccessUser,
  searchArm64Extable,
} from './extable.ts';
import { Arm64PtRegs } from './registers.ts';

const READ = 0x96000007n;
const WRITE = 0x96000047n;
const EFAULT = 2n ** 64n - 14n;

function setUp(source: Partial<Arm64ExtableSource> & Pick<Arm64ExtableSource, 'type'>) {
  const test = new TestKernel('arm64');
  const regs = new Arm64PtRegs();
  regs.ip = virtAddr(test.layout.text + 0x100n);
  setRegs(regs, { x0: 1n, x1: 2n, x2: 3n, x30: 4n, sp: 5n });
  const fixup = virtAddr(regs.ip + 0x40n);
  const at = virtAddr(test.layout.text + 0x1000_0000n);
  const table = buildArm64Extable([{ insn: regs.ip, fixup, ...source }], at);
  test.extable.set(regs.ip, searchArm64Extable(table, at, regs.ip)!);
  const run = (esr = READ) => {
    const path = fixupException(test.context, regs, esr);
    return path === null ? null : test.run(path as FaultPath);
  };
  return { test, regs, fixup, run };
}

describe('the table', () => {
  it('has 12-byte entries with type and data in the last word', () => {
    const at = virtAddr(0xffff800082000000n);
    const bytes = buildArm64Extable(
      [
        { insn: at, fixup: virtAddr(at + 0x100n), type: 'kaccess_err_zero', err: 'x3', zero: 'x9' },
        { insn: virtAddr(at - 4n), fixup: virtAddr(at + 0x104n), type: 'default' },
      ],
      at,
    );
    expect([...new Int32Array(bytes.buffer)]).toEqual([
      ...[-4, 0x100, 2 | ((31 | (31 << 5)) << 16)],
      ...[-12, 0xf0, 3 | ((3 | (9 << 5)) << 16)],
    ]);
    expect(searchArm64Extable(bytes, at, at)).toEqual({
      insn: at,
      fixup: at + 0x100n,
      type: ARM64_EX_TYPE.kaccess_err_zero,
      data: 3 | (9 << 5),
      fixupWord: 0xf0,
    });
  });

  it('packs BPF fields as the JIT does', () => {
    const at = virtAddr(0xffff800078000000n);
    const bytes = buildArm64Extable(
      [{ insn: at, fixup: at, type: 'bpf', dst: 'x19', arenaReg: 'x20', offset: -2 }],
      at,
    );
    const [, fixup, tail] = new Uint32Array(bytes.buffer);
    expect(fixup).toBe(((19 << 27) | (1 << 21) | (20 << 16) | 0xfffe) >>> 0);
    expect(tail).toBe(1);
  });

  it.each<Partial<Arm64ExtableSource> & Pick<Arm64ExtableSource, 'type'>>([
    { type: 'bpf', dst: 'x0', offset: 32768 },
    { type: 'bpf', dst: 'w0' },
    { type: 'default', err: 'sp' },
  ])('refuses %o', (source) => {
    expect(() => setUp(source)).toThrow(RangeError);
  });
});

describe('fixup_exception()', () => {
  it.each<
    [
      Partial<Arm64ExtableSource> & Pick<Arm64ExtableSource, 'type'>,
      Readonly<Record<string, bigint>>,
    ]
  >([
    [{ type: 'default' }, {}],
    [{ type: 'uaccess_err_zero', err: 'x0' }, { x0: EFAULT }],
    [{ type: 'uaccess_err_zero', zero: 'x30' }, { x30: 0n }],
    [
      { type: 'kaccess_err_zero', err: 'x1', zero: 'x2' },
      { x1: EFAULT, x2: 0n },
    ],
    [{ type: 'kaccess_err_zero', err: 'x1', zero: 'x1' }, { x1: 0n }],
    [{ type: 'uaccess_cpy' }, {}],
  ])('%o changes just its registers', (source, changed) => {
    const { regs, fixup, run } = setUp(source);
    const expected = new Arm64PtRegs(regs.words.slice());
    setRegs(expected, { ...changed, pc: fixup });
    expect(run()).toEqual({ resolution: 'extable' });
    expect(regs.words).toEqual(expected.words);
  });

  it.each([
    [false, READ, true],
    [false, WRITE, false],
    [true, READ, false],
    [true, WRITE, true],
  ])('UACCESS_CPY with write %s, ESR %x: taken %s', (write, esr, taken) => {
    const { test, regs, run } = setUp({ type: 'uaccess_cpy', write });
    expect(insnMayAccessUser(test.context, regs.ip, esr)).toBe(taken);
    expect(run(esr)).toEqual(taken ? { resolution: 'extable' } : null);
  });

  it('lets any other entry access user memory, and nothing without one', () => {
    const { test, regs, run } = setUp({ type: 'load_unaligned_zeropad' });
    expect(insnMayAccessUser(test.context, regs.ip, READ)).toBe(true);
    test.extable.clear();
    expect(insnMayAccessUser(test.context, regs.ip, READ)).toBe(false);
    expect(run()).toBeNull();
  });

  it('pads an unaligned load with zeroes', () => {
    const { test, regs, fixup, run } = setUp({
      type: 'load_unaligned_zeropad',
      data: 'x7',
      addr: 'x8',
    });
    const page = virtAddr(0xffff800090000000n);
    test.map(page, 1, 'PAGE_KERNEL');
    test.write(page + 0xff8n, 0x8877665544332211n);
    regs.set('x8', page + 0xffdn);
    expect(run()).toEqual({ resolution: 'extable' });
    expect(regs.get('x7')).toBe(0x887766n);
    expect(regs.ip).toBe(fixup);
  });

  it('cannot pad where the word itself is missing', () => {
    const { run } = setUp({ type: 'load_unaligned_zeropad', data: 'x7', addr: 'x8' });
    expect(run()?.resolution).toBe('oops');
  });

  it('is a BUG() for an unknown type', () => {
    const { run } = setUp({ type: 'none' });
    const outcome = run();
    expect(outcome?.resolution === 'oops' && outcome.lines.slice(0, 3)).toEqual([
      '------------[ cut here ]------------',
      'Kernel BUG at fixup_exception [verbose debug info unavailable]',
      'Internal error: Oops - BUG: 00000000f2000800 [#1]  SMP',
    ]);
  });
});

describe('ex_handler_bpf()', () => {
  it('reports the exact byte of a load, clears its register and goes on behind it (T21)', () => {
    const { test, regs, run } = setUp({ type: 'bpf', dst: 'x0', arenaReg: 'x1', offset: 0x20 });
    regs.set('x1', 0x26200010n);
    const ip = regs.ip;
    expect(run()).toEqual({ resolution: 'extable' });
    expect(test.violations).toEqual([`read 26200030 at ${ip.toString(16)}`]);
    expect(regs.get('x0')).toBe(0n);
    expect(regs.ip).toBe(ip + 4n);
  });

  it('reports a store below the arena and clears nothing (T22)', () => {
    const { test, regs, run } = setUp({ type: 'bpf', dst: null, arenaReg: 'x4', offset: -8 });
    setRegs(regs, { x4: 0n, x5: 7n });
    const ip = regs.ip;
    run();
    expect(test.violations).toEqual([`write ${'f'.repeat(15)}8 at ${ip.toString(16)}`]);
    expect(regs.get('x5')).toBe(7n);
  });

  it('does not report a probe of other memory', () => {
    const { test, regs, run } = setUp({ type: 'bpf', dst: 'x22' });
    regs.set('x22', 9n);
    run();
    expect(test.violations).toEqual([]);
    expect(regs.get('x22')).toBe(0n);
  });
});
