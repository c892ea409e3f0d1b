import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { type Change, fault, setRegs, TestKernel } from '../testing.ts';
import { doMemAbort } from './fault.ts';
import { memAbortDecode, showPte } from './oops.ts';
import { Arm64PtRegs } from './registers.ts';

const PAST_END = 0xffff800181010000n;
const ZERO = '0000000000000000';

function oopsing(change: Change = {}) {
  const test = new TestKernel('arm64', change);
  const { text, stack } = test.layout;
  test.symbols.length = 0;
  test.symbols.push(
    { name: '__pi_memcpy', start: text + 0x100n, size: 0x40 },
    { name: 'scx_set_cmask', start: text + 0x200n, size: 0x80 },
    { name: 'bpf_prog_0123456789abcdef_main', start: text + 0x300n, size: 0x90 },
  );
  const code = new Uint8Array(
    new Uint32Array([0x11111111, 0x2, 0xd503201f, 0xf9400001, 0xf9000001]).buffer,
  );
  test.write(text + 0x100n, code);
  const regs = new Arm64PtRegs();
  setRegs(regs, {
    pc: text + 0x110n,
    sp: stack + 0x3e00n,
    x0: PAST_END,
    x29: stack + 0x3f00n,
    // The return address with a pointer authentication code.
    x30: (text + 0x240n) & ~(0x7fn << 48n),
    pstate: 0x60400005n,
  });
  test.write(stack + 0x3f00n, stack + 0x3f40n);
  test.write(stack + 0x3f08n, text + 0x350n);
  test.write(stack + 0x3f40n, 0n);
  test.write(stack + 0x3f48n, 0n);
  test.write(stack + 0x3f50n, 1n);
  const report = () => {
    const outcome = test.run(doMemAbort(test.context, regs, fault(PAST_END, 0x96000047n)));
    return outcome.resolution === 'oops' ? outcome.lines : [];
  };
  return { test, regs, report };
}

describe('an arm64 oops', () => {
  it('is the kernel text, line by line', () => {
    const { test, report } = oopsing();
    test.mm.ptepAlloc(virtAddr(PAST_END));
    const root = BigInt(test.mm.swapperPgDir);
    const hex = (value: bigint) => value.toString(16).padStart(16, '0');
    const word = (table: bigint, index: bigint) => test.ram.read64(Number(table + index * 8n));
    const next = (entry: bigint) => entry & 0xfffffffff000n;
    const pgd = word(root, 256n);
    const pud = word(next(pgd), 6n);
    const pmd = word(next(pud), 8n);
    expect(report()).toEqual([
      'Unable to handle kernel paging request at virtual address ffff800181010000',
      'Mem abort info:',
      '  ESR = 0x0000000096000047',
      '  EC = 0x25: DABT (current EL), IL = 32 bits',
      '  SET = 0, FnV = 0',
      '  EA = 0, S1PTW = 0',
      '  FSC = 0x07: level 3 translation fault',
      'Data abort info:',
      '  ISV = 0, ISS = 0x00000047, ISS2 = 0x00000000',
      '  CM = 0, WnR = 1, TnD = 0, TagAccess = 0',
      '  GCS = 0, Overlay = 0, DirtyBit = 0, Xs = 0',
      `swapper pgtable: 4k pages, 48-bit VAs, pgdp=${hex(root)}`,
      `[ffff800181010000] pgd=${hex(pgd)}, p4d=${hex(pgd)}, pud=${hex(pud)}, pmd=${hex(pmd)}, pte=${ZERO}`,
      'Internal error: Oops: 0000000096000047 [#1]  SMP',
      'Modules linked in:',
      'CPU: 0 UID: 0 PID: 42 Comm: test Not tainted faultline #1 PREEMPT(voluntary) ',
      'pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)',
      'pc : __pi_memcpy+0x10/0x40',
      'lr : scx_set_cmask+0x40/0x80',
      'sp : ffff800080c03e00',
      `x29: ffff800080c03f00 x28: ${ZERO} x27: ${ZERO}`,
      ...[26, 23, 20, 17, 14, 11].map(
        (n) => `x${n}: ${ZERO} x${n - 1}: ${ZERO} x${`${n - 2}`.padEnd(2)}: ${ZERO}`,
      ),
      ...[8, 5].map((n) => `x${n} : ${ZERO} x${n - 1} : ${ZERO} x${n - 2} : ${ZERO}`),
      `x2 : ${ZERO} x1 : ${ZERO} x0 : ffff800181010000`,
      'Call trace:',
      ' __pi_memcpy+0x10/0x40 (P)',
      ' bpf_prog_0123456789abcdef_main+0x50/0x90',
      'Code: 11111111 00000002 d503201f f9400001 (f9000001) ',
      '---[ end trace 0000000000000000 ]---',
    ]);
  });

  it('prints what it cannot read of the code as question marks', () => {
    const { test, regs, report } = oopsing();
    regs.ip = virtAddr(test.layout.text + 8n);
    expect(report()).toContain('Code: ???????? ???????? 00000000 00000000 (00000000) ');
    regs.ip = virtAddr(0xffff8000a7208000n);
    expect(report()).toContain('Code: ???????? ???????? ???????? ???????? (????????) ');
  });

  it('is tainted by an external abort and by an earlier death', () => {
    const { test, regs, report } = oopsing();
    test.run(doMemAbort(test.context, regs, fault(PAST_END, 0x96000010n)));
    expect(test.kernel.log[0]).toBe(
      'Internal error: synchronous external abort: 0000000096000010 [#1]  SMP',
    );
    expect(test.kernel.log).toContain('Tainted: [M]=MACHINE_CHECK');
    expect(report()).toContain('Internal error: Oops: 0000000096000047 [#2]  SMP');
    expect(test.kernel.log).toContain('Tainted: [M]=MACHINE_CHECK, [D]=DIE');
  });

  it('tells each flag of pstate', () => {
    const { regs, report } = oopsing();
    regs.set('pstate', 0x93c01fc5n);
    expect(report()).toContain('pstate: 93c01fc5 (NzcV DAIF +PAN +UAO +TCO +DIT +SSBS BTYPE=j-)');
  });
});

describe('mem_abort_decode()', () => {
  const decode = (esr: bigint) => {
    const { test } = oopsing();
    memAbortDecode(test.context, esr);
    return test.kernel.log;
  };

  it('tells the whole syndrome of a data abort with ISV', () => {
    // ISS2: TnD 10, TagAccess 9, GCS 8, Overlay 6, DirtyBit 5, Xs 21.
    const iss2 = (1n << 10n) | (1n << 9n) | (1n << 8n) | (1n << 6n) | (1n << 5n) | 21n;
    // ISV, SAS 2, SSE, SRT 19, SF, AR, SET 2, FnV, EA, CM, S1PTW, WnR.
    const iss =
      0x1000000n | (2n << 22n) | (1n << 21n) | (19n << 16n) | 0xc000n | (2n << 11n) | 0x7c0n;
    expect(decode((iss2 << 32n) | (0x24n << 26n) | iss | 0x0fn).slice(1)).toEqual([
      `  ESR = 0x${((iss2 << 32n) | 0x90000000n | iss | 0xfn).toString(16).padStart(16, '0')}`,
      '  EC = 0x24: DABT (lower EL), IL = 16 bits',
      '  SET = 2, FnV = 1',
      '  EA = 1, S1PTW = 1',
      '  FSC = 0x0f: level 3 permission fault',
      'Data abort info:',
      '  Access size = 4 byte(s)',
      '  SSE = 1, SRT = 19',
      '  SF = 1, AR = 1',
      '  CM = 1, WnR = 1, TnD = 1, TagAccess = 1',
      '  GCS = 1, Overlay = 1, DirtyBit = 1, Xs = 21',
    ]);
  });

  it('says nothing of data for an instruction abort', () => {
    expect(decode(0x86000007n)).toEqual([
      'Mem abort info:',
      '  ESR = 0x0000000086000007',
      '  EC = 0x21: IABT (current EL), IL = 32 bits',
      '  SET = 0, FnV = 0',
      '  EA = 0, S1PTW = 0',
      '  FSC = 0x07: level 3 translation fault',
    ]);
  });
});

describe('show_pte()', () => {
  const show = (addr: bigint, change: Change = {}, prepare = (_: TestKernel) => {}) => {
    const { test } = oopsing(change);
    prepare(test);
    const before = test.kernel.log.length;
    showPte(test.context, virtAddr(addr));
    return { log: test.kernel.log.slice(before), root: BigInt(test.mm.swapperPgDir) };
  };

  it('has no table for a user address without an mm', () => {
    expect(show(0x1000n, { task: { hasMm: false } }).log).toEqual([
      '[0000000000001000] user address but active_mm is swapper',
    ]);
  });

  it("shows the empty table of the task's mm", () => {
    expect(show(0n).log).toEqual([
      `user pgtable: 4k pages, 48-bit VAs, pgdp=${ZERO}`,
      `[${ZERO}] pgd=${ZERO}, p4d=${ZERO}`,
    ]);
  });

  it('knows addresses that no table translates', () => {
    expect(show(0x0001000000000000n).log).toEqual([
      '[0001000000000000] address between user and kernel address ranges',
    ]);
  });

  it('stops at a block', () => {
    const { log } = show(PAST_END, {}, (test) => {
      test.mm.ptepAlloc(virtAddr(PAST_END));
      const root = test.mm.swapperPgDir;
      const pud = Number(test.ram.read64(root + 256 * 8) & 0xfffffffff000n);
      test.ram.write64(pud + 6 * 8, 0x0060000040000701n);
    });
    expect(log[1]).toMatch(/^\[ffff800181010000\] pgd=\w+, p4d=\w+, pud=0060000040000701$/);
  });

  it('folds the upper levels of 64K pages', () => {
    const { log } = show(PAST_END, { config: { pageSize: 65536 } }, (test) => {
      test.mm.ptepAlloc(virtAddr(PAST_END));
    });
    expect(log[0]).toMatch(/^swapper pgtable: 64k pages, 48-bit VAs, pgdp=/);
    expect(log[1]).toMatch(
      new RegExp(`^\\[ffff800181010000\\] pgd=(\\w+), p4d=\\1, pud=\\1, pmd=\\w+, pte=${ZERO}$`),
    );
  });
});
