import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { type Change, fault, setRegs, TestKernel } from '../testing.ts';
import { excPageFault } from './fault.ts';
import { X86PtRegs } from './registers.ts';

// The first byte past the recovery range of an arena: its page tables exist, its PTE is none.
const PAST_END = 0xffffc90101e71000n;

function oopsing(change: Change = {}) {
  const test = new TestKernel('x86_64', change);
  const { text, stack } = test.layout;
  test.symbols.length = 0;
  test.symbols.push(
    { name: 'memcpy_orig', start: text + 0x100n, size: 0x40 },
    { name: 'scx_set_cmask', start: text + 0x200n, size: 0x80 },
    { name: 'bpf_prog_0123456789abcdef_main', start: text + 0x300n, size: 0x90 },
  );
  test.write(text + 0x110n, Uint8Array.of(0x48, 0x89, 0x07, 0xc3));
  const regs = new X86PtRegs();
  setRegs(regs, {
    rip: text + 0x110n,
    rsp: stack + 0x3f00n,
    rbp: stack + 0x3f20n,
    rax: 0x2an,
    rdi: PAST_END,
    r9: 9n,
    rflags: 0x246n,
  });
  // The code's own return address, a stale word, the frame of the caller, and its return into the program.
  test.write(stack + 0x3f00n, text + 0x240n);
  test.write(stack + 0x3f08n, text + 0x280n - 1n);
  test.write(stack + 0x3f20n, 0n);
  test.write(stack + 0x3f28n, text + 0x350n);
  const report = () => {
    const outcome = test.run(excPageFault(test.context, regs, fault(PAST_END, 2n)));
    return outcome.resolution === 'oops' ? outcome.lines : [];
  };
  return { test, regs, report };
}

describe('an x86 oops', () => {
  it('is the kernel text, line by line', () => {
    const { test, report } = oopsing({
      orc: { find: () => ({ base: 'sp', offset: 8n, bpSlot: null }) },
    });
    test.mm.ptepAlloc(virtAddr(PAST_END));
    const root = test.mm.swapperPgDir;
    const entry = (pa: number) => test.ram.read64(pa).toString(16);
    const [pgd, pud, pmd] = tables(test, PAST_END);
    const zero = '0000000000000000';
    const zeroes = Array.from({ length: 42 - 16 }, () => '00').join(' ');
    const registers = [
      'RIP: 0010:memcpy_orig+0x10/0x40',
      `Code: ${zeroes} ${Array.from({ length: 16 }, () => '00').join(' ')} <48> 89 07 c3 ${Array.from({ length: 18 }, () => '00').join(' ')}`,
      'RSP: 0018:ffffc90000103f00 EFLAGS: 00010246',
      `RAX: 000000000000002a RBX: ${zero} RCX: ${zero}`,
      `RDX: ${zero} RSI: ${zero} RDI: ffffc90101e71000`,
      `RBP: ffffc90000103f20 R08: ${zero} R09: 0000000000000009`,
      `R10: ${zero} R11: ${zero} R12: ${zero}`,
      `R13: ${zero} R14: ${zero} R15: ${zero}`,
      `FS:  ${zero}(0000) GS:${zero}(0000) knlGS:${zero}`,
      'CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033',
      `CR2: ffffc90101e71000 CR3: ${root.toString(16).padStart(16, '0')} CR4: 00000000003000a0`,
    ];
    expect(report()).toEqual([
      'BUG: unable to handle page fault for address: ffffc90101e71000',
      '#PF: supervisor write access in kernel mode',
      '#PF: error_code(0x0002) - not-present page',
      `PGD ${entry(pgd)} P4D ${entry(pgd)} PUD ${entry(pud)} PMD ${entry(pmd)} PTE 0`,
      'Oops: Oops: 0002 [#1] SMP NOPTI',
      'CPU: 0 UID: 0 PID: 42 Comm: test Not tainted faultline #1 PREEMPT(voluntary) ',
      ...registers,
      'Call Trace:',
      ' <TASK>',
      ' scx_set_cmask+0x40/0x80',
      ' scx_set_cmask+0x7f/0x80',
      ' ? bpf_prog_0123456789abcdef_main+0x50/0x90',
      ' </TASK>',
      'Modules linked in:',
      'CR2: ffffc90101e71000',
      '---[ end trace 0000000000000000 ]---',
      ...registers,
    ]);
    expect(test.kernel.log).toEqual(
      test.events.flatMap((event) => (event.type === 'printk' ? [event.text] : [])),
    );
  });

  it('marks words that the unwinder did not come by', () => {
    const trace = (unwinder: 'orc' | 'frame_pointer' | 'none') => {
      const report = oopsing({ config: { unwinder } }).report();
      return report.slice(report.indexOf(' <TASK>') + 1, report.indexOf(' </TASK>'));
    };
    const chain = [
      ' ? scx_set_cmask+0x40/0x80',
      ' ? scx_set_cmask+0x7f/0x80',
      ' bpf_prog_0123456789abcdef_main+0x50/0x90',
    ];
    expect(trace('frame_pointer')).toEqual(chain);
    expect(trace('orc')).toEqual(chain);
    expect(trace('none')).toEqual(chain.map((line) => line.replace(/^ (\? )?/, ' ? ')));
  });

  it('names a return address behind the last call of a function after that function', () => {
    const { test, report } = oopsing({
      kernelTextAddress: (ip) => ip === 0xffffffff81000280n,
    });
    test.write(test.layout.stack + 0x3f08n, test.layout.text + 0x280n);
    expect(report()).toContain(' ? scx_set_cmask+0x80/0x80');
  });

  it('prints the number of one that stands before its function’s first byte', () => {
    const { test, report } = oopsing({
      kernelTextAddress: (ip) => ip === 0xffffffff81000200n,
    });
    test.write(test.layout.stack + 0x3f08n, test.layout.text + 0x200n);
    expect(report()).toContain(' ? 0xffffffff81000200');
  });

  it('stops at the first level that has no table', () => {
    const line = (prepare: (test: TestKernel) => void, change: Change = {}) => {
      const { test, report } = oopsing(change);
      prepare(test);
      return report()[3];
    };
    const pgd = (test: TestKernel) => tables(test, PAST_END)[0];
    expect(line((test) => test.ram.write64(pgd(test), 0n))).toBe('PGD 0 P4D 0 ');
    expect(line((test) => test.ram.write64(pgd(test), 0x1234062n))).toBe(
      'PGD 1234062 P4D 1234062 ',
    );
    expect(
      line((test) => {
        test.mm.ptepAlloc(virtAddr(PAST_END));
        test.ram.write64(tables(test, PAST_END)[1], 0x800000c00000e3n);
      }),
    ).toMatch(/^PGD \w+ P4D \w+ PUD 800000c00000e3 $/);
  });

  it('says BAD where a table is not RAM', () => {
    const { test, report } = oopsing();
    test.ram.write64(tables(test, PAST_END)[0], 0x1_0000_0063n);
    const lines = report();
    expect(lines.slice(3, 5)).toEqual(['PGD 100000063 P4D 100000063 ', 'BAD']);
  });

  it('shows five levels with LA57', () => {
    const { test, regs } = oopsing({ config: { la57: true } });
    const addr = 0xffa0000001e69000n;
    test.mm.ptepAlloc(virtAddr(addr));
    test.run(excPageFault(test.context, regs, fault(addr, 0n)));
    expect(test.kernel.log[3]).toMatch(/^PGD \w+ P4D \w+ PUD \w+ PMD \w+ PTE 0$/);
    const [, p4d] = /P4D (\w+)/.exec(test.kernel.log[3])!;
    expect(test.kernel.log[3]).not.toContain(`PGD ${p4d} `);
  });

  it('counts, and is tainted from the second on', () => {
    const { test, report } = oopsing({ config: { pti: true } });
    expect(report()).toContain('Oops: Oops: 0002 [#1] SMP PTI');
    const second = report();
    expect(second).toContain('Oops: Oops: 0002 [#2] SMP PTI');
    expect(second).toContain(
      'CPU: 0 UID: 0 PID: 42 Comm: test Tainted: G      D             faultline #1 PREEMPT(voluntary) ',
    );
    expect(second).toContain('Tainted: [D]=DIE');
    expect(test.kernel.dieCounter).toBe(2);
  });

  it('says where it cannot read the code', () => {
    const { regs, report } = oopsing();
    regs.ip = virtAddr(0xffffc90028069000n);
    expect(report()).toContain('Code: Unable to access opcode bytes at 0xffffc90028068fd6.');
  });
});

/** Physical addresses of the PGD, PUD and PMD entry of an address with 4-level paging, as far as there are tables. */
function tables(test: TestKernel, va: bigint): number[] {
  const found: number[] = [];
  let table = test.mm.swapperPgDir as number;
  for (const shift of [39n, 30n, 21n]) {
    const at = table + Number((va >> shift) & 511n) * 8;
    found.push(at);
    table = Number(test.ram.read64(at) & 0xffffffffff000n);
    if (table === 0 || !test.ram.contains(table)) break;
  }
  return found;
}
