// Small kernels made up by hand, in every form that images come in: what is read from them, and their functions run.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ElfError } from '../../emulator/elf/read.ts';
import type { CallSeen } from '../call.ts';
import { openObject } from '../object-file.ts';
import { listObject } from '../object-list.ts';
import { WorldRun } from '../run.ts';
import { type ArchName, parseScenario } from '../scenario.ts';
import { loadTestHost } from '../test-run.ts';
import { readKernelImage } from './image.ts';
import { ImageSymbols } from './symbols.ts';
import {
  ARM64_BASE,
  arm64Image,
  bzImage,
  type KallsymsOrder,
  X86_CODE,
  x86Kernel,
  zboot,
} from './test-images.ts';
import { unpackKernel } from './unpack.ts';

const host = await loadTestHost();
const ORDERS: readonly KallsymsOrder[] = ['to 6.3', 'from 6.4'];

/** Runs the steps of a scenario whose files are images made here. */
function run(arch: ArchName, image: Uint8Array, steps: string, more = ''): CallSeen[] {
  const text = `arch: ${arch}\narena: {pages: 16, alloc: [[0, 1]]}\n${more}\nsteps: [${steps}]`;
  const scenario = parseScenario(text, 'test.yaml', () => image);
  const world = new WorldRun(host, scenario.worlds[arch]!, {});
  try {
    return world.steps.map((step) => world.runStep(step).seen as CallSeen);
  } finally {
    world.close();
  }
}

const call = (symbol: string, args: string, file = 'vmlinux') =>
  `{call: {object: ${file}, symbol: ${symbol}, args: [${args}]}}`;
const told = ({ ret, faults, outcome }: CallSeen) => [
  outcome,
  ret,
  ...Array.from({ length: faults.length }, (_, i) => faults.at(i).resolution),
];
const MINUS_14 = 2n ** 64n - 14n;

/** An lz4 block of literals only. */
function lz4(bytes: Uint8Array): Uint8Array {
  const out = [0x02, 0x21, 0x4c, 0x18];
  const lengths = bytes.length - 15;
  const more = [...new Array<number>(Math.floor(lengths / 255)).fill(255), lengths % 255];
  const size = 1 + more.length + bytes.length;
  out.push(size & 0xff, (size >> 8) & 0xff, size >> 16, 0, 0xf0, ...more);
  const file = new Uint8Array(out.length + bytes.length);
  file.set(out);
  file.set(bytes, out.length);
  return file;
}

describe('an x86 kernel', () => {
  it.each([
    ['with a symbol table', x86Kernel('to 6.3', false)],
    ['stripped, kallsyms as to 6.3', x86Kernel('to 6.3', true)],
    ['stripped, kallsyms as from 6.4', x86Kernel('from 6.4', true)],
    ['gzip in a bzImage', bzImage(gzipSync(x86Kernel('from 6.4', true)), 0)],
    ['lz4 in a bzImage', bzImage(lz4(x86Kernel('to 6.3', true)), 1)],
  ])('%s: functions run, its exception table wins, GS has its variables', (_, file) => {
    const seen = run(
      'x86_64',
      file,
      [
        ...[call('read', '{arena: 0x1008}'), call('read_nofault', '{arena: 0x2000}')],
        ...[call('read_nofault', '{arena: 0x1000}'), call('this_cpu', '')],
      ].join(', '),
    );
    expect(seen.map(told).slice(0, 3)).toEqual([
      ['returned', 0n, 'scratch'],
      ['returned', MINUS_14, 'extable'],
      ['returned', 0n],
    ]);
    expect(seen[3].ret).toBeGreaterThan(2n ** 63n);
  });

  it('zstd in a bzImage', () => {
    const folder = new URL('../../fixtures/objects/', import.meta.url);
    const bytes = (name: string) => new Uint8Array(readFileSync(new URL(name, folder)));
    const unpacked = unpackKernel(bzImage(bytes('kfuncs-arm64.o.zst'), 1));
    expect(Buffer.compare(unpacked, bytes('kfuncs-arm64.o'))).toBe(0);
  });

  it('tells long names, aliases and the function around an address', () => {
    for (const order of ORDERS) {
      const { symbols } = readKernelImage(x86Kernel(order, true));
      expect(symbols.length).toBe(306);
      expect(symbols.named(`str${'x'.repeat(200)}`)?.address).toBe(X86_CODE.base + 0x4000n);
      expect(symbols.named('memcpy_k299')?.address).toBe(X86_CODE.base + 0x3000n + 299n);
      expect(symbols.around(X86_CODE.base + 5n)).toMatchObject({ name: 'read', size: 16 });
      expect(symbols.around(X86_CODE.base - 1n)).toBeNull();
      expect(symbols.named('read_nofault')).toMatchObject({ isCode: true, binding: 'local' });
      expect(symbols.named('this_cpu_off')?.address).toBe(0x40n);
    }
  });

  it('does not believe the sizes of symbols', () => {
    const file = x86Kernel('to 6.3', false);
    const view = new DataView(file.buffer);
    // st_size of every symbol: its 8 bytes follow its address.
    for (let at = 0; at + 16 <= file.length; at += 8) {
      const isSymbol = view.getBigUint64(at, true) >> 12n === X86_CODE.base >> 12n;
      if (isSymbol && view.getBigUint64(at + 8, true) === 8n) view.setBigInt64(at + 8, -1n, true);
    }
    expect(readKernelImage(file).symbols.named('read')?.size).toBe(2 ** 20);
    expect(run('x86_64', file, call('read', '{arena: 0x1008}')).map(told)).toEqual([
      ['returned', 0n, 'scratch'],
    ]);
    const last = { addresses: BigUint64Array.of(2n ** 64n - 16n), names: ['last'], types: 'T' };
    expect(new ImageSymbols(last, Float64Array.of(4096)).named('last')?.size).toBe(15);
  });

  it('binds what other code asks for', () => {
    const [{ ret }] = run(
      'x86_64',
      x86Kernel('to 6.3', false),
      '{call: {code: {x86_64: "jmp read_nofault"}, args: [{arena: 0x5000}]}}',
      'symbols: {read_nofault: {object: vmlinux, symbol: read_nofault}}',
    );
    expect(ret).toBe(MINUS_14);
  });

  it('says what is missing', () => {
    const file = x86Kernel('to 6.3', true);
    expect(() => run('x86_64', file, call('reed', ''))).toThrow('vmlinux: does not define reed');
    expect(() => run('x86_64', file, '{call: {object: vmlinux}}')).toThrow('defines 306 symbols');
    expect(() =>
      run('x86_64', file, `${call('read', '')}, ${call('read', '', 'vmlinuz')}`),
    ).toThrow('the scenario has another kernel image');
    const damaged = Uint8Array.from(file, (byte) => (byte === 0x33 ? 0x34 : byte));
    expect(() => readKernelImage(damaged)).toThrow('neither a symbol table nor kallsyms');
    for (const [name, magic] of [
      ['packed by bzip2', [0x42, 0x5a, 0x68, 0x39]],
      ['packed by lzma', [0x5d, 0, 0, 0x80]],
      ['packed by lzo', [0x89, 0x4c, 0x5a, 0x4f]],
      ['it begins with 42 5a 69 39', [0x42, 0x5a, 0x69, 0x39]],
    ] as const) {
      const packed = bzImage(Uint8Array.from([...magic, 1, 2, 3, 4]), 8);
      expect(() => unpackKernel(packed)).toThrow(name);
    }
    const cut = bzImage(gzipSync(file), 0).slice(0, 1100);
    expect(() => unpackKernel(cut)).toThrow(ElfError);
  });

  it('is listed', () => {
    const file = openObject('vmlinux', null, () => x86Kernel('from 6.4', true));
    const { kind, functions, tables } = listObject(file);
    expect(kind).toBe('image');
    expect(functions.map(({ name }) => name)).toEqual(['read', 'read_nofault', 'this_cpu']);
    expect(tables).toEqual([{ section: '__ex_table', entries: 1 }]);
  });
});

describe('an arm64 Image', () => {
  // The second address is where the modelled kernel keeps its own text, stack and arena.
  const bases = [ARM64_BASE, 0xffff_8000_8000_0000n];
  it.each(ORDERS.flatMap((order) => bases.map((base) => [order, base] as const)))(
    'kallsyms as %s, linked at 0x%s',
    (order, base) => {
      for (const file of [arm64Image(order, base), zboot(arm64Image(order, base))]) {
        const steps = [
          ...[
            call('read', '{arena: 0x1008}', 'Image'),
            call('read_nofault', '{arena: 0x2000}', 'Image'),
          ],
          call('pointer', '', 'Image'),
        ];
        expect(run('arm64', file, steps.join(', ')).map(told)).toEqual([
          ['returned', 0n, 'scratch'],
          ['returned', MINUS_14, 'extable'],
          ['returned', base],
        ]);
      }
    },
  );
});
