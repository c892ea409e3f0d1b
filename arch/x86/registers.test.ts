import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { ptRegsOffset, registerNumber, X86PtRegs, x86Description } from './registers.ts';

describe('struct pt_regs', () => {
  // arch/x86/include/asm/ptrace.h: order of the members, 8 bytes each.
  it.each([
    ['r15', 0],
    ['r14', 8],
    ['r13', 16],
    ['r12', 24],
    ['rbp', 32],
    ['rbx', 40],
    ['r11', 48],
    ['r10', 56],
    ['r9', 64],
    ['r8', 72],
    ['rax', 80],
    ['rcx', 88],
    ['rdx', 96],
    ['rsi', 104],
    ['rdi', 112],
  ])('has %s at offset %d', (name, offset) => {
    const regs = new X86PtRegs();
    regs.set(name, 0x1234n);
    expect(ptRegsOffset(name)).toBe(offset);
    expect(regs.atOffset(offset)).toBe(0x1234n);
    regs.setAtOffset(offset, 5n);
    expect(regs.get(name)).toBe(5n);
  });

  it.each([120, 127, 160, 248])(
    'has nothing at offset %d, where a damaged table may lead',
    (offset) => {
      const regs = new X86PtRegs();
      regs.setAtOffset(offset, 5n);
      expect(regs.atOffset(offset)).toBe(0n);
      expect(regs.words.every((word) => word === 0n)).toBe(true);
    },
  );

  // SDM Vol. 2A, table 2-2.
  it.each(
    ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r15'].map(
      (name, at): [string, number] => [name, name === 'r15' ? 15 : at],
    ),
  )('has %s as encoding %d', (name, number) => {
    const regs = new X86PtRegs();
    regs.setByNumber(number, 7n);
    expect(registerNumber(name)).toBe(number);
    expect(regs.get(name)).toBe(7n);
    expect(regs.byNumber(number)).toBe(7n);
  });

  it('knows every register of the description and no other', () => {
    const regs = new X86PtRegs();
    x86Description.general.forEach((name, at) => {
      regs.set(name, BigInt(at) + 1n);
      expect(regs.words[at]).toBe(BigInt(at) + 1n);
    });
    expect([regs.ip, regs.sp, regs.bp, regs.flags]).toEqual([17n, 8n, 7n, 18n]);
    regs.ip = virtAddr(9n);
    expect(regs.get('rip')).toBe(9n);
    for (const name of ['eax', 'cr2', 'x0']) {
      expect(() => regs.get(name)).toThrow(RangeError);
      expect(() => regs.set(name, 0n)).toThrow(RangeError);
      expect(() => registerNumber(name)).toThrow(RangeError);
    }
    expect(() => ptRegsOffset('rsp')).toThrow(RangeError);
  });

  it('shows RF after a fault, and keeps it from the vCPU', () => {
    const regs = new X86PtRegs();
    regs.set('rflags', 0x202n);
    regs.resumeFlag = true;
    expect([regs.flags, regs.get('rflags'), regs.clone().flags]).toEqual([
      0x10202n,
      0x202n,
      0x10202n,
    ]);
  });

  it('has the segments of its mode', () => {
    const segments = ({ cs, ss }: X86PtRegs) => [cs, ss];
    expect(segments(new X86PtRegs())).toEqual([0x10, 0x18]);
    expect(segments(new X86PtRegs(undefined, true))).toEqual([0x33, 0x2b]);
  });
});
