// Where direct branches lead, read from their bytes.

/** Target of a direct jump, conditional branch or call at `address`; null for any other instruction. */
export function directTarget(
  machine: 'x86_64' | 'arm64',
  code: Uint8Array,
  address: bigint,
  length: number,
): bigint | null {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const distance = machine === 'arm64' ? arm64Distance(view) : x86Distance(code, view, length);
  return distance === null ? null : BigInt.asUintN(64, address + BigInt(distance));
}

/** jmp, jcc, call with a displacement of 8 or 32 bits (SDM Vol. 2, opcode maps). */
function x86Distance(code: Uint8Array, view: DataView, length: number): number | null {
  const [first, second] = code;
  const isNear = first === 0xe8 || first === 0xe9 || (first === 0x0f && (second & 0xf0) === 0x80);
  if (isNear) return length + view.getInt32(length - 4, true);
  const isShort = first === 0xeb || (first & 0xf0) === 0x70;
  return isShort ? length + view.getInt8(length - 1) : null;
}

/** B, BL, B.cond, CBZ, CBNZ, TBZ, TBNZ (Arm ARM, C4.1.66). */
function arm64Distance(view: DataView): number | null {
  const word = view.getUint32(0, true);
  const signed = (value: number, bits: number) => (value << (32 - bits)) >> (32 - bits);
  if (((word >>> 26) & 0x1f) === 0x05) return signed(word & 0x3ff_ffff, 26) * 4;
  const isConditional = word >>> 25 === 0x2a || ((word >>> 25) & 0x3f) === 0x1a;
  if (isConditional) return signed((word >>> 5) & 0x7_ffff, 19) * 4;
  return ((word >>> 25) & 0x3f) === 0x1b ? signed((word >>> 5) & 0x3fff, 14) * 4 : null;
}
