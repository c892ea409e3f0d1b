// Functions of Debian's kernel modules, unpatched, on arena memory: tables in their data, thunks and profiling entries
// around them, and results that are known from elsewhere. Only what a function can reach must be bound.
import { createCipheriv } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import { arenaMemory, loadTestHost, runYaml } from './test-run.ts';

const CACHE = new URL('../.cache/debian/', import.meta.url).pathname;
const DEBIAN = { x86_64: 'amd64', arm64: 'arm64' };
const host = await loadTestHost();
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];

const DATA = Uint8Array.from({ length: 3000 }, (_, i) => (i * i + (i >> 3)) & 0xff);
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A CRC whose bits go in from the left. @param width of the register */
function crcLeft(data: Uint8Array, width: number, polynomial: bigint, start: bigint): bigint {
  let crc = start;
  for (const byte of data) {
    crc ^= BigInt(byte) << BigInt(width - 8);
    for (let i = 0; i < 8; i++) {
      const top = (crc >> BigInt(width - 1)) & 1n;
      crc = BigInt.asUintN(width, crc << 1n) ^ (top === 1n ? polynomial : 0n);
    }
  }
  return crc;
}

/** The same from the right, the polynomial reflected. */
function crcRight(data: Uint8Array, polynomial: bigint, start: bigint): bigint {
  let crc = start;
  for (const byte of data) {
    crc ^= BigInt(byte);
    for (let i = 0; i < 8; i++) crc = (crc >> 1n) ^ ((crc & 1n) === 1n ? polynomial : 0n);
  }
  return crc;
}

function rc4(key: Uint8Array, data: Uint8Array): Uint8Array {
  const s = Uint8Array.from({ length: 256 }, (_, i) => i);
  const swap = (i: number, j: number) => {
    [s[i], s[j]] = [s[j], s[i]];
  };
  for (let i = 0, j = 0; i < 256; i++) {
    j = (j + s[i] + key[i % key.length]) & 0xff;
    swap(i, j);
  }
  let i = 0;
  let j = 0;
  return data.map((byte) => {
    i = (i + 1) & 0xff;
    j = (j + s[i]) & 0xff;
    swap(i, j);
    return byte ^ s[(s[i] + s[j]) & 0xff];
  });
}

/** Single DES is triple DES with one key three times. */
function des(key: Uint8Array, block: Uint8Array): Uint8Array {
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null);
  return new Uint8Array(cipher.setAutoPadding(false).update(block));
}

/** An LZ4 block, after the format's description. */
function unlz4(packed: Uint8Array): Uint8Array {
  const out: number[] = [];
  let at = 0;
  const length = (first: number) => {
    let sum = first;
    for (let more = first === 15; more; ) {
      const byte = packed[at++];
      sum += byte;
      more = byte === 255;
    }
    return sum;
  };
  while (at < packed.length) {
    const token = packed[at++];
    for (let n = length(token >> 4); n > 0; n--) out.push(packed[at++]);
    if (at >= packed.length) break;
    const distance = packed[at] | (packed[at + 1] << 8);
    at += 2;
    for (let n = length(token & 15) + 4; n > 0; n--) out.push(out[out.length - distance]);
  }
  return Uint8Array.from(out);
}

/** Where operands lie: allocated, not allocated, and across the boundary between the two. */
const PLACES = [0x100, 0x8040, 0x3f80];
const WORK = 0x10000;

interface Call {
  readonly module: string;
  readonly symbol: string;
  readonly args: string;
}

/**
 * Copies bytes into the arena and makes the calls one after the other.
 * @returns the last result, and the arena's bytes at an offset
 */
function runCalls(
  arch: ArchName,
  before: readonly [number, Uint8Array][],
  calls: readonly Call[],
): { ret: bigint; read: (at: number, length: number) => Uint8Array } {
  const object = (name: string) => `${CACHE}modules-${DEBIAN[arch]}/${name}.ko`;
  const jump = arch === 'x86_64' ? 'jmp memcpy' : 'b memcpy';
  const steps = [
    ...before.map(([at, bytes]) => {
      const args = `{arena: ${at}}, {buffer: "${hexOf(bytes)}"}, ${bytes.length}`;
      return `{call: {code: {${arch}: "${jump}"}, args: [${args}]}}`;
    }),
    ...calls.map(({ module, symbol, args }) => {
      return `{call: {object: "${object(module)}", symbol: ${symbol}, args: [${args}]}}`;
    }),
  ];
  const text = `
arch: ${arch}
arena: {pages: 64, alloc: [[0, 4], [5, 1]]}
symbols: {memcpy: memcpy, memset: memset, memmove: memmove}
steps: [${steps.join(',\n  ')}]
`;
  let memory = new Uint8Array();
  const done = runYaml(host, text, arch, (run) => {
    memory = arenaMemory(run, 32);
  });
  for (const { seen } of done.steps)
    expect((seen as CallSeen).end).toEqual({ outcome: 'returned' });
  const { ret } = done.steps.at(-1)!.seen as CallSeen;
  return { ret: ret!, read: (at, length) => memory.subarray(at, at + length) };
}

const CRCS: readonly [
  string,
  string,
  (at: number) => string,
  (data: Uint8Array) => bigint,
  number,
][] = [
  ['crc7', 'crc7_be', (at) => `0, {arena: ${at}}, 900`, (d) => crcLeft(d, 8, 0x12n, 0n), 8],
  [
    'crc16',
    'crc16',
    (at) => `0x1234, {arena: ${at}}, 900`,
    (d) => crcRight(d, 0xa001n, 0x1234n),
    16,
  ],
  [
    'crc-itu-t',
    'crc_itu_t',
    (at) => `0xffff, {arena: ${at}}, 900`,
    (d) => crcLeft(d, 16, 0x1021n, 0xffffn),
    16,
  ],
  [
    'crc64',
    'crc64_be',
    (at) => `7, {arena: ${at}}, 900`,
    (d) => crcLeft(d, 64, 0x42f0_e1eb_a9ea_3693n, 7n),
    64,
  ],
  [
    'crc64',
    'crc64_rocksoft_generic',
    (at) => `0, {arena: ${at}}, 900`,
    (d) => BigInt.asUintN(64, ~crcRight(d, 0x9a6c_9329_ac4b_c9b5n, 2n ** 64n - 1n)),
    64,
  ],
];

describe.each(ARCHS)('functions of Debian modules on %s', (arch) => {
  if (!existsSync(`${CACHE}modules-${DEBIAN[arch]}/crc16.ko`)) {
    it.skip('not fetched: run npx tsx scripts/fetch-kernel.ts as root on Debian', () => {});
    return;
  }

  it.each(CRCS)('%s: %s', (module, symbol, args, model, bits) => {
    const data = DATA.subarray(0, 900);
    for (const at of PLACES) {
      const { ret } = runCalls(arch, [[at, data]], [{ module, symbol, args: args(at) }]);
      expect([at, BigInt.asUintN(bits, ret)]).toEqual([at, model(data)]);
    }
  });

  it('libarc4: arc4_setkey, arc4_crypt', () => {
    const key = DATA.subarray(5, 21);
    const data = DATA.subarray(0, 500);
    // The context of 1,032 bytes lies in unallocated memory: behind it where the data does, too.
    for (const at of [0x100, 0x8800, 0x5e80]) {
      const { read } = runCalls(
        arch,
        [[at, data]],
        [
          {
            ...{ module: 'libarc4', symbol: 'arc4_setkey' },
            args: `{arena: ${WORK}}, {buffer: "${hexOf(key)}"}, 16`,
          },
          {
            ...{ module: 'libarc4', symbol: 'arc4_crypt' },
            args: `{arena: ${WORK}}, {arena: ${at}}, {arena: ${at}}, 300`,
          },
        ],
      );
      expect([at, hexOf(read(at, 300))]).toEqual([at, hexOf(rc4(key, data).subarray(0, 300))]);
    }
  });

  it('libdes: des_expand_key, des_encrypt, des_decrypt', () => {
    const key = DATA.subarray(40, 48);
    const block = DATA.subarray(100, 108);
    for (const [at, context] of [
      [0x100, WORK],
      [0x8800, WORK],
      [0x3ffc, 0x5000],
    ]) {
      const { read } = runCalls(
        arch,
        [[at, block]],
        [
          {
            ...{ module: 'libdes', symbol: 'des_expand_key' },
            args: `{arena: ${context}}, {buffer: "${hexOf(key)}"}, 8`,
          },
          {
            ...{ module: 'libdes', symbol: 'des_encrypt' },
            args: `{arena: ${context}}, {arena: ${at + 16}}, {arena: ${at}}`,
          },
          {
            ...{ module: 'libdes', symbol: 'des_decrypt' },
            args: `{arena: ${context}}, {arena: ${at + 32}}, {arena: ${at + 16}}`,
          },
        ],
      );
      expect([at, hexOf(read(at + 16, 8))]).toEqual([at, hexOf(des(key, block))]);
      expect([at, hexOf(read(at + 32, 8))]).toEqual([at, hexOf(block)]);
    }
  });

  it('lz4_compress: LZ4_compress_default', () => {
    const text = Buffer.from('all work and no play makes a dull fault path. '.repeat(20));
    for (const at of [0x100, 0x8040, 0x3f80]) {
      const args = `{arena: ${at}}, {arena: 0x1800}, ${text.length}, 2000, {buffer_size: 0x4100}`;
      const call = { module: 'lz4_compress', symbol: 'LZ4_compress_default', args };
      const { ret, read } = runCalls(arch, [[at, text]], [call]);
      const size = Number(ret);
      expect(size).toBeGreaterThan(20);
      expect(size).toBeLessThan(200);
      expect(Buffer.from(unlz4(read(0x1800, size))).toString()).toBe(text.toString());
    }
  });
});
