// Functions of Debian's kernels, unpatched out of the boot images: the x86 one unpacked from its bzImage, both with the
// symbols of their kallsyms. They run on arena memory, and their exception tables win over the arena.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { OrcTable, orcAddresses } from '../arch/x86/orc-table.ts';
import { virtAddr } from '../emulator/address.ts';
import type { CallSeen } from './call.ts';
import { openObject } from './object-file.ts';
import type { ArchName } from './scenario.ts';
import { ROUTINES } from './test-libc.ts';
import { COPY, KBASE, runRoutine } from './test-routines.ts';
import { arenaMemory, loadTestHost, runYaml } from './test-run.ts';
import { type KernelImage, readKernelImage } from './vmlinux/image.ts';

const CACHE = new URL('../.cache/debian/', import.meta.url).pathname;
const DEBIAN = { x86_64: 'amd64', arm64: 'arm64' };
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const host = await loadTestHost();

function pathOf(arch: ArchName): string | null {
  const folder = `${CACHE}boot-${DEBIAN[arch]}`;
  const name = existsSync(folder) && readdirSync(folder).find((file) => file.startsWith('vmlinuz'));
  return name ? `${folder}/${name}` : null;
}

const DATA = Uint8Array.from({ length: 3000 }, (_, i) => (i * i + (i >> 3)) & 0xff);
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = (value: string) => new Uint8Array(Buffer.from(`${value}\0`, 'latin1'));

/** Where operands lie: allocated, not allocated, and across the boundary between the two. */
const PLACES = [0x100, 0x8040, 0x3f80];
const ALLOCATED = [0, 1, 2, 3, 5];

interface Seen {
  /** Results of the calls. */
  readonly rets: readonly bigint[];
  readonly calls: readonly CallSeen[];
  read(at: number, length: number): Uint8Array;
}

/** Copies bytes into the arena and calls functions of the image, one after the other. */
function runCalls(
  arch: ArchName,
  before: readonly (readonly [number, Uint8Array])[],
  calls: readonly (readonly [symbol: string, args: string])[],
): Seen {
  const steps = [
    ...before.map(([at, bytes]) => {
      const args = `{arena: ${at}}, {buffer: "${hexOf(bytes)}"}, ${bytes.length}`;
      return `{call: {bytes: {${arch}: "${COPY[arch]}"}, args: [${args}]}}`;
    }),
    ...calls.map(([symbol, args]) => {
      return `{call: {object: "${pathOf(arch)}", symbol: ${symbol}, args: [${args}]}}`;
    }),
  ];
  const yaml = `
arch: ${arch}
arena: {pages: 64, alloc: [${ALLOCATED.map((page) => `[${page}, 1]`).join(', ')}]}
steps: [${steps.join(',\n  ')}]
`;
  let memory = new Uint8Array();
  const done = runYaml(host, yaml, arch, (run) => {
    memory = arenaMemory(run, 32);
  });
  const seen = done.steps.slice(before.length).map((step) => step.seen as CallSeen);
  for (const { end } of seen) expect(end).toEqual({ outcome: 'returned' });
  return {
    rets: seen.map(({ ret }) => ret!),
    calls: seen,
    read: (at, length) => memory.subarray(at, at + length),
  };
}

/** arch/arm64/lib/strrchr.S gives NULL for the terminating 0, where C wants its address. */
const NOT_HERE: Record<ArchName, readonly string[]> = { x86_64: [], arm64: ['strrchr'] };

const u32 = (value: bigint) => BigInt.asUintN(32, value);
const resolutions = ({ faults }: CallSeen) =>
  Array.from({ length: faults.length }, (_, i) => faults.at(i).resolution);

/** A CRC from the right, the polynomial reflected. */
function crcRight(data: Uint8Array, polynomial: bigint, start: bigint): bigint {
  let crc = start;
  for (const byte of data) {
    crc ^= BigInt(byte);
    for (let i = 0; i < 8; i++) crc = (crc >> 1n) ^ ((crc & 1n) === 1n ? polynomial : 0n);
  }
  return crc;
}

/** SipHash-2-4 of whole and part words, after its paper. */
function siphash(data: Uint8Array, k0: bigint, k1: bigint): bigint {
  const mask = (x: bigint) => BigInt.asUintN(64, x);
  const rotate = (x: bigint, by: bigint) => mask((x << by) | (x >> (64n - by)));
  let v0 = k0 ^ 0x736f_6d65_7073_6575n;
  let v1 = k1 ^ 0x646f_7261_6e64_6f6dn;
  let v2 = k0 ^ 0x6c79_6765_6e65_7261n;
  let v3 = k1 ^ 0x7465_6462_7974_6573n;
  const round = () => {
    v0 = mask(v0 + v1);
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = mask(v2 + v3);
    v3 = rotate(v3, 16n) ^ v2;
    v0 = mask(v0 + v3);
    v3 = rotate(v3, 21n) ^ v0;
    v2 = mask(v2 + v1);
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const padded = new Uint8Array((Math.floor(data.length / 8) + 1) * 8);
  padded.set(data);
  padded[padded.length - 1] = data.length & 0xff;
  const view = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += 8) {
    const word = view.getBigUint64(at, true);
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
  v2 ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

describe.each(ARCHS)('functions of a Debian kernel on %s', (arch) => {
  const path = pathOf(arch);
  if (path === null) {
    it.skip('not fetched: run npx tsx scripts/fetch-kernel.ts as root on Debian', () => {});
    return;
  }
  const image: KernelImage = readKernelImage(
    openObject(path, null, (name) => new Uint8Array(readFileSync(name))).bytes,
  );
  const library = {
    find: (name: string) => {
      const symbol = image.symbols.named(name);
      return symbol?.isCode && symbol.binding !== 'local' ? { object: path, symbol: name } : null;
    },
    bindings: () => '',
  };
  const here = ROUTINES.filter(
    ({ name }) => library.find(name) !== null && !NOT_HERE[arch].includes(name),
  );

  it('has symbols, an exception table and alternatives', () => {
    expect(image.symbols.length).toBeGreaterThan(40_000);
    expect(image.extable!.length / 12).toBeGreaterThan(500);
    expect(image.alternatives!.length).toBeGreaterThan(10_000);
    expect(here.length).toBeGreaterThan(15);
  });

  it.each(here.map((routine) => [routine.name, routine] as const))('%s', (_, routine) => {
    runRoutine(host, arch, routine, library);
  });

  it('strscpy: as much as fits, and -E2BIG', () => {
    for (const at of PLACES) {
      const { rets, read } = runCalls(
        arch,
        [[at, text('faultline')]],
        [
          ['strscpy', `{arena: ${at + 64}}, {arena: ${at}}, 32`],
          ['strscpy', `{arena: ${at + 128}}, {arena: ${at}}, 5`],
        ],
      );
      expect(rets.map((ret) => BigInt.asIntN(64, ret))).toEqual([9n, -7n]);
      expect([...read(at + 64, 10)]).toEqual([...text('faultline')]);
      expect([...read(at + 128, 5)]).toEqual([...text('faul')]);
    }
  });

  it('crc32_le, __crc32c_le', () => {
    const data = DATA.subarray(0, 700);
    for (const at of PLACES) {
      const { rets } = runCalls(
        arch,
        [[at, data]],
        [
          ['crc32_le', `0x12345678, {arena: ${at}}, 700`],
          ['__crc32c_le', `0xffffffff, {arena: ${at}}, 700`],
        ],
      );
      expect(rets.map(u32)).toEqual([
        crcRight(data, 0xedb8_8320n, 0x1234_5678n),
        crcRight(data, 0x82f6_3b78n, 0xffff_ffffn),
      ]);
    }
  });

  it('sha256', () => {
    const data = DATA.subarray(0, 500);
    for (const at of PLACES) {
      const { read } = runCalls(
        arch,
        [[at, data]],
        [['sha256', `{arena: ${at}}, 500, {arena: ${at + 512}}`]],
      );
      expect(hexOf(read(at + 512, 32))).toBe(createHash('sha256').update(data).digest('hex'));
    }
  });

  it('__siphash_unaligned', () => {
    const data = DATA.subarray(0, 300);
    const key = DATA.subarray(50, 66);
    const view = new DataView(key.slice().buffer);
    const [k0, k1] = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
    for (const at of PLACES) {
      const { rets } = runCalls(
        arch,
        [
          [at + 1, data],
          [at + 400, key],
        ],
        [['__siphash_unaligned', `{arena: ${at + 1}}, 300, {arena: ${at + 400}}`]],
      );
      expect(rets[0]).toBe(siphash(data, k0, k1));
    }
  });

  it('_find_next_bit, __bitmap_weight, memweight', () => {
    const bits = new Uint8Array(256);
    for (const bit of [3, 700, 1999]) bits[bit >> 3] |= 1 << (bit & 7);
    for (const at of PLACES) {
      const { rets } = runCalls(
        arch,
        [[at, bits]],
        [
          ['_find_next_bit', `{arena: ${at}}, 2048, 0`],
          ['_find_next_bit', `{arena: ${at}}, 2048, 4`],
          ['_find_next_bit', `{arena: ${at}}, 2048, 2000`],
          ['__bitmap_weight', `{arena: ${at}}, 2048`],
          ['memweight', `{arena: ${at}}, 256`],
        ],
      );
      expect(rets.map(u32)).toEqual([3n, 700n, 2048n, 3n, 3n]);
    }
  });

  it('sort, with a function of the kernel that compares', () => {
    const words = [9, 2, 77, 2, 0, 1000, 41, 5, 6, 12].map(BigInt);
    const bytes = new Uint8Array(BigUint64Array.from(words).buffer);
    for (const at of PLACES) {
      const { read } = runCalls(
        arch,
        [[at, bytes]],
        [['sort', `{arena: ${at}}, 10, 8, {symbol: tracing_map_cmp_u64}, 0`]],
      );
      const sorted = new BigUint64Array(read(at, 80).slice().buffer);
      expect([...sorted]).toEqual([...words].sort((a, b) => Number(a - b)));
    }
  });

  it('rb_insert_color keeps the tree balanced', () => {
    // Each node becomes the right child of the last, which rebalancing must prevent from becoming a list.
    const count = 11;
    for (const at of [0x8200]) {
      const node = (i: number) => at + 0x40 + i * 24;
      const kbase = KBASE[arch];
      const word = (value: bigint) => new Uint8Array(BigUint64Array.of(value).buffer);
      const link = (parent: bigint) => [word(parent), word(0n), word(0n)] as const;
      // Where the next node goes follows from the tree so far: one insertion a run, on what the last one left.
      let memory = new Uint8Array(0x40 + count * 24);
      const view = () => new DataView(memory.buffer);
      for (let i = 0; i < count; i++) {
        let parent = view().getBigUint64(0, true);
        let slot = 0;
        while (parent !== 0n) {
          const at2 = Number(parent - kbase) - at;
          const right = view().getBigUint64(at2 + 8, true);
          slot = at2 + 8;
          if (right === 0n) break;
          parent = right;
        }
        const own = kbase + BigInt(node(i));
        link(parent).forEach((bytes, n) => {
          memory.set(bytes, node(i) - at + n * 8);
        });
        view().setBigUint64(slot, own, true);
        const args = `{arena: ${node(i)}}, {arena: ${at}}`;
        memory = runCalls(arch, [[at, memory]], [['rb_insert_color', args]])
          .read(at, memory.length)
          .slice() as typeof memory;
      }
      const depth = (pointer: bigint): number => {
        if (pointer === 0n) return 0;
        const offset = Number(pointer - kbase) - at;
        const children = [8, 16].map((field) => view().getBigUint64(offset + field, true));
        return 1 + Math.max(...children.map(depth));
      };
      expect(depth(view().getBigUint64(0, true))).toBeLessThanOrEqual(6);
    }
  });

  it('snprintf, bin2hex, hex2bin, LZ4_decompress_safe', () => {
    for (const at of PLACES) {
      const { rets, read } = runCalls(
        arch,
        [
          [at, text('%s:%#llx:%5d|%-4u|')],
          [at + 32, text('arena')],
          [at + 64, DATA.subarray(0, 20)],
          // "abcd", then the same 14 bytes further on: literals abcd, a match 4 back of 14, literals wxyz!
          [at + 96, Uint8Array.from([0x4a, 97, 98, 99, 100, 4, 0, 0x50, 119, 120, 121, 122, 33])],
        ],
        [
          [
            'snprintf',
            `{arena: ${at + 0x100}}, 64, {arena: ${at}}, {arena: ${at + 32}}, 0x1234567890, -42, 7`,
          ],
          ['bin2hex', `{arena: ${at + 0x180}}, {arena: ${at + 64}}, 20`],
          ['hex2bin', `{arena: ${at + 0x1c0}}, {arena: ${at + 0x180}}, 20`],
          ['LZ4_decompress_safe', `{arena: ${at + 96}}, {arena: ${at + 0x200}}, 13, 64`],
        ],
      );
      const printed = 'arena:0x1234567890:  -42|7   |';
      expect(Buffer.from(read(at + 0x100, printed.length + 1)).toString()).toBe(`${printed}\0`);
      expect(u32(rets[0])).toBe(BigInt(printed.length));
      expect(Buffer.from(read(at + 0x180, 40)).toString()).toBe(hexOf(DATA.subarray(0, 20)));
      expect(hexOf(read(at + 0x1c0, 20))).toBe(hexOf(DATA.subarray(0, 20)));
      expect([u32(rets[2]), u32(rets[3])]).toEqual([0n, 23n]);
      expect(Buffer.from(read(at + 0x200, 23)).toString()).toBe('abcdabcdabcdabcdabwxyz!');
    }
  });

  it.runIf(arch === 'x86_64')('objtool’s ORC tables agree with what follows from the code', () => {
    const yaml = `
arch: x86_64
steps: [{call: {object: "${path}", symbol: strlen, args: [{buffer: "00"}]}}]
`;
    let compared = 0;
    runYaml(host, yaml, arch, ({ kernel }) => {
      const read = (extent: { address: bigint; length: number }) =>
        kernel.memory.read(virtAddr(extent.address), extent.length)!;
      const [places, entries] = image.orc!;
      const table = new OrcTable(
        orcAddresses(read(places), places.address),
        read(entries),
        image.end,
      );
      for (const name of ['strscpy', 'vsnprintf', 'sort_r', 'sha256', 'LZ4_decompress_safe']) {
        const { address, size } = image.symbols.named(name)!;
        for (let ip = address; ip < address + BigInt(size); ) {
          const derived = kernel.orc!.find(ip);
          const written = table.find(ip);
          if (derived !== null && written !== null) {
            // Where rbp has been saved and not yet changed, objtool names the slot, and the model the register.
            const bpSlot = derived.bpSlot ?? written.bpSlot;
            expect([name, ip - address, written]).toEqual([
              name,
              ip - address,
              { ...derived, bpSlot },
            ]);
            compared++;
          }
          ip += BigInt(kernel.instructionAt(virtAddr(ip))!.bytes.length);
        }
      }
    });
    expect(compared).toBeGreaterThan(500);
  });

  it('the exception table wins over the arena: *_kernel_nofault', () => {
    const { rets, calls, read } = runCalls(
      arch,
      [[0x100, DATA.subarray(0, 100)]],
      [
        ['copy_from_kernel_nofault', '{arena: 0x200}, {arena: 0x100}, 100'],
        ['copy_from_kernel_nofault', '{arena: 0x300}, {arena: 0x8000}, 8'],
        ['copy_to_kernel_nofault', '{arena: 0x9000}, {arena: 0x100}, 8'],
        ['strncpy_from_kernel_nofault', '{arena: 0x400}, {arena: 0xa000}, 8'],
        ['strlen', '{arena: 0xb000}'],
      ],
    );
    const EFAULT = 2n ** 64n - 14n;
    expect(rets).toEqual([0n, EFAULT, EFAULT, EFAULT, 0n]);
    expect(calls.map(resolutions)).toEqual([
      [],
      ['extable'],
      ['extable'],
      ['extable'],
      ['scratch'],
    ]);
    expect(hexOf(read(0x200, 100))).toBe(hexOf(DATA.subarray(0, 100)));
    const addresses = calls.slice(1).map(({ faults }) => faults.at(0).addr - KBASE[arch]);
    expect(addresses).toEqual([0x8000n, 0x9000n, 0xa000n, 0xb000n]);
  });
});
