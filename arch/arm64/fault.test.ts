import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { onward } from '../../mm/context.ts';
import type { FaultOutcome } from '../arch.ts';
import { type Asked, type Change, fakeRecoverer, fault, TestKernel } from '../testing.ts';
import { type Arm64ExtableSource, buildArm64Extable, searchArm64Extable } from './extable.ts';
import { doMemAbort, el1Abort } from './fault.ts';
import { dataAbort, instructionAbort } from './fault-code.ts';
import { FAULT_INFO } from './fault-info.ts';
import { Arm64PtRegs } from './registers.ts';

// Section 14 of the arena's scenarios: the kernel address of page 0 of arena A, and of the byte behind the recovery.
const PAGE = 0xffff8000a7208000n;
const PAST_END = 0xffff800181010000n;
const SCRATCH_PTE = 0x0068000001234703n;
const PTE_RDONLY = 1n << 7n;

const TRANSLATION_3 = 7;
const PERMISSION_3 = 15;
const esr = (fsc: number, wnr = false): bigint => BigInt(dataAbort(false, fsc, wnr, false));
const iabt = (fsc: number): bigint => BigInt(instructionAbort(false, fsc));

function setUp(change: Change = {}) {
  const asked: Asked = [];
  const test = new TestKernel('arm64', {
    recoverers: [fakeRecoverer(asked, 'kfence', false), fakeRecoverer(asked, 'scratch', false)],
    ...change,
  });
  const regs = new Arm64PtRegs();
  regs.ip = virtAddr(test.layout.text + 0x120n);
  regs.set('sp', test.layout.stack + 0x3f00n);
  const run = (addr: bigint, code: bigint): FaultOutcome =>
    test.run(doMemAbort(test.context, regs, fault(addr, code)));
  const fixup = (source: Partial<Arm64ExtableSource> & Pick<Arm64ExtableSource, 'type'>) => {
    const at = virtAddr(test.layout.text + 0x800n);
    const table = buildArm64Extable(
      [{ insn: regs.ip, fixup: virtAddr(regs.ip + 0x40n), ...source }],
      at,
    );
    test.extable.set(regs.ip, searchArm64Extable(table, at, regs.ip)!);
  };
  return { test, regs, asked, run, fixup };
}

const lines = (outcome: FaultOutcome): readonly string[] =>
  outcome.resolution === 'oops' ? outcome.lines : [];

const unable = (what: string, addr: bigint): string =>
  `Unable to handle kernel ${what} at virtual address ${addr.toString(16).padStart(16, '0')}`;

describe('a translation fault at a kernel address', () => {
  it('goes through the functions in the kernel order and asks KFENCE before the arena', () => {
    const { test, asked, run } = setUp();
    expect(lines(run(PAST_END, esr(TRANSLATION_3, true)))[0]).toBe(
      unable('paging request', PAST_END),
    );
    expect(test.calls()).toEqual([
      'do_mem_abort',
      'do_translation_fault',
      'do_bad_area',
      '__do_kernel_fault',
      'fixup_exception',
      'die_kernel_fault',
    ]);
    const addr = PAST_END.toString(16);
    expect(asked).toEqual([`kfence write ${addr}`, `scratch write ${addr}`]);
  });

  it.each([0x2b, 4, 5, 6, 7])('with FSC %#x is restarted when the arena says so', (fsc) => {
    const asked: Asked = [];
    const { regs, run } = setUp({
      recoverers: [fakeRecoverer(asked, 'kfence', false), fakeRecoverer(asked, 'scratch', true)],
    });
    const before = regs.words.slice();
    expect(run(PAGE, esr(fsc))).toEqual({ resolution: 'scratch' });
    expect(regs.words).toEqual(before);
    expect(asked).toEqual([
      `kfence read ${PAGE.toString(16)}`,
      `scratch read ${PAGE.toString(16)}`,
    ]);
  });

  it('passes WnR as it stands, so that cache maintenance is a write', () => {
    const { asked, run } = setUp();
    run(PAGE, BigInt(dataAbort(false, TRANSLATION_3, true, true)));
    expect(asked[1]).toBe(`scratch write ${PAGE.toString(16)}`);
  });

  it('is fixed up before anybody is asked (T39)', () => {
    const { test, regs, asked, run, fixup } = setUp();
    fixup({ type: 'kaccess_err_zero', err: 'x0', zero: 'x1' });
    regs.set('x1', 5n);
    expect(run(PAGE, esr(TRANSLATION_3))).toEqual({ resolution: 'extable' });
    expect(regs.ip).toBe(test.layout.text + 0x160n);
    expect([regs.get('x0'), regs.get('x1')]).toEqual([2n ** 64n - 14n, 0n]);
    expect(asked).toEqual([]);
  });

  it('tells nothing where nobody reads', () => {
    const asked: Asked = [];
    const { test, run, fixup } = setUp({ recoverers: [fakeRecoverer(asked, 'scratch', true)] });
    test.kernel.events.on = false;
    expect(run(PAGE, esr(TRANSLATION_3)).resolution).toBe('scratch');
    expect(run(0x400000n, esr(4)).resolution).toBe('scratch');
    for (const fsc of [11, 16, 0x11, 0x21, 0x30]) run(PAGE, esr(fsc));
    fixup({ type: 'default' });
    expect(run(PAGE, esr(TRANSLATION_3)).resolution).toBe('extable');
    expect(test.events).toEqual([]);
  });

  it('takes the stepping way to the same end', () => {
    const asked: Asked = [];
    const { test, regs, fixup } = setUp({ recoverers: [fakeRecoverer(asked, 'scratch', true)] });
    test.kernel.stepping = true;
    const start = () => onward(doMemAbort(test.context, regs, fault(PAGE, esr(TRANSLATION_3))));
    const call = { kind: 'call', what: '__do_kernel_fault', translates: PAGE };
    const step = { done: false, value: call };
    const path = start();
    expect(path.next()).toEqual(step);
    expect(path.next()).toEqual({ done: true, value: { resolution: 'scratch' } });
    fixup({ type: 'default' });
    const fixed = start();
    expect(fixed.next()).toEqual(step);
    expect(fixed.next()).toEqual({ done: true, value: { resolution: 'extable' } });
  });
});

describe('is_spurious_el1_translation_fault() (T20)', () => {
  it('restarts with a warning where the page is mapped by now, and asks nobody', () => {
    const { test, asked, run } = setUp();
    test.setPte(virtAddr(PAGE), SCRATCH_PTE);
    expect(run(PAGE, esr(TRANSLATION_3, true))).toEqual({ resolution: 'spurious' });
    expect(test.kernel.log).toEqual([
      'Ignoring spurious kernel translation fault at virtual address ffff8000a7208000',
    ]);
    expect(asked).toEqual([]);
  });

  it('also where AT faults for another reason than translation', () => {
    const { test, run } = setUp();
    const ACCESS_FLAG = 1n << 10n;
    test.setPte(virtAddr(PAGE), SCRATCH_PTE & ~ACCESS_FLAG);
    expect(run(PAGE, esr(TRANSLATION_3)).resolution).toBe('spurious');
  });

  it('changes no table', () => {
    const { test, run } = setUp({ config: { hafdbs: true } });
    const old = SCRATCH_PTE & ~(1n << 10n);
    test.setPte(virtAddr(PAGE), old);
    run(PAGE, esr(TRANSLATION_3));
    expect(test.ram.read64(test.mm.ptepAlloc(virtAddr(PAGE)))).toBe(old);
  });

  it('is not asked about instruction aborts and permission faults', () => {
    const { test, run } = setUp();
    test.setPte(virtAddr(PAGE), SCRATCH_PTE);
    expect(run(PAGE, iabt(TRANSLATION_3)).resolution).toBe('oops');
    expect(run(PAGE, esr(PERMISSION_3)).resolution).toBe('oops');
  });
});

describe('fatal kernel faults', () => {
  it.each([
    [12, esr(12, true), 'write to read-only memory'],
    [15, esr(PERMISSION_3, true), 'write to read-only memory'],
    [15, esr(PERMISSION_3), 'read from unreadable memory'],
    [15, iabt(PERMISSION_3), 'execute from non-executable memory'],
  ])('permission fault, FSC %d, ESR %x: %s (T17, T18)', (_, code, what) => {
    const { test, asked, run } = setUp();
    test.setPte(virtAddr(PAGE), SCRATCH_PTE | PTE_RDONLY);
    expect(lines(run(PAGE, code))[0]).toBe(unable(what, PAGE));
    expect(asked).toEqual([]);
    expect(test.calls()).toContain('do_page_fault');
  });

  it('access-flag faults ask nobody (T19)', () => {
    const { asked, run } = setUp();
    expect(lines(run(PAGE, esr(11)))[0]).toBe(unable('paging request', PAGE));
    expect(asked).toEqual([]);
  });

  it.each([0n, 0xfffn])('null pointers at %x ask nobody (T40)', (addr) => {
    const { asked, run } = setUp();
    expect(lines(run(addr, esr(4)))[0]).toBe(unable('NULL pointer dereference', addr));
    expect(asked).toEqual([]);
  });

  it('the null page is as large as a page', () => {
    const { asked, run } = setUp({ config: { pageSize: 65536 } });
    expect(lines(run(0xffffn, esr(4)))[0]).toBe(unable('NULL pointer dereference', 0xffffn));
    expect(lines(run(0x10000n, esr(4)))[0]).toBe(unable('paging request', 0x10000n));
    expect(asked).toHaveLength(2);
  });

  it('instruction aborts ask no exception table, but the recoverers (T17)', () => {
    const { test, asked, run, fixup } = setUp();
    fixup({ type: 'default' });
    expect(lines(run(PAGE, iabt(TRANSLATION_3)))[0]).toBe(unable('paging request', PAGE));
    expect(asked).toHaveLength(2);
    expect(test.calls()).not.toContain('fixup_exception');
  });

  it('tag check faults switch the checks off and go on', () => {
    const { asked, run } = setUp();
    expect(run(PAGE, esr(0x11))).toEqual({ resolution: 'spurious' });
    expect(asked).toEqual([]);
  });

  it('alignment faults take do_bad_area()', () => {
    const { test, run } = setUp();
    expect(lines(run(PAGE, esr(0x21)))[0]).toBe(unable('paging request', PAGE));
    expect(test.calls()).toContain('do_alignment_fault');
  });

  it("a user-mode abort is somebody else's", () => {
    const { test } = setUp();
    const regs = new Arm64PtRegs(undefined, true);
    const run = (fsc: number) => test.run(doMemAbort(test.context, regs, fault(PAGE, esr(fsc))));
    expect(() => run(TRANSLATION_3)).toThrow(RangeError);
    expect(() => run(0x30)).toThrow(RangeError);
  });
});

describe('a user address', () => {
  it.each<[string, Change]>([
    ['no mm', { task: { hasMm: false } }],
    ['faults disabled', { task: { faulthandlerDisabled: true } }],
  ])('with %s goes to __do_kernel_fault()', (_, change) => {
    const { test, asked, run } = setUp(change);
    expect(lines(run(0x400000n, esr(PERMISSION_3)))[0]).toBe(
      unable('read from unreadable memory', 0x400000n),
    );
    expect(test.calls()).toContain('__do_kernel_fault');
    expect(asked).toEqual([]);
  });

  it('that maps nothing is fixed up or asked about', () => {
    const { test, asked, run, fixup } = setUp();
    expect(lines(run(0x400000n, esr(4)))[0]).toBe(unable('paging request', 0x400000n));
    expect(asked).toHaveLength(2);
    fixup({ type: 'uaccess_err_zero', err: 'x0' });
    expect(run(0x400000n, esr(4)).resolution).toBe('extable');
    expect(test.calls()).toContain('do_page_fault');
  });

  it('loses its tag before it is looked at', () => {
    const { asked, run } = setUp();
    run(0x5a00_0000_0040_0000n, esr(4));
    expect(asked[0]).toBe('kfence read 400000');
  });

  it('that PAN forbids needs an exception-table entry', () => {
    const { test, run, fixup } = setUp();
    const what = 'access to user memory outside uaccess routines';
    expect(lines(run(0x400000n, esr(PERMISSION_3)))[0]).toBe(unable(what, 0x400000n));
    expect(test.calls()).not.toContain('__do_kernel_fault');
    fixup({ type: 'uaccess_cpy', write: true });
    expect(lines(run(0x400000n, esr(PERMISSION_3)))[0]).toBe(unable(what, 0x400000n));
    expect(run(0x400000n, esr(PERMISSION_3, true)).resolution).toBe('extable');
    fixup({ type: 'default' });
    expect(run(0x400000n, esr(PERMISSION_3)).resolution).toBe('extable');
  });

  it('that is executed is fatal', () => {
    const { run, fixup } = setUp();
    fixup({ type: 'default' });
    expect(lines(run(0x400000n, iabt(PERMISSION_3)))[0]).toBe(
      unable('execution of user memory', 0x400000n),
    );
  });
});

describe('fault_info[]', () => {
  // Section 7.2, all 64: handler, signal, code, text.
  const level = (from: number, fn: string, code: string, text: (level: number) => string) =>
    [0, 1, 2, 3].map((n) => [from + n, fn, code, text(n)]);
  const known: unknown[][] = [
    [0, 'do_bad', 'SIGKILL SI_KERNEL', 'ttbr address size fault'],
    ...[1, 2, 3].map((n) => [n, 'do_bad', 'SIGKILL SI_KERNEL', `level ${n} address size fault`]),
    ...level(
      4,
      'do_translation_fault',
      'SIGSEGV SEGV_MAPERR',
      (n) => `level ${n} translation fault`,
    ),
    ...level(8, 'do_page_fault', 'SIGSEGV SEGV_ACCERR', (n) => `level ${n} access flag fault`),
    ...level(12, 'do_page_fault', 'SIGSEGV SEGV_ACCERR', (n) => `level ${n} permission fault`),
    [16, 'do_sea', 'SIGBUS BUS_OBJERR', 'synchronous external abort'],
    [17, 'do_tag_check_fault', 'SIGSEGV SEGV_MTESERR', 'synchronous tag check fault'],
    [19, 'do_sea', 'SIGKILL SI_KERNEL', 'level -1 (translation table walk)'],
    ...level(20, 'do_sea', 'SIGKILL SI_KERNEL', (n) => `level ${n} (translation table walk)`),
    [24, 'do_sea', 'SIGBUS BUS_OBJERR', 'synchronous parity or ECC error'],
    [
      27,
      'do_sea',
      'SIGKILL SI_KERNEL',
      'level -1 synchronous parity error (translation table walk)',
    ],
    ...level(
      28,
      'do_sea',
      'SIGKILL SI_KERNEL',
      (n) => `level ${n} synchronous parity error (translation table walk)`,
    ),
    [33, 'do_alignment_fault', 'SIGBUS BUS_ADRALN', 'alignment fault'],
    [41, 'do_bad', 'SIGKILL SI_KERNEL', 'level -1 address size fault'],
    [43, 'do_translation_fault', 'SIGSEGV SEGV_MAPERR', 'level -1 translation fault'],
    [48, 'do_bad', 'SIGKILL SI_KERNEL', 'TLB conflict abort'],
    [49, 'do_bad', 'SIGKILL SI_KERNEL', 'Unsupported atomic hardware update fault'],
    [52, 'do_bad', 'SIGKILL SI_KERNEL', 'implementation fault (lockdown abort)'],
    [53, 'do_bad', 'SIGBUS BUS_OBJERR', 'implementation fault (unsupported exclusive)'],
    [61, 'do_bad', 'SIGKILL SI_KERNEL', 'section domain fault'],
    [62, 'do_bad', 'SIGKILL SI_KERNEL', 'page domain fault'],
  ];

  it.each(Array.from({ length: 64 }, (_, fsc) => fsc))('row %d', (fsc) => {
    const row = known.find(([at]) => at === fsc);
    const { fn, signal, code, name } = FAULT_INFO[fsc];
    expect([fsc, fn, `${signal} ${code}`, name]).toEqual(
      row ?? [fsc, 'do_bad', 'SIGKILL SI_KERNEL', `unknown ${fsc}`],
    );
  });

  it.each(Array.from({ length: 64 }, (_, fsc) => fsc))(
    'code %d ends as its handler says',
    (fsc) => {
      const { asked, run } = setUp();
      const outcome = run(PAGE, esr(fsc));
      const { fn, name } = FAULT_INFO[fsc];
      const first = {
        do_bad: unable(name, PAGE),
        do_sea: `Internal error: ${name}: ${esr(fsc).toString(16).padStart(16, '0')} [#1]  SMP`,
        do_translation_fault: unable('paging request', PAGE),
        do_alignment_fault: unable('paging request', PAGE),
        do_page_fault: unable(fsc >= 12 ? 'read from unreadable memory' : 'paging request', PAGE),
        do_tag_check_fault: undefined,
      }[fn];
      expect(lines(outcome)[0]).toBe(first);
      expect(asked).toHaveLength(fn === 'do_translation_fault' ? 2 : 0);
    },
  );
});

describe('the exception entry', () => {
  it('needs room for the registers on the stack', () => {
    const { test, regs } = setUp();
    const outcome = (sp: bigint) => {
      regs.set('sp', sp);
      return test.run(el1Abort(test.context, regs, fault(PAGE, esr(TRANSLATION_3))));
    };
    expect(lines(outcome(test.layout.stack + 0x150n))[0]).toBe(unable('paging request', PAGE));
    const { stack } = test.layout;
    const report = lines(outcome(stack + 0x140n));
    expect(report.slice(0, 5)).toEqual([
      'Insufficient stack space to handle exception!',
      'ESR: 0x0000000096000007 -- DABT (current EL)',
      'FAR: 0xffff8000a7208000',
      `Task stack:     [0x${stack.toString(16)}..0x${(stack + 0x4000n).toString(16)}]`,
      'CPU: 0 UID: 0 PID: 42 Comm: test Tainted: G      D             faultline #1 PREEMPT(voluntary) ',
    ]);
    expect(report.at(-1)).toBe('---[ end Kernel panic - not syncing: kernel stack overflow ]---');
    expect(lines(outcome(PAGE))[0]).toBe('Insufficient stack space to handle exception!');
  });

  it('takes other mapped memory for a stack', () => {
    const { test, regs } = setUp();
    test.map(virtAddr(PAGE), 1, 'PAGE_KERNEL');
    regs.set('sp', PAGE + 0x800n);
    const path = el1Abort(test.context, regs, fault(PAST_END, esr(TRANSLATION_3)));
    expect(lines(test.run(path))[0]).toBe(unable('paging request', PAST_END));
  });
});
