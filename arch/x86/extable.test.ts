import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { setRegs, TestKernel } from '../testing.ts';
import {
  buildX86Extable,
  fixupException,
  searchX86Extable,
  X86_EX_TYPE,
  type X86ExtableSource,
} from './extable.ts';
import { X86PtRegs } from './registers.ts';

const VECTOR_PF = 14;
const VECTOR_GP = 13;
const FAULT_ADDR = virtAddr(0xffffc90028069030n);
const KERNEL_BASE = 0xffffc90001e69000n;

function setUp(source: Partial<X86ExtableSource> & Pick<X86ExtableSource, 'type'>) {
  const test = new TestKernel('x86_64');
  const regs = new X86PtRegs();
  regs.ip = virtAddr(test.layout.text + 0x100n);
  setRegs(regs, { rax: 0x11n, rcx: 0x22n, rdx: 0x33n, rsp: test.layout.stack + 0x100n, r8: 8n });
  const fixup = virtAddr(regs.ip + 4n);
  const at = virtAddr(test.layout.text + 0x1000_0000n);
  const table = buildX86Extable([{ insn: regs.ip, fixup, ...source }], at);
  test.extable.set(regs.ip, searchX86Extable(table, at, regs.ip)!);
  const run = (trapnr = VECTOR_PF, addr = FAULT_ADDR) => {
    const path = fixupException(test.context, regs, trapnr, addr);
    return path === null ? null : test.run(path);
  };
  return { test, regs, fixup, run };
}

describe('the table', () => {
  it('has 12-byte entries whose fields are relative to themselves, sorted by instruction', () => {
    const at = virtAddr(0xffffffff82000000n);
    const bytes = buildX86Extable(
      [
        { insn: virtAddr(at + 0x20n), fixup: virtAddr(at - 0x10n), type: 'uaccess' },
        { insn: virtAddr(at - 0x100n), fixup: virtAddr(at + 4n), type: 'imm_reg', reg: 'rdi' },
      ],
      at,
    );
    expect([...new Int32Array(bytes.buffer)]).toEqual([
      ...[-0x100, 0, 17 | (7 << 8) | (-14 << 16)],
      ...[0x20 - 12, -0x10 - 16, 3],
    ]);
    expect(searchX86Extable(bytes, at, virtAddr(at + 0x20n))).toEqual({
      insn: at + 0x20n,
      fixup: at - 0x10n,
      type: X86_EX_TYPE.uaccess,
      data: 3,
      fixupWord: 2 ** 32 - 0x10 - 16,
    });
  });

  it('is searched by bisection, and holds nothing else', () => {
    const at = virtAddr(0xffffffff82000000n);
    const insns = Array.from({ length: 37 }, (_, i) => at - 0x1000n + BigInt(i * i * 7));
    const bytes = buildX86Extable(
      [...insns].reverse().map((insn) => ({
        insn: virtAddr(insn),
        fixup: virtAddr(insn + 3n),
        type: 'default',
      })),
      at,
    );
    for (let ip = insns[0] - 2n; ip < insns[36] + 3n; ip++) {
      const entry = searchX86Extable(bytes, at, virtAddr(ip));
      expect(entry?.fixup ?? null).toBe(insns.includes(ip) ? ip + 3n : null);
    }
    expect(searchX86Extable(new Uint8Array(), at, at)).toBeNull();
    expect(searchX86Extable(bytes, at, virtAddr(0n))).toBeNull();
  });

  it.each<[string, X86ExtableSource[]]>([
    [
      'two entries for an instruction',
      [
        { insn: virtAddr(8n), fixup: virtAddr(9n), type: 'default' },
        { insn: virtAddr(8n), fixup: virtAddr(10n), type: 'default' },
      ],
    ],
    ['a far instruction', [{ insn: virtAddr(1n << 32n), fixup: virtAddr(9n), type: 'default' }]],
    ['a far fixup', [{ insn: virtAddr(8n), fixup: virtAddr(1n << 32n), type: 'default' }]],
    [
      'a large immediate',
      [{ insn: virtAddr(8n), fixup: virtAddr(9n), type: 'imm_reg', reg: 'rax', imm: 0x8000 }],
    ],
    ['an unknown register', [{ insn: virtAddr(8n), fixup: virtAddr(9n), type: 'bpf', dst: 'eax' }]],
    ['a BPF entry that goes elsewhere', [{ insn: virtAddr(8n), fixup: virtAddr(8n), type: 'bpf' }]],
  ])('refuses %s', (_, sources) => {
    expect(() => buildX86Extable(sources, virtAddr(0n))).toThrow(RangeError);
  });
});

describe('fixup_exception()', () => {
  type Case = [
    Partial<X86ExtableSource> & Pick<X86ExtableSource, 'type'>,
    Readonly<Record<string, bigint>>,
  ];
  it.each<Case>([
    [{ type: 'default' }, {}],
    [{ type: 'default', clearAx: true }, { rax: 0n }],
    [
      { type: 'default', clearAx: true, clearDx: true },
      { rax: 0n, rdx: 0n },
    ],
    [{ type: 'default_mce_safe' }, {}],
    [{ type: 'fault' }, { rax: 14n }],
    [{ type: 'fault_mce_safe' }, { rax: 14n }],
    [{ type: 'fault_sgx' }, { rax: 0x4000000en }],
    [{ type: 'uaccess' }, {}],
    [{ type: 'clear_fs' }, {}],
    [{ type: 'fpu_restore' }, {}],
    [{ type: 'wrmsr' }, {}],
    [{ type: 'rdmsr' }, { rax: 0n, rdx: 0n }],
    [{ type: 'wrmsr_safe', reg: 'r8' }, { r8: 2n ** 64n - 5n }],
    [
      { type: 'rdmsr_safe', reg: 'rbx' },
      { rax: 0n, rdx: 0n, rbx: 2n ** 64n - 5n },
    ],
    [{ type: 'imm_reg', reg: 'r15' }, { r15: 2n ** 64n - 14n }],
    [{ type: 'imm_reg', reg: 'rsi', imm: 7 }, { rsi: 7n }],
    [{ type: 'ucopy_len', reg: 'r8', imm: 8 }, { rcx: 0x22n * 8n + 8n }],
  ])('%o changes just its registers', (source, changed) => {
    const { regs, fixup, run } = setUp(source);
    const expected = regs.clone();
    setRegs(expected, { ...changed, rip: fixup });
    expect(run()).toEqual({ resolution: 'extable' });
    expect(regs.words).toEqual(expected.words);
  });

  it('pops the stack for POP_REG', () => {
    const { test, regs, run } = setUp({ type: 'pop_reg', reg: 'rbx', imm: -1 });
    run();
    expect(regs.sp).toBe(test.layout.stack + 0x108n);
    expect(regs.get('rbx')).toBe(2n ** 64n - 1n);
  });

  it('fpu_restore names the place as a return address: %pB', () => {
    const { test, regs, run } = setUp({ type: 'fpu_restore' });
    test.symbols.length = 0;
    test.symbols.push(
      { name: 'before', start: regs.ip - 0x20n, size: 0x20 },
      { name: 'restore', start: regs.ip, size: 0x20 },
    );
    run();
    expect(test.kernel.log).toEqual([
      'Bad FPU state detected at before+0x20/0x20, reinitializing FPU registers.',
    ]);
  });

  it('finds nothing without an entry', () => {
    const { test, run } = setUp({ type: 'default' });
    test.extable.clear();
    expect(run()).toBeNull();
  });

  it.each<X86ExtableSource['type']>(['none', 'eretu'])('is a BUG() for %s', (type) => {
    const { run } = setUp({ type });
    const outcome = run();
    expect(outcome).toMatchObject({ resolution: 'oops' });
    expect(outcome?.resolution === 'oops' && outcome.lines.slice(0, 3)).toEqual([
      '------------[ cut here ]------------',
      'Kernel BUG at fixup_exception [verbose debug info unavailable]',
      'Oops: invalid opcode: 0000 [#1] SMP NOPTI',
    ]);
  });

  it.each([
    ['wrmsr_in_mce', 'WRMSR to 0x22 (tried to write 0x0000003300000011) at'],
    ['rdmsr_in_mce', 'RDMSR from 0x22 at'],
  ] as const)('panics where a machine check handler faults: %s', (type, access) => {
    const outcome = setUp({ type }).run(VECTOR_GP);
    expect(outcome).toMatchObject({ resolution: 'oops' });
    const lines = outcome?.resolution === 'oops' ? outcome.lines : [];
    expect([lines[0], ...lines.slice(-2)]).toEqual([
      `mce: MSR access error: ${access} rIP: 0xffffffff81000100 (code+0x100/0x1000)`,
      'Kernel panic - not syncing: MCA architectural violation!',
      '---[ end Kernel panic - not syncing: MCA architectural violation! ]---',
    ]);
  });

  it.each([
    [VECTOR_GP, 0x8000000000000000n, true],
    [VECTOR_GP, 0x0000800000000fffn, true],
    [VECTOR_GP, 0x00007ffffffff000n, false],
    [VECTOR_GP, 0x0000800000000000n, false],
    [VECTOR_PF, 0xffffc90028069030n, false],
  ])('warns once of a user access with vector %d at %x: %s', (trapnr, addr, warned) => {
    const { test, regs, run } = setUp({ type: 'uaccess' });
    const ip = regs.ip;
    run(trapnr, virtAddr(addr));
    regs.ip = ip;
    run(trapnr, virtAddr(addr));
    const text = 'General protection fault in user access. Non-canonical address?';
    expect(test.kernel.log).toEqual(warned ? [text] : []);
  });

  it('tells of unchecked MSR accesses once each way', () => {
    const { test, regs, run } = setUp({ type: 'wrmsr' });
    const ip = regs.ip;
    run(VECTOR_GP);
    regs.ip = ip;
    run(VECTOR_GP);
    expect(test.kernel.log.filter((line) => line.startsWith('unchecked'))).toEqual([
      'unchecked MSR access error: WRMSR to 0x22 (tried to write 0x0000003300000011) at rIP: 0xffffffff81000100 (code+0x100/0x1000)',
    ]);
    const read = setUp({ type: 'rdmsr' });
    read.run(VECTOR_GP);
    expect(read.test.kernel.log[0]).toBe(
      'unchecked MSR access error: RDMSR from 0x22 at rIP: 0xffffffff81000100 (code+0x100/0x1000)',
    );
  });
});

describe('ex_handler_bpf()', () => {
  it('reports the exact byte of a load, clears its register and goes on behind it (T21)', () => {
    const { test, regs, run } = setUp({ type: 'bpf', dst: 'rax', arenaReg: 'rdi', offset: 0x20 });
    regs.set('rdi', 0x26200010n);
    const ip = regs.ip;
    expect(run()).toEqual({ resolution: 'extable' });
    expect(test.violations).toEqual([`read 26200030 at ${ip.toString(16)}`]);
    expect(regs.get('rax')).toBe(0n);
    expect(regs.ip).toBe(ip + 4n);
    regs.ip = ip;
    run();
    expect(test.violations).toHaveLength(2);
  });

  it('reports a store below the arena and clears nothing (T22)', () => {
    const { test, regs, run } = setUp({ type: 'bpf', dst: null, arenaReg: 'rdi', offset: -8 });
    const before = regs.clone();
    run();
    expect(test.violations).toEqual([`write ${'f'.repeat(15)}8 at ${before.ip.toString(16)}`]);
    before.ip = virtAddr(before.ip + 4n);
    expect(regs.words).toEqual(before.words);
  });

  it('does not report a probe of other memory', () => {
    const { test, regs, run } = setUp({ type: 'bpf', dst: 'rdx', offset: 4 });
    run();
    expect(test.violations).toEqual([]);
    expect(regs.get('rdx')).toBe(0n);
  });

  it('packs its fields as the JIT does', () => {
    const at = virtAddr(KERNEL_BASE);
    const bytes = buildX86Extable(
      [
        {
          insn: at,
          fixup: virtAddr(at + 7n),
          type: 'bpf',
          dst: 'rsi',
          arenaReg: 'r13',
          offset: -2,
        },
      ],
      at,
    );
    const [, fixup, data] = new Uint32Array(bytes.buffer);
    expect(fixup).toBe(0x8000_0000 + (16 << 16) + (104 << 8) + 7);
    expect(data).toBe(0xfffe0007);
  });
});

describe('ex_handler_zeropad()', () => {
  const PAGE = 0xffffc90000500000n;
  const WORD = 0x8877665544332211n;

  function zeropad(code: number[], registers: Readonly<Record<string, bigint>>) {
    const { test, regs, run } = setUp({
      type: 'zeropad',
      fixup: virtAddr(0xffffffff81000100n + BigInt(code.length)),
    });
    test.map(virtAddr(PAGE), 1, 'PAGE_KERNEL');
    test.write(PAGE + 0xff8n, WORD);
    test.write(regs.ip, Uint8Array.from(code));
    setRegs(regs, registers);
    return { regs, run: (addr = PAGE + 0x1000n) => run(VECTOR_PF, virtAddr(addr)) };
  }

  const ADDR = PAGE + 0xffdn;
  it.each<[string, number[], Readonly<Record<string, bigint>>, string]>([
    ['mov rax, [rdi]', [0x48, 0x8b, 0x07], { rdi: ADDR }, 'rax'],
    ['mov r9, [rdi]', [0x4c, 0x8b, 0x0f], { rdi: ADDR }, 'r9'],
    ['mov rcx, [r12 + 5]', [0x49, 0x8b, 0x4c, 0x24, 0x05], { r12: ADDR - 5n }, 'rcx'],
    [
      'mov rax, [rsi + rcx*8 - 0x100]',
      [0x48, 0x8b, 0x84, 0xce, 0x00, 0xff, 0xff, 0xff],
      { rsi: ADDR + 0x100n - 16n, rcx: 2n },
      'rax',
    ],
    ['mov rax, [r13 + r12*4]', [0x4b, 0x8b, 0x44, 0xa5, 0x00], { r13: ADDR - 4n, r12: 1n }, 'rax'],
    [
      'mov rax, [rcx*1 + 0x10]',
      [0x48, 0x8b, 0x04, 0x0d, 0x10, 0x00, 0x00, 0x00],
      { rcx: ADDR - 0x10n },
      'rax',
    ],
    ['mov rbx, [rsp]', [0x48, 0x8b, 0x1c, 0x24], { rsp: ADDR }, 'rbx'],
  ])('loads what is there: %s', (_, code, registers, destination) => {
    const { regs, run } = zeropad(code, registers);
    const next = regs.ip + BigInt(code.length);
    expect(run()).toEqual({ resolution: 'extable' });
    expect(regs.get(destination)).toBe(0x887766n);
    expect(regs.ip).toBe(next);
  });

  it.each<[string, number[]]>([
    ['a 32-bit load', [0x8b, 0x07]],
    ['a store', [0x48, 0x89, 0x07]],
    ['a register move', [0x48, 0x8b, 0xc7]],
    ['an instruction of another length', [0x48, 0x8b, 0x07, 0x90]],
    ['a truncated one', [0x48, 0x8b]],
    ['a truncated SIB', [0x48, 0x8b, 0x04]],
  ])('declines %s', (_, code) => {
    const { regs, run } = zeropad(code, { rdi: ADDR });
    const before = regs.clone();
    expect(run()).toBeNull();
    expect(regs.words).toEqual(before.words);
  });

  it('declines a fault that is not on the next word', () => {
    const { run } = zeropad([0x48, 0x8b, 0x07], { rdi: ADDR });
    expect(run(PAGE + 0xff8n)).toBeNull();
  });
});
