import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { Arm64PtRegs, arm64Description, registerNumber } from './registers.ts';

describe('struct pt_regs', () => {
  it('knows every register of the description and no other', () => {
    const regs = new Arm64PtRegs();
    arm64Description.general.forEach((name, at) => {
      regs.set(name, BigInt(at) + 1n);
      expect(regs.words[at]).toBe(BigInt(at) + 1n);
    });
    expect([regs.fp, regs.lr, regs.sp, regs.ip, regs.pstate]).toEqual([30n, 31n, 32n, 33n, 34n]);
    regs.ip = virtAddr(9n);
    expect(regs.get('pc')).toBe(9n);
    for (const name of ['x31', 'w0', 'rax']) {
      expect(() => regs.get(name)).toThrow(RangeError);
      expect(() => regs.set(name, 0n)).toThrow(RangeError);
    }
  });

  it('discards what is written to xzr and reads it as zero', () => {
    const regs = new Arm64PtRegs();
    regs.writeReg(registerNumber('xzr'), 5n);
    expect(regs.words.every((word) => word === 0n)).toBe(true);
    expect(regs.readReg(31)).toBe(0n);
    regs.writeReg(registerNumber('x30'), 5n);
    expect(regs.readReg(30)).toBe(5n);
  });

  it.each(['sp', 'pc', 'x31', 'w1'])('has no number for %s', (name) => {
    expect(() => registerNumber(name)).toThrow(RangeError);
  });
});
