// What running code does to its own address translation, and what its faults are delivered as: real instructions on a
// vCPU over tables in RAM.
import { describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Cpu, Stop } from '../../emulator/engine.ts';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import { Mmu } from '../../mm/mmu.ts';
import type { X86Paging, X86PagingState } from './paging.ts';
import { X86Processor } from './processor.ts';
import { x86Description } from './registers.ts';
import { TestTables } from './test-tables.ts';
import { GOLDEN_COVE_STLB } from './tlb.ts';

const CODE = 0xffff_ffff_8100_0000n;
const CODE_PA = 0xc000;
const DATA = 0xffff_c900_0000_0000n;
const USER = 0x7000_0000n;
const PAGE_1 = 0xd000;
const PAGE_2 = 0xe000;

const P = 1n;
const RW = 2n;
const US = 4n;
const XD = 1n << 63n;
const key = (n: number) => BigInt(n) << 59n;

class TestCpu {
  readonly tables = new TestTables();
  readonly paging: X86Paging;
  readonly mmu: Mmu;
  readonly processor: X86Processor;
  readonly cpu: Cpu;

  /** @param code hex */
  constructor(code: string, change: Partial<X86PagingState> = {}, counting = true) {
    const { tables } = this;
    tables.set(CODE, 12, BigInt(CODE_PA) | P);
    tables.set(DATA, 12, BigInt(PAGE_1) | P | RW);
    tables.set(USER, 12, BigInt(PAGE_1) | P | RW | US);
    tables.ram.write64(PAGE_1, 0x1111n);
    tables.ram.write64(PAGE_2, 0x2222n);
    tables.ram.write(CODE_PA, Uint8Array.from(Buffer.from(code.replace(/\s/g, ''), 'hex')));
    this.paging = tables.unit(change);
    const engine = unicornEngine();
    this.mmu = new Mmu({
      paging: this.paging,
      tlb: GOLDEN_COVE_STLB,
      listener: {
        onEvict: (va) => this.cpu.flushTlbPage(va),
        onEvictAll: () => this.cpu.flushTlb(),
      },
    });
    const { mmu } = this;
    this.processor = new X86Processor({ ram: tables.ram, mmu, all: () => [mmu] });
    const { translator } = this.processor;
    this.cpu = engine.createCpu(0, x86Description, tables.ram, translator, { counting });
    this.processor.attach(this.cpu);
    this.cpu.writeRegister('rip', CODE);
    this.cpu.writeRegister('rdi', DATA);
    this.cpu.writeRegister('rsi', USER);
  }

  set(registers: Readonly<Record<string, bigint>>): this {
    for (const [name, value] of Object.entries(registers)) this.cpu.writeRegister(name, value);
    return this;
  }

  /** Runs `count` instructions; a fault as `#vector(code) at address`. */
  run(count: number): string {
    return this.told(this.cpu.run(count));
  }

  told(stop: Stop): string {
    if (stop.reason === 'exception') return stop.name;
    if (stop.reason !== 'fault') return stop.reason;
    const { vector, code, va } = this.processor.taken(stop.va, stop.kind, stop.ip);
    return `#${vector}(0x${code.toString(16)}) at 0x${va.toString(16)}`;
  }

  get(name: string): bigint {
    return this.cpu.readRegister(name);
  }
}

const LOAD = '48 8b 07'; // mov rax, [rdi]
const LOAD_USER = '48 8b 06'; // mov rax, [rsi]

describe('stale entries', () => {
  const remapped = (flush: string) => {
    const cpu = new TestCpu(`${LOAD} ${flush} ${LOAD}`);
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.get('rax')).toBe(0x1111n);
    cpu.tables.set(DATA, 12, BigInt(PAGE_2) | P | RW);
    return cpu;
  };

  it('answer until the guest flushes', () => {
    const cpu = remapped('90');
    expect(cpu.run(2)).toBe('limit');
    expect(cpu.get('rax')).toBe(0x1111n);
  });

  it.each([
    ['INVLPG [rdi]', '0f 01 3f', {}],
    ['INVLPG [rdi + rcx*8 - 8]', '0f 01 7c cf f8', { rcx: 2n }],
    ['INVLPG gs:[rbx]', '65 0f 01 3b', { gs_base: DATA - 0x40n, rbx: 0x40n }],
    ['MOV CR3', '0f 22 d9', { rcx: 0x1000n }],
    ['MOV CR3 by a REX register', '41 0f 22 da', { r10: 0x1000n }],
    // PGE off.
    ['MOV CR4', '0f 22 e1', { rcx: 0x30_0020n }],
    ['INVPCID of everything', '66 0f 38 82 0b', { rcx: 2n, rbx: DATA + 0x100n }],
    ['INVPCID of an address', '66 0f 38 82 0b', { rcx: 0n, rbx: DATA + 0x108n }],
  ])('are gone after %s', (_, bytes, registers) => {
    const cpu = remapped(bytes).set(registers);
    // The descriptor of INVPCID, 0 and the address.
    cpu.tables.ram.write64(PAGE_1 + 0x110, DATA);
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.get('rax')).toBe(0x2222n);
  });

  it('of global pages survive MOV CR3 and not a change of PGE', () => {
    const cpu = new TestCpu(`${LOAD} 0f 22 d9 ${LOAD} 0f 22 e2 ${LOAD}`);
    cpu.tables.set(DATA, 12, BigInt(PAGE_1) | P | RW | (1n << 8n));
    cpu.set({ rcx: 0x1000n, rdx: 0x30_0020n }).run(1);
    cpu.tables.set(DATA, 12, BigInt(PAGE_2) | P | RW);
    cpu.run(2);
    expect(cpu.get('rax')).toBe(0x1111n);
    cpu.run(2);
    expect(cpu.get('rax')).toBe(0x2222n);
  });

  it('are gone in a run that counts nothing', () => {
    const cpu = new TestCpu(`${LOAD} 0f 0b`, {}, false);
    expect(cpu.run(Infinity)).toBe('#UD');
    cpu.tables.set(DATA, 12, BigInt(PAGE_2) | P | RW);
    cpu.tables.ram.write(CODE_PA, Uint8Array.of(0x0f, 0x01, 0x3f, 0x48, 0x8b, 0x07, 0x0f, 0x0b));
    cpu.cpu.flushCode();
    cpu.set({ rip: CODE });
    expect(cpu.run(Infinity)).toBe('#UD');
    expect(cpu.get('rax')).toBe(0x2222n);
  });

  it('refuse a read-modify-write as a write, though the walk would allow it now', () => {
    const cpu = new TestCpu(`${LOAD} 48 ff 07`); // inc qword ptr [rdi]
    cpu.tables.set(DATA, 12, BigInt(PAGE_1) | P);
    cpu.run(1);
    cpu.tables.set(DATA, 12, BigInt(PAGE_1) | P | RW);
    expect(cpu.run(1)).toBe('#14(0x3) at 0xffffc90000000000');
    expect(cpu.run(1)).toBe('limit');
  });
});

describe('rights that code changes', () => {
  it('follow STAC, CLAC and POPF at user-mode addresses', () => {
    // stac; load; clac; load
    const cpu = new TestCpu(`${LOAD_USER} 0f 01 cb ${LOAD_USER} 0f 01 ca ${LOAD_USER}`);
    expect(cpu.run(1)).toBe('#14(0x1) at 0x70000000');
    expect(cpu.set({ rip: CODE + 3n }).run(2)).toBe('limit');
    expect(cpu.get('rax')).toBe(0x1111n);
    expect(cpu.run(2)).toBe('#14(0x1) at 0x70000000');
    // push rdx; popf; load
    const popf = new TestCpu(`52 9d ${LOAD_USER} 52 9d ${LOAD_USER}`);
    popf.set({ rdx: 0x4_0202n, rsp: DATA + 0x800n });
    expect(popf.run(3)).toBe('limit');
    popf.set({ rdx: 0x202n });
    expect(popf.run(3)).toBe('#14(0x1) at 0x70000000');
  });

  it('follow a host that writes EFLAGS', () => {
    const cpu = new TestCpu(LOAD_USER).set({ rflags: 0x4_0202n });
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.set({ rip: CODE, rflags: 0x202n }).run(1)).toBe('#14(0x1) at 0x70000000');
  });

  it('follow CR0.WP', () => {
    // mov [rdi], rax; mov cr0, rcx; mov [rdi], rax; mov rbx, cr0
    const cpu = new TestCpu('48 89 07 0f 22 c1 48 89 07 0f 20 c3');
    cpu.tables.set(DATA, 12, BigInt(PAGE_1) | P);
    expect(cpu.run(1)).toBe('#14(0x3) at 0xffffc90000000000');
    expect(cpu.set({ rip: CODE + 3n, rcx: 0x8004_0033n }).run(3)).toBe('limit');
    expect(cpu.get('rbx')).toBe(0x8004_0033n);
  });

  it('follow WRPKRU and IA32_PKRS', () => {
    const supervisor = new TestCpu(`0f 30 ${LOAD}`, { cr4: 0x1b0_00a0n & ~(1n << 23n) });
    supervisor.tables.set(DATA, 12, BigInt(PAGE_1) | P | RW | key(3));
    supervisor.set({ rcx: 0x6e1n, rax: 1n << 6n, rdx: 0n });
    expect(supervisor.run(2)).toBe('#14(0x21) at 0xffffc90000000000');
    // wrpkru; load; rdpkru
    const user = new TestCpu(`${LOAD_USER} 0f 01 ef ${LOAD_USER}`, { cr4: 0x40_00a0n });
    user.tables.set(USER, 12, BigInt(PAGE_1) | P | RW | US | key(2));
    expect(user.run(1)).toBe('limit');
    user.set({ rax: 1n << 4n, rcx: 0n, rdx: 0n });
    expect(user.run(2)).toBe('#14(0x21) at 0x70000000');
    const told = new TestCpu('0f 01 ee', { cr4: 0x40_00a0n, pkru: 0x1234n }).set({ rcx: 0n });
    expect(told.run(1)).toBe('limit');
    expect([told.get('rax'), told.get('rdx')]).toEqual([0x1234n, 0n]);
    expect(new TestCpu('0f 01 ef').run(1)).toBe('#UD');
  });

  it('follow EFER.NXE', () => {
    // wrmsr; load; rdmsr
    const cpu = new TestCpu(`${LOAD} 0f 30 ${LOAD}`);
    cpu.tables.set(DATA, 12, BigInt(PAGE_1) | P | RW | XD);
    expect(cpu.run(1)).toBe('limit');
    cpu.set({ rcx: 0xc000_0080n, rax: 0x501n, rdx: 0n });
    expect(cpu.run(1)).toBe('limit');
    // The entry that the TLB holds is still good.
    expect(cpu.run(1)).toBe('limit');
    cpu.mmu.invalidateAll();
    expect(cpu.set({ rip: CODE + 5n }).run(1)).toBe('#14(0x9) at 0xffffc90000000000');
  });
});

describe('control registers', () => {
  it('read back what paging uses', () => {
    const cpu = new TestCpu('0f 20 d8 0f 20 e3'); // mov rax, cr3; mov rbx, cr4
    expect(cpu.run(2)).toBe('limit');
    expect([cpu.get('rax'), cpu.get('rbx')]).toEqual([0x1000n, 0x30_00a0n]);
  });

  it.each([
    ['a reserved bit of CR3', '0f 22 d9', { rcx: 1n << 63n }],
    ['LA57 in CR4', '0f 22 e1', { rcx: 0x30_10a0n }],
    ['paging off', '0f 22 c1', { rcx: 0x33n }],
    ['upper bits of CR0', '0f 22 c1', { rcx: 0x1_8005_0033n }],
    ['NW without CD', '0f 22 c1', { rcx: 0xa005_0033n }],
    ['an unknown bit of EFER', '0f 30', { rcx: 0xc000_0080n, rax: 0xd03n, rdx: 0n }],
    ['LME off', '0f 30', { rcx: 0xc000_0080n, rax: 0xc01n, rdx: 0n }],
    ['upper bits of PKRS', '0f 30', { rcx: 0x6e1n, rax: 0n, rdx: 1n }],
    ['INVPCID of an unknown type', '66 0f 38 82 0f', { rcx: 4n }],
  ])('raise #GP for %s', (_, bytes, registers) => {
    const cpu = new TestCpu(bytes).set({ rbx: DATA, ...registers });
    expect(cpu.run(1)).toBe('#GP');
    expect(cpu.get('rip')).toBe(CODE);
  });

  it.each(['0f 22 d9', '0f 20 d8', '0f 01 3f', '66 0f 38 82 0f', '0f 30'])(
    'belong to CPL 0: %s',
    (bytes) => {
      const cpu = new TestCpu(bytes, { cpl: 3 });
      for (const shift of [39, 30, 21]) {
        cpu.tables.set(CODE, shift, cpu.tables.get(CODE, shift) | US);
      }
      cpu.tables.set(CODE, 12, BigInt(CODE_PA) | P | US);
      cpu.set({ cpl: 3n });
      expect(cpu.run(1)).toBe('#GP');
    },
  );

  it('fault in the descriptor of INVPCID', () => {
    const cpu = new TestCpu('66 0f 38 82 0f').set({ rcx: 0n, rdi: DATA + 0xffcn });
    expect(cpu.run(1)).toBe('#14(0x0) at 0xffffc90000001000');
  });
});

describe('faults are delivered', () => {
  const EDGE = 0x7fff_ffff_fffcn;

  it.each([
    ['#GP for a non-canonical address', LOAD, { rdi: 1n << 63n }, '#13(0x0)'],
    ['#GP for one that begins on a page', LOAD, { rdi: EDGE }, '#13(0x0)'],
    ['#GP for a store that ends on one', '48 89 07', { rdi: 0xffff_7fff_ffff_fffcn }, '#13(0x0)'],
    ['#SS for a push', '50', { rsp: 1n << 63n }, '#12(0x0)'],
    ['#SS for a pop', '58', { rsp: 1n << 63n }, '#12(0x0)'],
    ['#SS for a base of RBP', '48 8b 45 00', { rbp: 1n << 63n }, '#12(0x0)'],
    ['#SS for a call', 'e8 00 00 00 00', { rsp: 1n << 63n }, '#12(0x0)'],
    ['#GP for RBP with GS', '65 48 8b 45 00', { rbp: 1n << 63n }, '#13(0x0)'],
    ['#GP for R13, which is no RBP', '49 8b 45 00', { r13: 1n << 63n }, '#13(0x0)'],
    ['#PF for a page', LOAD, { rdi: DATA + 0x1008n }, '#14(0x0)'],
    ['#GP for a jump', 'ff e7', { rdi: 1n << 63n }, '#13(0x0)'],
  ])('as %s', (_, bytes, registers, told) => {
    const cpu = new TestCpu(bytes).set(registers);
    expect(cpu.run(2).split(' ')[0]).toBe(told);
  });

  it('with the address of the second page, after the first', () => {
    const cpu = new TestCpu(LOAD).set({ rdi: virtAddr(DATA + 0xffcn) as VirtAddr });
    expect(cpu.run(1)).toBe('#14(0x0) at 0xffffc90000001000');
  });
});
