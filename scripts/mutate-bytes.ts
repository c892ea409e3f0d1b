// Damaged copies of files, made from a seed: the same seed gives the same bytes.

/** mulberry32: small, and the same everywhere. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** 0 to limit - 1. */
  below(limit: number): number {
    this.state = (this.state + 0x6d2b_79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
}

/** Values that fields of file formats take badly. */
const INTERESTING = [
  ...[0n, 1n, 2n, 7n, 8n, 0x7fn, 0x80n, 0xffn, 0xff00n, 0xffffn, 0x1_0000n, 0x7fff_ffffn],
  ...[0x8000_0000n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
];

/** One to eight changes: bytes, bits, whole fields, pieces moved, the end cut off. */
export function mutate(original: Uint8Array, random: Random): Uint8Array {
  let bytes = Uint8Array.from(original);
  for (let n = 1 + random.below(8); n > 0 && bytes.length > 0; n--) {
    const at = random.below(bytes.length);
    switch (random.below(7)) {
      case 0:
        bytes[at] = random.below(256);
        break;
      case 1:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 2:
      case 3:
      case 4:
        field(bytes, at, random);
        break;
      case 5: {
        const from = random.below(bytes.length);
        bytes.copyWithin(at, from, from + random.below(64));
        break;
      }
      default:
        // Mostly the end of tables, which is the end of the file.
        if (random.below(4) === 0) bytes = bytes.slice(0, at);
    }
  }
  return bytes;
}

/** Overwrites an aligned field of 2, 4 or 8 bytes; headers at both ends of a file are met more often. */
function field(bytes: Uint8Array, at: number, random: Random): void {
  const size = random.pick([2, 4, 8]);
  const ends = [
    random.below(Math.min(64, bytes.length)),
    bytes.length - 1 - random.below(Math.min(1024, bytes.length)),
  ];
  const place = random.pick([at, at, ...ends]);
  const start = place - (place % size);
  if (start + size > bytes.length) return;
  const view = new DataView(bytes.buffer);
  const value = random.pick(INTERESTING);
  if (size === 2) view.setUint16(start, Number(BigInt.asUintN(16, value)), true);
  else if (size === 4) view.setUint32(start, Number(BigInt.asUintN(32, value)), true);
  else view.setBigUint64(start, value, true);
}
