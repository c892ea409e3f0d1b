// What apply_alternatives() makes of tables written by hand; a compiled one is fixtures/object-alternatives-*.yaml.
import { describe, expect, it } from 'vitest';
import { applyAlternatives } from './alternatives.ts';

const CODE = 0xffffffff81100000n;
const TABLE = 0xffffffff81200000n;
const ERMS = 9 * 32 + 9;

/** 16 instruction bytes at offset 0, and replacements from offset 0x20 on. */
function patched(
  replacement: readonly number[],
  { feature = ERMS, flags = 0, instrLen = 8, erms = true, size = 14 } = {},
): number[] {
  const bytes = new Uint8Array(0x40).fill(0xaa, 0, 0x20);
  bytes.set(replacement, 0x20);
  const table = new Uint8Array(size);
  const view = new DataView(table.buffer);
  view.setInt32(0, Number(CODE - TABLE), true);
  view.setInt32(4, Number(CODE + 0x20n - (TABLE + 4n)), true);
  view.setUint16(8, size === 14 ? feature : feature | (flags << 15), true);
  if (size === 14) view.setUint16(10, flags, true);
  view.setUint8(size - 2, instrLen);
  view.setUint8(size - 1, replacement.length);
  applyAlternatives({ address: TABLE, bytes: table }, [{ address: CODE, bytes }], erms);
  return [...bytes.subarray(0, 10)];
}

const untouched = Array.from({ length: 10 }, () => 0xaa);

describe('apply_alternatives()', () => {
  it('replaces where the CPU has the feature, and fills with long no-operations', () => {
    expect(patched([0xf3, 0xa4])).toEqual([
      ...[0xf3, 0xa4, 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
      ...[0xaa, 0xaa],
    ]);
    expect(patched([], { instrLen: 10 })).toEqual([
      ...[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
      ...[0x66, 0x90],
    ]);
  });

  it('asks for the opposite with ALT_FLAG_NOT, in both forms of the table', () => {
    for (const size of [14, 12]) {
      expect(patched([0x90], { size, erms: false })).toEqual(untouched);
      expect(patched([0x90], { size, flags: 1, erms: true })).toEqual(untouched);
      expect(patched([0xc3], { size, flags: 1, erms: false })[0]).toBe(0xc3);
    }
  });

  it('leaves what asks for features that nobody knows', () => {
    expect(patched([0xc3], { feature: 20 * 32 })).toEqual(untouched);
  });

  it('keeps the target of a jump that it moves', () => {
    // jmp to 0x30 from 0x20; from 0 it is 0x20 farther.
    expect(patched([0xe9, 0x0b, 0, 0, 0]).slice(0, 5)).toEqual([0xe9, 0x2b, 0, 0, 0]);
    expect(patched([0x0f, 0x84, 0x0a, 0, 0, 0]).slice(0, 6)).toEqual([0x0f, 0x84, 0x2a, 0, 0, 0]);
  });

  it('moves what points out of the replacement, wherever it stands, and nothing else', () => {
    // nop; call 0x30; and the same for an operand: lea rax, [rip + x] of 0x38, from 0x20 to 0.
    expect(patched([0x90, 0xe8, 0x0a, 0, 0, 0]).slice(0, 6)).toEqual([0x90, 0xe8, 0x2a, 0, 0, 0]);
    expect(patched([0x48, 0x8d, 0x05, 0x11, 0, 0, 0]).slice(0, 7)).toEqual([
      ...[0x48, 0x8d, 0x05, 0x31, 0, 0, 0],
    ]);
    // cmp dword [rip + x], 1: the displacement stands before the immediate.
    expect(patched([0x83, 0x3d, 0x10, 0, 0, 0, 1]).slice(0, 7)).toEqual([
      ...[0x83, 0x3d, 0x30, 0, 0, 0, 1],
    ]);
    // je over the nop, and jmp to the end of the replacement.
    const inside = [0x74, 0x01, 0x90, 0xe9, 0x00, 0, 0, 0];
    expect(patched(inside).slice(0, 8)).toEqual(inside);
    // A short jump out of it, to 0x30.
    expect(patched([0xeb, 0x0e]).slice(0, 2)).toEqual([0xeb, 0x2e]);
    expect(() => patched([0xeb, 0x7f])).toThrow(RangeError);
  });

  it('refuses tables whose places are not in the code', () => {
    expect(() => patched([0xc3], { size: 13 })).toThrow(RangeError);
    expect(() => patched([0xc3, 0xc3], { instrLen: 1 })).toThrow(RangeError);
    expect(() => patched([0xc3], { instrLen: 0x41 })).toThrow(RangeError);
  });
});
