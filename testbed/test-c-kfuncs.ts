// What the functions of fixtures/c/kfuncs.c must do, as a plain model over an arena with one scratch page.
import type { ModelArena } from './test-libc.ts';

/** A call: its arguments (offsets into the arena as {at}), and what it must return; changes the model. */
export interface KfuncCase {
  readonly name: string;
  readonly args: readonly ({ readonly at: number } | number | bigint)[];
  model(arena: ModelArena): bigint;
}

const u64 = (value: bigint) => BigInt.asUintN(64, value);
const at = (offset: number) => ({ at: offset });
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

function get(m: ModelArena, offset: number, size: number): bigint {
  return range(size).reduceRight((value, i) => (value << 8n) | BigInt(m.get(offset + i)), 0n);
}

function put(m: ModelArena, offset: number, size: number, value: bigint): void {
  for (const i of range(size)) m.set(offset + i, Number((value >> BigInt(8 * i)) & 0xffn));
}

const bytes = (m: ModelArena, from: number, n: number) => [...m.read(from, n)];
const words = (m: ModelArena, from: number, n: number, size: number) =>
  range(n).map((i) => get(m, from + i * size, size));

/** A plain loop over the elements that are stored again. */
function eachWord(
  m: ModelArena,
  from: number,
  n: number,
  size: number,
  change: (value: bigint, i: number) => bigint,
): void {
  for (const i of range(n)) {
    put(m, from + i * size, size, change(get(m, from + i * size, size), i));
  }
}

function crc32(data: readonly number[]): bigint {
  let crc = 0xffff_ffff;
  for (const byte of data) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return BigInt(~crc >>> 0);
}

function adler32(data: readonly number[]): bigint {
  let a = 1;
  let b = 0;
  for (const byte of data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return (BigInt(b) << 16n) | BigInt(a);
}

const OPERATIONS = [
  (a: bigint, b: bigint) => a + b,
  (a: bigint, b: bigint) => a - b,
  (a: bigint, b: bigint) => a * b,
  (a: bigint, b: bigint) => (a << 7n) ^ b,
];

function interpret(data: readonly number[]): bigint {
  const steps: ((x: bigint, byte: bigint, i: bigint) => bigint)[] = [
    (x) => x + 1n,
    (x, byte) => x - byte,
    (x) => x * 3n,
    (x) => x ^ 0xffn,
    (x) => ~x,
    (x) => (x >> 3n) | (x << 61n),
    (x, _, i) => x + i,
    (x) => x | 0x10n,
    (x) => x & ~4n,
  ];
  return data.reduce((x, byte, i) => u64(steps[byte % 9](x, BigInt(byte), BigInt(i))), 0n);
}

function sort16(m: ModelArena, from: number, n: number): bigint {
  const values = words(m, from, n, 2);
  let moves = 0n;
  for (let i = 1; i < n; i++) {
    moves += BigInt(range(i).filter((j) => values[j] > values[i]).length);
  }
  values.sort((x, y) => Number(x - y));
  eachWord(m, from, n, 2, (_, i) => values[i]);
  return moves;
}

/**
 * Every function once.
 * @param a place of 0x200 bytes, 8-byte aligned, that is read and written @param b another
 * @param calls how often `counted` was called before
 */
export function kfuncCases(a: number, b: number, calls: number): readonly KfuncCase[] {
  const on = (
    name: string,
    rest: readonly (number | bigint)[],
    model: KfuncCase['model'],
  ): KfuncCase => ({ name, args: [at(a), ...rest], model });
  const both = (name: string, rest: readonly number[], model: KfuncCase['model']): KfuncCase => ({
    name,
    args: [at(a), at(b), ...rest],
    model,
  });
  return [
    on('sum8', [500], (m) => bytes(m, a, 500).reduce((x, y) => x + BigInt(y), 0n)),
    on('sum64', [61], (m) => u64(words(m, a, 61, 8).reduce((x, y) => x + y, 0n))),
    on('xor32', [99], (m) =>
      words(m, a, 99, 4).reduce((x, y, i) => x ^ BigInt.asUintN(32, y + BigInt(i)), 0n),
    ),
    both('copy8', [333], (m) => {
      m.write(a, m.read(b, 333));
      return 333n;
    }),
    both('copy64', [40], (m) => {
      for (const i of range(40)) put(m, a + i * 8, 8, get(m, b + i * 8, 8) ^ 0x5555n);
      return 40n;
    }),
    on('shift_up', [200], (m) => {
      m.write(a + 1, m.read(a, 200));
      return BigInt(m.get(a + 200));
    }),
    on('reverse', [301], (m) => {
      m.write(a, m.read(a, 301).reverse());
      return 301n;
    }),
    on('count', [500, 0x5a], (m) => BigInt(bytes(m, a, 500).filter((x) => x === 0x5a).length)),
    on('find', [500, 0x77], (m) => u64(BigInt(bytes(m, a, 500).indexOf(0x77)))),
    on('max32', [100], (m) => words(m, a, 100, 4).reduce((x, y) => (y > x ? y : x), 0n)),
    on('min_signed', [100], (m) =>
      u64(
        words(m, a, 100, 4)
          .map((x) => BigInt.asIntN(32, x))
          .reduce((x, y) => (y < x ? y : x)),
      ),
    ),
    on('crc32', [123], (m) => crc32(bytes(m, a, 123))),
    on('adler32', [123], (m) => adler32(bytes(m, a, 123))),
    on('fnv1a', [123], (m) =>
      bytes(m, a, 123).reduce(
        (hash, byte) => u64((hash ^ BigInt(byte)) * 0x100_0000_01b3n),
        0xcbf2_9ce4_8422_2325n,
      ),
    ),
    on('swap32', [50], (m) => {
      for (const i of range(50)) m.write(a + i * 4, m.read(a + i * 4, 4).reverse());
      return 50n;
    }),
    on('prefix_sum', [70], (m) => {
      let sum = 0n;
      eachWord(m, a, 70, 4, (x) => {
        sum = BigInt.asUintN(32, sum + x);
        return sum;
      });
      return sum;
    }),
    on('weight', [20], (m) =>
      BigInt(words(m, a, 20, 8).reduce((n, x) => n + x.toString(2).replaceAll('0', '').length, 0)),
    ),
    on('set_bits', [67, 100], (m) => {
      for (const i of range(100).map((k) => k + 67)) {
        const word = a + Math.floor(i / 64) * 8;
        put(m, word, 8, get(m, word, 8) | (1n << BigInt(i % 64)));
      }
      return 167n;
    }),
    on('first_zero', [20], (m) => {
      const index = words(m, a, 20, 8).flatMap((x) => range(64).map((i) => (x >> BigInt(i)) & 1n));
      return BigInt(index.indexOf(0n));
    }),
    on('upper', [300], (m) => {
      const before = bytes(m, a, 300);
      const after = before.map((c) => (c >= 97 && c <= 122 ? c - 32 : c));
      m.write(a, after);
      return BigInt(before.filter((c, i) => c !== after[i]).length);
    }),
    both('hex', [100], (m) => {
      m.write(a, Buffer.from(Buffer.from(m.read(b, 100)).toString('hex'), 'ascii'));
      return 200n;
    }),
    on('sort16', [40], (m) => sort16(m, a, 40)),
    {
      name: 'search32',
      args: [at(a), 20, 0x6666],
      model: (m) => BigInt(words(m, a, 20, 4).findIndex((x) => x >= 0x6666n)),
    },
    {
      name: 'multiply4',
      args: [at(a), at(b), at(b + 64)],
      model(m) {
        const x = words(m, b, 16, 4);
        const y = words(m, b + 64, 16, 4);
        const out = range(16).map((i) =>
          range(4).reduce((sum, k) => {
            return BigInt.asUintN(32, sum + x[(i >> 2) * 4 + k] * y[k * 4 + (i & 3)]);
          }, 0n),
        );
        eachWord(m, a, 16, 4, (_, i) => out[i]);
        return out[15];
      },
    },
    both('copy_record', [], (m) => {
      m.write(a, m.read(b, 96));
      m.set(a, m.get(a) ^ 1);
      return get(m, a + 88, 8);
    }),
    on('clear_record', [], (m) => {
      m.write(a, new Uint8Array(96));
      m.set(a, 7);
      return 96n;
    }),
    both('copy8', [400], (m) => {
      m.write(a, m.read(b, 400));
      return 400n;
    }),
    on('dispatch', [200], (m) =>
      bytes(m, a, 200).reduce((x, y) => u64(OPERATIONS[y & 3](x, BigInt(y))), 1n),
    ),
    on('interpret', [300], (m) => interpret(bytes(m, a, 300))),
    on('add_atomic', [10, 0x1234_5678_9abc_def0n], (m) => {
      const last = get(m, a + 72, 8);
      eachWord(m, a, 10, 8, (x) => x + 0x1234_5678_9abc_def0n);
      return last;
    }),
    on('counted', [], (m) => BigInt((calls + 1) * 256 + m.get(a))),
    on('ten', [2, 3, 4, 5, 6, 7, 8, 9, 10], (m) => {
      m.set(a, 10);
      return BigInt(range(9).reduce((sum, i) => sum + (i + 1) * (i + 2), 0));
    }),
    on('multiply_wide', [], (m) => get(m, a, 8) * get(m, a + 8, 8)),
    on('recurse', [30], (m) => {
      const data = bytes(m, a, 31);
      return u64(data.reduceRight((x, byte, i) => BigInt(byte) + (i === 30 ? 0n : 3n * x), 0n));
    }),
    on('fibonacci', [60], (m) => {
      put(m, a, 4, 1n);
      put(m, a + 4, 4, 1n);
      for (let i = 2; i < 60; i++) {
        put(m, a + i * 4, 4, get(m, a + i * 4 - 4, 4) + get(m, a + i * 4 - 8, 4));
      }
      return get(m, a + 59 * 4, 4);
    }),
    on('fill8', [299, 0x61], (m) => {
      m.write(a, new Uint8Array(299).fill(0x61));
      return 299n;
    }),
    on('length', [], (m) => BigInt(m.length(a))),
    on('fill64', [33, 0x0101_0101_0101_0101n], (m) => {
      eachWord(m, a, 33, 8, (_, i) => u64(0x0101_0101_0101_0101n * BigInt(i + 1)));
      return 33n;
    }),
  ];
}
