// Alternatives of AArch64 (arch/arm64/kernel/alternative.c): instructions that the kernel replaces where the CPU has a
// capability. Their numbers are made anew for every kernel (cpucaps.h), so a scenario says which the CPU has. Left out:
// callbacks, code that makes the replacement when it is called, which are refused.
import { bytesAt, type Stretch } from '../stretch.ts';

/** struct alt_instr: relative places of the original and the replacement, capability, and two lengths in bytes. */
const ENTRY = 12;
/** The replacement is a function that writes it. */
const ARM64_CB_BIT = 0x8000;

/**
 * Patches code by one `.altinstructions` section.
 * @param table the section, relocated. @param code where originals and replacements lie; changed
 * @param cpucaps capabilities of the CPU
 * @param nameOf names an address, for messages
 * @throws RangeError for a table that cannot be read, a callback that would be called, or an instruction that cannot move
 */
export function applyArm64Alternatives(
  { address, bytes }: Stretch,
  code: readonly Stretch[],
  cpucaps: ReadonlySet<number>,
  nameOf: (address: bigint) => string,
): void {
  if (bytes.length % ENTRY !== 0) throw new RangeError('.altinstructions is of no known form');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += ENTRY) {
    const field = address + BigInt(at);
    const capability = view.getUint16(at + 8, true);
    if (!cpucaps.has(capability & ~ARM64_CB_BIT)) continue;
    const original = field + BigInt(view.getInt32(at, true));
    const other = field + 4n + BigInt(view.getInt32(at + 4, true));
    if ((capability & ARM64_CB_BIT) !== 0) {
      throw new RangeError(
        `.altinstructions has ${nameOf(original)} patched by a callback, ${nameOf(other)}, which is not called here`,
      );
    }
    const length = view.getUint8(at + 10);
    const to = viewAt(code, original, length);
    const from = viewAt(code, other, view.getUint8(at + 11));
    if (to === null || from === null || from.byteLength !== length || length % 4 !== 0) {
      throw new RangeError('.altinstructions is of no known form');
    }
    for (let i = 0; i < length; i += 4) {
      const word = moved(from.getUint32(i, true), other + BigInt(i), original + BigInt(i), {
        start: other,
        end: other + BigInt(length),
      });
      if (word === null) {
        throw new RangeError(
          `.altinstructions moves an instruction to ${nameOf(original + BigInt(i))} that counts from its own place`,
        );
      }
      to.setUint32(i, word, true);
    }
  }
}

function viewAt(code: readonly Stretch[], address: bigint, length: number): DataView | null {
  const bytes = bytesAt(code, address, length);
  return bytes && new DataView(bytes.buffer, bytes.byteOffset, length);
}

/** Immediates of direct branches: mask and value of the instruction, lowest bit and width of the field. */
const BRANCHES: readonly (readonly [mask: number, value: number, low: number, width: number])[] = [
  [0x7c00_0000, 0x1400_0000, 0, 26], // B, BL
  [0xfe00_0000, 0x5400_0000, 5, 19], // B.cond
  [0x7e00_0000, 0x3400_0000, 5, 19], // CBZ, CBNZ
  [0x7e00_0000, 0x3600_0000, 5, 14], // TBZ, TBNZ
];
/** ADR, and loads of literals. */
const LITERALS: readonly (readonly [mask: number, value: number])[] = [
  [0x9f00_0000, 0x1000_0000],
  [0x3b00_0000, 0x1800_0000],
];

/** The instruction at another place, with the target that it had. @returns null for one that cannot move */
function moved(
  word: number,
  from: bigint,
  to: bigint,
  replacement: { readonly start: bigint; readonly end: bigint },
): number | null {
  for (const [mask, value, low, width] of BRANCHES) {
    if ((word & mask) >>> 0 !== value) continue;
    const field = BigInt.asIntN(width, BigInt(word >>> low));
    const target = from + field * 4n;
    // Within the replacement it moves along.
    if (target >= replacement.start && target <= replacement.end) return word;
    const words = (target - to) >> 2n;
    if (BigInt.asIntN(width, words) !== words) return null;
    const holes = ((2 ** width - 1) << low) >>> 0;
    return ((word & ~holes) | (Number(BigInt.asUintN(width, words)) << low)) >>> 0;
  }
  if ((word & 0x9f00_0000) >>> 0 === 0x9000_0000) {
    const pages = BigInt.asIntN(21, BigInt(((word >>> 3) & 0x1f_fffc) | ((word >>> 29) & 3)));
    const target = (from & ~0xfffn) + pages * 0x1000n;
    const by = Number(BigInt.asUintN(21, (target - (to & ~0xfffn)) >> 12n));
    return ((word & 0x9f00_001f) | ((by & 3) << 29) | ((by >>> 2) << 5)) >>> 0;
  }
  return LITERALS.some(([mask, value]) => (word & mask) >>> 0 === value) ? null : word;
}
