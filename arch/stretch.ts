/** A stretch of memory: its address, and a view of its bytes. */
export interface Stretch {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** A view of `length` bytes at an address; null where no stretch has them all. */
export function bytesAt(
  stretches: readonly Stretch[],
  address: bigint,
  length: number,
): Uint8Array | null {
  if (length === 0) return new Uint8Array(0);
  for (const { address: start, bytes } of stretches) {
    const offset = address - start;
    if (offset >= 0n && offset + BigInt(length) <= BigInt(bytes.length)) {
      return bytes.subarray(Number(offset), Number(offset) + length);
    }
  }
  return null;
}
