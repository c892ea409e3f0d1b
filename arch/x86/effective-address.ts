// Where the memory operands of an instruction lie (SDM Vol. 1, 3.7.5), and which of them go through SS. Left out:
// bit strings and the other operands that operands.ts calls inexact.
import type { VirtAddr } from '../../emulator/address.ts';
import { u64 } from '../../emulator/bits.ts';
import type { Cpu } from '../../emulator/engine.ts';
import type { Decoded } from './decode.ts';
import { type Operand, operands } from './operands.ts';
import { generalIndex, RBP, RDI, RIP, RSI, RSP } from './registers.ts';

const NUMBER_RSP = 4;
const NUMBER_RBP = 5;
const FIXED = { stack: RSP, frame: RBP, rsi: RSI, rdi: RDI } as const;

/** @param words general registers in the description's order, RIP that of the instruction. @param fsOrGs base, if overridden */
export function effectiveAddress(
  d: Decoded,
  operand: Pick<Operand, 'at' | 'offset'>,
  words: BigUint64Array,
  fsOrGs = 0n,
): VirtAddr {
  if (operand.at !== 'modrm') {
    return u64(words[FIXED[operand.at]] + BigInt(operand.offset)) as VirtAddr;
  }
  let address = BigInt(d.displacement + operand.offset);
  if (d.base === -2) address += words[RIP] + BigInt(d.length);
  else if (d.base >= 0) address += words[generalIndex(d.base)];
  if (d.index >= 0) address += words[generalIndex(d.index)] << BigInt(d.scale);
  // Address-size override: SDM Vol. 1, 3.3.7.
  const offset = d.addressSize32 ? BigInt.asUintN(32, address) : address;
  return u64(offset + (d.segmentBase ? fsOrGs : 0n)) as VirtAddr;
}

/** Base of the segment that a prefix of the instruction names; 0 if none of FS and GS is. */
export function overriddenBase(cpu: Cpu, code: Uint8Array, d: Decoded): bigint {
  if (!d.segmentBase) return 0n;
  const gs = code.indexOf(0x65);
  const fs = code.indexOf(0x64);
  return cpu.readRegister(gs >= 0 && (fs < 0 || gs < fs) ? 'gs_base' : 'fs_base');
}

/** SDM Vol. 1, 3.7.4: pushes, pops and bases RSP and RBP use SS, unless a prefix says FS or GS. */
const throughStack = (d: Decoded, operand: Operand): boolean =>
  operand.at === 'stack' ||
  operand.at === 'frame' ||
  (operand.at === 'modrm' && !d.segmentBase && (d.base === NUMBER_RSP || d.base === NUMBER_RBP));

/** One operand of an instruction in memory. */
export interface PlacedOperand {
  readonly va: VirtAddr;
  /** Bytes. */
  readonly size: number;
  readonly stack: boolean;
}

/** The operand of the instruction that `va` is part of; null if none with a known address is. */
export function operandAt(
  cpu: Cpu,
  code: Uint8Array,
  d: Decoded,
  words: BigUint64Array,
  va: VirtAddr,
): PlacedOperand | null {
  const base = overriddenBase(cpu, code, d);
  for (const one of operands(d)) {
    const start = effectiveAddress(d, one, words, base);
    if (one.exact && u64(va - start) < BigInt(one.size)) {
      return { va: start, size: one.size, stack: throughStack(d, one) };
    }
  }
  return null;
}
