// Which numbers AArch64 can hold in an instruction, and the choice among the forms of `mov` (Arm ARM C6.2, MOV (wide
// immediate), MOV (inverted wide immediate), MOV (bitmask immediate), in GNU as's order of preference).
import type { ResolvedInsn } from './resolve.ts';

/**
 * True if `value` is a bitmask immediate: a rotated run of ones, repeated (Arm ARM, DecodeBitMasks).
 * @param bits 32 or 64; `value` is taken modulo 2^bits
 */
export function isBitmask(value: bigint, bits: 32 | 64): boolean {
  let word = BigInt.asUintN(bits, value);
  if (bits === 32) word |= word << 32n;
  const all = (1n << 64n) - 1n;
  if (word === 0n || word === all) return false;
  for (let size = 2n; size <= 64n; size *= 2n) {
    const mask = (1n << size) - 1n;
    const element = word & mask;
    let repeated = 0n;
    for (let at = 0n; at < 64n; at += size) repeated |= element << at;
    if (repeated === word) return isRotatedRun(element, size);
  }
  return false;
}

/** Exactly one ascending edge from 0 to 1, cyclically. */
function isRotatedRun(element: bigint, size: bigint): boolean {
  let edges = 0;
  for (let at = 0n; at < size; at++) {
    const bit = (element >> at) & 1n;
    const next = (element >> ((at + 1n) % size)) & 1n;
    if (bit === 0n && next === 1n) edges++;
  }
  return edges === 1;
}

/** The 16-bit field and shift that make up `value`, if there is only one. */
function wide(value: bigint, bits: 32 | 64): { field: bigint; shift: bigint } | null {
  const word = BigInt.asUintN(bits, value);
  for (let shift = 0n; shift < BigInt(bits); shift += 16n) {
    const field = (word >> shift) & 0xffffn;
    if (field << shift === word) return { field, shift };
  }
  return null;
}

/** @returns the instruction that moves `value` into a general register, or null if it takes more than one */
export function moveImmediate(name: string, value: bigint, bits: 32 | 64): ResolvedInsn | null {
  const register = { kind: 'register', name, lane: null } as const;
  const halfword = (mnemonic: string, { field, shift }: { field: bigint; shift: bigint }) => ({
    mnemonic,
    operands: [
      register,
      { kind: 'value', value: field } as const,
      { kind: 'shift', op: 'lsl', amount: shift } as const,
    ],
  });
  const isStackPointer = name === 'sp' || name === 'wsp';
  const direct = isStackPointer ? null : wide(value, bits);
  if (direct !== null) return halfword('movz', direct);
  const inverted = isStackPointer ? null : wide(~value, bits);
  if (inverted !== null) return halfword('movn', inverted);
  if (!isBitmask(value, bits)) return null;
  const zero = { kind: 'register', name: bits === 64 ? 'xzr' : 'wzr', lane: null } as const;
  const mask = { kind: 'value', value: BigInt.asUintN(bits, value) } as const;
  return { mnemonic: 'orr', operands: [register, zero, mask] };
}
