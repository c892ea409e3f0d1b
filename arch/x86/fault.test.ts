import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { onward } from '../../mm/context.ts';
import type { FaultOutcome } from '../arch.ts';
import { type Asked, type Change, fakeRecoverer, fault, TestKernel } from '../testing.ts';
import { buildX86Extable, searchX86Extable, type X86ExtableSource } from './extable.ts';
import { deliverPageFault, excPageFault, faultInKernelSpace } from './fault.ts';
import { PF_I, PF_P, PF_PK, PF_RSVD, PF_U, PF_W } from './fault-code.ts';
import type { X86Paging } from './paging.ts';
import { CR4_SMAP } from './paging-state.ts';
import { EFLAGS_AC, EFLAGS_IF, X86PtRegs } from './registers.ts';

// Section 14 of the arena's scenarios: the kernel address of page 0 of arena A, and of the byte behind the recovery.
const PAGE = 0xffffc90028069000n;
const PAST_END = 0xffffc90101e71000n;
const SCRATCH_PTE = 0x8000000001234163n;
const IP_OFFSET = 0x123n;

function setUp(change: Change = {}) {
  const asked: Asked = [];
  const test = new TestKernel('x86_64', {
    recoverers: [fakeRecoverer(asked, 'kfence', false), fakeRecoverer(asked, 'scratch', false)],
    ...change,
  });
  const regs = new X86PtRegs();
  regs.ip = virtAddr(test.layout.text + IP_OFFSET);
  regs.set('rsp', test.layout.stack + 0x3f00n);
  regs.set('rflags', EFLAGS_IF | 2n);
  const run = (addr: bigint, code: number): FaultOutcome =>
    test.run(excPageFault(test.context, regs, fault(addr, BigInt(code))));
  const fixup = (type: X86ExtableSource['type']) => {
    const source = { insn: regs.ip, fixup: virtAddr(regs.ip + 0x40n), type };
    const at = virtAddr(test.layout.text + 0x800n);
    const entry = searchX86Extable(buildX86Extable([source], at), at, regs.ip);
    test.extable.set(regs.ip, entry!);
  };
  return { test, regs, asked, run, fixup };
}

const lines = (outcome: FaultOutcome): readonly string[] =>
  outcome.resolution === 'oops' ? outcome.lines : [];

const KERNEL_PATH = [
  'exc_page_fault',
  'handle_page_fault',
  'do_kern_addr_fault',
  'bad_area_nosemaphore',
  'kernelmode_fixup_or_oops',
  'fixup_exception',
  'page_fault_oops',
];

describe('a not-present kernel address', () => {
  it('goes through the functions in the kernel order and asks KFENCE before the arena', () => {
    const { test, asked, run } = setUp();
    expect(run(PAST_END, PF_W).resolution).toBe('oops');
    expect(test.calls()).toEqual(KERNEL_PATH);
    expect(asked).toEqual([
      `kfence write ${PAST_END.toString(16)}`,
      `scratch write ${PAST_END.toString(16)}`,
    ]);
  });

  it('is restarted when the arena says so, with unchanged registers', () => {
    const asked: Asked = [];
    const { regs, run } = setUp({
      recoverers: [fakeRecoverer(asked, 'kfence', false), fakeRecoverer(asked, 'scratch', true)],
    });
    const before = regs.clone();
    expect(run(PAGE, 0)).toEqual({ resolution: 'scratch' });
    expect(regs.words).toEqual(before.words);
    expect(asked).toHaveLength(2);
  });

  it('does not reach the arena when KFENCE took it (T38)', () => {
    const asked: Asked = [];
    const { run } = setUp({
      recoverers: [fakeRecoverer(asked, 'kfence', true), fakeRecoverer(asked, 'scratch', true)],
    });
    expect(run(PAGE, PF_W)).toEqual({ resolution: 'kfence' });
    expect(asked).toEqual([`kfence write ${PAGE.toString(16)}`]);
  });

  it('is fixed up before anybody is asked (T39)', () => {
    const { test, regs, asked, run, fixup } = setUp();
    fixup('default');
    expect(run(PAGE, 0)).toEqual({ resolution: 'extable' });
    expect(regs.ip).toBe(test.layout.text + IP_OFFSET + 0x40n);
    expect(asked).toEqual([]);
    expect(test.calls()).not.toContain('page_fault_oops');
  });

  it('tells nothing where nobody reads', () => {
    const asked: Asked = [];
    const { test, run } = setUp({ recoverers: [fakeRecoverer(asked, 'scratch', true)] });
    test.kernel.events.on = false;
    expect(run(PAGE, PF_W).resolution).toBe('scratch');
    expect(run(0x1000n, 0).resolution).toBe('scratch');
    expect(run(0x1000n, PF_I).resolution).toBe('scratch');
    expect(run(PAGE, PF_W | PF_P).resolution).toBe('oops');
    expect(test.events).toEqual([]);
  });

  it('takes the stepping way to the same end', () => {
    const asked: Asked = [];
    const { test, regs } = setUp({ recoverers: [fakeRecoverer(asked, 'scratch', true)] });
    test.kernel.stepping = true;
    const path = onward(excPageFault(test.context, regs, fault(PAGE, 0n)));
    expect(path.next()).toEqual({ done: false, value: { kind: 'call', what: 'page_fault_oops' } });
    expect(path.next()).toEqual({ done: true, value: { resolution: 'scratch' } });
  });
});

describe('spurious_kernel_fault()', () => {
  it.each([
    ['write to a page that is writable now (T16)', PF_W | PF_P, 0x163n, true],
    ['write to a page that is not (T15)', PF_W | PF_P, 0x161n, false],
    ['fetch from a page that is executable now', PF_I | PF_P, 0x161n, true],
    ['fetch from a no-execute page', PF_I | PF_P, 0x8000000000000161n, false],
    ['the page went away meanwhile', PF_W | PF_P, 0n, false],
    ['a read with PROT is never one', PF_P, 0x163n, false],
    ['nor a not-present write', PF_W, 0x163n, false],
    ['nor one with a reserved bit', PF_W | PF_P | PF_RSVD, 0x163n, false],
    ['nor a user-mode code', PF_W | PF_P | PF_U, 0x163n, false],
  ])('%s', (_, code, pte, spurious) => {
    const { test, asked, run } = setUp();
    test.setPte(virtAddr(PAGE), pte === 0n ? 0n : pte | 0x1234000n);
    const outcome = run(PAGE, code);
    expect(outcome.resolution).toBe(spurious ? 'spurious' : 'oops');
    if (spurious || code & PF_P) expect(asked).toEqual([]);
  });

  it('warns and oopses where the PMD forbids what the PTE permits', () => {
    const { test, run } = setUp();
    test.setPte(virtAddr(PAGE), 0x1234163n);
    const table = pteTable(test);
    const pmd = findWord(test, BigInt(table) | 0x63n);
    test.ram.write64(pmd, BigInt(table) | 0x61n);
    expect(run(PAGE, PF_W | PF_P).resolution).toBe('oops');
    expect(test.kernel.log[0]).toContain('PMD has incorrect permission bits');
  });

  it('judges a huge page by its own entry', () => {
    const { test, run } = setUp();
    const table = pteTable(test);
    const pmd = findWord(test, BigInt(table) | 0x63n);
    test.ram.write64(pmd, 0x1e3n);
    expect(run(PAGE, PF_W | PF_P).resolution).toBe('spurious');
    test.ram.write64(pmd, 0x1e1n);
    expect(run(PAGE, PF_W | PF_P).resolution).toBe('oops');
  });
});

/** Physical address of the table of PTEs for PAGE. */
const pteTable = (test: TestKernel): number => test.mm.ptepAlloc(virtAddr(PAGE)) & ~0xfff;

/** Physical address of the only entry of this value in a page table. */
function findWord(test: TestKernel, value: bigint): number {
  for (let pa = 0; pa < test.ram.size; pa += 8) if (test.ram.read64(pa) === value) return pa;
  throw new Error('no such entry');
}

describe('PROT', () => {
  it('keeps everybody from being asked, and the text tells of permissions (T15)', () => {
    const { test, asked, run } = setUp();
    test.setPte(virtAddr(PAGE), SCRATCH_PTE & ~2n);
    expect(lines(run(PAGE, PF_W | PF_P)).slice(0, 3)).toEqual([
      'BUG: unable to handle page fault for address: ffffc90028069000',
      '#PF: supervisor write access in kernel mode',
      '#PF: error_code(0x0003) - permissions violation',
    ]);
    expect(asked).toEqual([]);
  });

  it.each([
    [PF_P | PF_RSVD, 'reserved bit violation'],
    [PF_P | PF_PK, 'protection keys violation'],
    [PF_P | PF_RSVD | PF_PK, 'reserved bit violation'],
    [PF_P, 'permissions violation'],
    [0x8000_0001, 'RMP violation'],
  ])('error code %#x is told as its reason', (code, text) => {
    const { run } = setUp();
    const [, , reason] = lines(run(PAGE, code));
    expect(reason).toBe(`#PF: error_code(0x${code.toString(16).padStart(4, '0')}) - ${text}`);
  });

  it('warns of a protection key on a kernel page', () => {
    const { test, run } = setUp();
    run(PAGE, PF_P | PF_PK);
    expect(test.kernel.log[0]).toBe('WARNING: at do_kern_addr_fault (X86_PF_PK)');
  });
});

describe('a fetch (T17)', () => {
  it('asks about a not-present page, and tells of NX once the scratch page is there', () => {
    const asked: Asked = [];
    const { test, run } = setUp({ recoverers: [fakeRecoverer(asked, 'scratch', true)] });
    expect(run(PAGE, PF_I).resolution).toBe('scratch');
    expect(asked).toEqual([`scratch read ${PAGE.toString(16)}`]);
    test.setPte(virtAddr(PAGE), SCRATCH_PTE);
    expect(lines(run(PAGE, PF_I | PF_P)).slice(0, 4)).toEqual([
      'kernel tried to execute NX-protected page - exploit attempt? (uid: 0)',
      'BUG: unable to handle page fault for address: ffffc90028069000',
      '#PF: supervisor instruction fetch in kernel mode',
      '#PF: error_code(0x0011) - permissions violation',
    ]);
  });

  it('from user memory asks no exception table, and names SMEP', () => {
    const { test, run, fixup } = setUp();
    fixup('default');
    test.setPte(virtAddr(0x400000n), 0x1234067n);
    const [first] = lines(run(0x400000n, PF_I | PF_P));
    expect(first).toBe('BUG: unable to handle page fault for address: 0000000000400000');
    const pgd = test.mm.swapperPgDir;
    test.ram.write64(pgd, test.ram.read64(pgd) | 4n);
    expect(lines(run(0x400000n, PF_I | PF_P))[0]).toBe(
      'unable to execute userspace code (SMEP?) (uid: 0)',
    );
    expect(test.calls()).not.toContain('fixup_exception');
  });
});

describe('a user address', () => {
  it('with SMAP and AC clear goes straight to page_fault_oops(), which asks (T40)', () => {
    const { test, asked, run, fixup } = setUp();
    fixup('default');
    expect(lines(run(0n, 0))[0]).toBe(
      'BUG: kernel NULL pointer dereference, address: 0000000000000000',
    );
    expect(test.calls()).toEqual([
      'exc_page_fault',
      'handle_page_fault',
      'do_user_addr_fault',
      'page_fault_oops',
    ]);
    expect(asked).toEqual(['kfence read 0', 'scratch read 0']);
  });

  const viaBadArea = [
    'exc_page_fault',
    'handle_page_fault',
    'do_user_addr_fault',
    'bad_area_nosemaphore',
    'kernelmode_fixup_or_oops',
    'fixup_exception',
  ];

  it.each<[string, Change, (regs: X86PtRegs, paging: X86Paging) => void]>([
    ['AC set', {}, (regs) => regs.set('rflags', EFLAGS_AC | EFLAGS_IF)],
    [
      'no SMAP',
      {},
      (_, paging) => {
        paging.state.cr4 &= ~CR4_SMAP;
      },
    ],
    ['no mm', { task: { hasMm: false } }, (regs) => regs.set('rflags', EFLAGS_AC | EFLAGS_IF)],
    [
      'faults disabled',
      { task: { faulthandlerDisabled: true } },
      (regs) => regs.set('rflags', EFLAGS_AC | EFLAGS_IF),
    ],
  ])('with %s asks the exception table', (_, change, prepare) => {
    const { test, regs, run, fixup } = setUp(change);
    prepare(regs, test.context.paging as X86Paging);
    fixup('default');
    expect(run(0x1000n, 0).resolution).toBe('extable');
    expect(test.calls()).toEqual(viaBadArea);
    expect(test.kernel.log).toEqual([]);
  });

  it('warns when interrupts were off', () => {
    const { test, regs, run, fixup } = setUp();
    regs.set('rflags', EFLAGS_AC);
    fixup('default');
    expect(run(0x1000n, 0).resolution).toBe('extable');
    expect(test.kernel.log).toEqual([
      'WARNING: at do_user_addr_fault (!(regs->flags & X86_EFLAGS_IF))',
    ]);
  });

  it('with a reserved bit is a corrupted page table', () => {
    const { test, asked, run } = setUp();
    const report = lines(run(0x1000n, PF_P | PF_RSVD));
    expect(report.slice(0, 3)).toEqual([
      'test: Corrupted page table at address 1000',
      'PGD 0 P4D 0 ',
      'Oops: Bad pagetable: 0009 [#1] SMP NOPTI',
    ]);
    expect(asked).toEqual([]);
    expect(test.calls()).toContain('pgtable_bad');
  });

  it("of user-mode registers is somebody else's", () => {
    const { test } = setUp();
    const regs = new X86PtRegs(undefined, true);
    expect(() => excPageFault(test.context, regs, fault(PAGE, 4n))).toThrow(RangeError);
  });

  it('reached implicitly from user mode oopses without asking', () => {
    const { test, asked } = setUp();
    const regs = new X86PtRegs(undefined, true);
    const outcome = test.run(excPageFault(test.context, regs, fault(PAGE, 0n)));
    expect(lines(outcome).slice(0, 2)).toEqual([
      'BUG: unable to handle page fault for address: ffffc90028069000',
      '#PF: supervisor read access in user mode',
    ]);
    expect(asked).toEqual([]);
  });
});

describe('fault_in_kernel_space()', () => {
  it.each([
    [0x00007fffffffefffn, false, false],
    [0x00007ffffffff000n, false, true],
    [0x00fffffffffff000n, true, true],
    [0x00007ffffffff000n, true, false],
    [0xffffffffff5fffffn, false, true],
    [0xffffffffff600000n, false, false],
    [0xffffffffff600fffn, false, false],
    [0xffffffffff601000n, false, true],
  ])('%# addr %x, LA57 %s: %s', (addr, la57, expected) => {
    const { test } = setUp({ config: { la57 } });
    expect(faultInKernelSpace(test.context, virtAddr(addr))).toBe(expected);
  });
});

describe('an overrun of the kernel stack', () => {
  it('by an access to the guard page is reported before anybody is asked', () => {
    const { test, asked, run } = setUp();
    const guard = test.layout.stack - 8n;
    const report = lines(run(guard, PF_W));
    const range = `${test.layout.stack.toString(16)}..${(test.layout.stack + 0x4000n).toString(16)}`;
    expect(report[0]).toBe(
      `BUG: TASK stack guard page was hit at ${guard.toString(16)} (stack is ${range})`,
    );
    expect(report[1]).toBe('Oops: stack guard page: 0000 [#1] SMP NOPTI');
    expect(report.some((line) => line.startsWith('Kernel panic'))).toBe(false);
    expect(asked).toEqual([]);
  });

  it('is told two pages below only by the ordinary oops', () => {
    const { test, asked, run } = setUp();
    expect(lines(run(test.layout.stack - 4097n, PF_W))[0]).toMatch(/^BUG: unable to handle/);
    expect(asked).toHaveLength(2);
  });

  it('that leaves no room for the exception frame becomes a double fault', () => {
    const { test, regs } = setUp();
    regs.set('rsp', test.layout.stack + 8n);
    const path = deliverPageFault(test.context, regs, fault(PAGE, 0n));
    const report = lines(test.run(path));
    const cr2 = (test.layout.stack - 8n).toString(16);
    expect(report[0]).toContain(`TASK stack guard page was hit at ${cr2}`);
    expect(report.at(-1)).toBe(
      '---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---',
    );
    expect(test.calls()).toEqual(['exc_double_fault', 'handle_stack_overflow']);
  });

  it('elsewhere halts the machine', () => {
    const { test, regs } = setUp();
    regs.set('rsp', PAGE);
    const outcome = test.run(deliverPageFault(test.context, regs, fault(PAGE - 8n, 2n)));
    expect(outcome).toMatchObject({ resolution: 'oops', halted: 'double fault' });
    expect(lines(outcome)[0]).toBe('PANIC: double fault, error_code: 0x0');
    expect(lines(outcome)).toContain('RSP: 0018:ffffc90028069000 EFLAGS: 00000202');
  });

  it.each([
    ['just enough room', 48n, true],
    ['room after aligning down', 63n, true],
    ['one byte short after aligning down', 47n, false],
  ])('is not one with %s', (_, offset, delivered) => {
    const asked: Asked = [];
    const { test, regs } = setUp({ recoverers: [fakeRecoverer(asked, 'scratch', true)] });
    regs.set('rsp', test.layout.stack + offset);
    const outcome = test.run(deliverPageFault(test.context, regs, fault(PAGE, 0n)));
    expect(outcome.resolution).toBe(delivered ? 'scratch' : 'oops');
  });
});
