import { describe, expect, it } from 'vitest';
import { decodePfErrorCode, describePfErrorCode } from './fault-code.ts';

describe('an error code', () => {
  it.each([
    [0x0n, 'supervisor read, not-present page'],
    [0x2n, 'supervisor write, not-present page'],
    [0x3n, 'supervisor write, protection violation'],
    [0x7n, 'user write, protection violation'],
    [0x11n, 'supervisor fetch, protection violation'],
    [0x14n, 'user fetch, not-present page'],
    [0x9n, 'supervisor read, reserved bit set'],
    [0x25n, 'user read, protection key'],
  ])('%s is a %s', (code, text) => {
    expect(describePfErrorCode(code)).toBe(text);
  });

  it('is a list of fields, with bits that mean nothing if they are set', () => {
    const fields = decodePfErrorCode(0x8000_8202n);
    const set = fields.filter((one) => one.value === 1n).map((one) => `${one.name}[${one.bits}]`);
    expect(set).toEqual(['W/R[1]', 'SGX[15]', 'RMP[31]', 'reserved[9]']);
    expect(fields.find((one) => one.name === 'P')?.meaning).toBe('not-present page');
    expect(decodePfErrorCode(0n)).toHaveLength(10);
  });
});
