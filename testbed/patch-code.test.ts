// Code that the kernel patches when it loads it, compiled by gcc and clang with a kernel's flags: static keys take the
// state of their keys, static calls go through their trampolines, and thunks, ENDBR and profiling entries stay.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { describeWith, GCC } from '../emulator/test-tools.ts';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const SOURCE = new URL('../fixtures/c/sites.c', import.meta.url).pathname;
const COMMON = ['-c', '-O2', '-ffreestanding', '-fno-pic', '-fno-stack-protector'];
const X86 = ['-mcmodel=kernel', '-mno-red-zone', '-mno-sse'];
const THUNKS = ['-mindirect-branch=thunk-extern', '-mfunction-return=thunk-extern'];
const COMPILERS: readonly [arch: ArchName, command: string, flags: readonly string[]][] = [
  ['x86_64', GCC.x86_64, X86],
  ['x86_64', GCC.x86_64, [...X86, '-DOBJTOOL']],
  [
    'x86_64',
    GCC.x86_64,
    [...X86, ...THUNKS, '-fcf-protection=branch', '-fpatchable-function-entry=16,16'],
  ],
  ['x86_64', 'clang', [...X86, '--target=x86_64-linux-gnu', '-mretpoline-external-thunk']],
  ['arm64', GCC.arm64, ['-mgeneral-regs-only', '-fpatchable-function-entry=4,2']],
  [
    'arm64',
    'clang',
    ['--target=aarch64-linux-gnu', '-mgeneral-regs-only', '-mbranch-protection=bti'],
  ],
];
const folder = mkdtempSync(join(tmpdir(), 'faultline-sites-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

COMPILERS.forEach(([arch, command, flags], i) => {
  describeWith(command, `${command} ${flags.at(-1)}`, () => {
    const object = join(folder, `${i}.o`);
    const made = spawnSync(command, [...COMMON, ...flags, SOURCE, '-o', object], {
      encoding: 'utf8',
    });
    it('compiles', () => expect([made.status, made.stderr]).toEqual([0, '']));

    const call = (symbol: string, file = object) => {
      const { steps } = runYaml(
        host,
        `arch: ${arch}\nobject: "${file}"\nsymbol: ${symbol}\nargs: [30]\nsymbols: {key_elsewhere: 0xffff888000000000}\n`,
        arch,
      );
      const { outcome, ret } = steps[0].seen as CallSeen;
      return outcome === 'returned' ? ret : outcome;
    };
    const keys: [string, bigint][] = [
      ['unlikely_of_off', 0n],
      ['likely_of_on', 1n],
      ['likely_of_off', 0n],
      ['unlikely_of_on', 1n],
      ['jump_of_on', 1n],
      ['unlikely_of_elsewhere', 0n],
    ];
    const calls: [string, bigint][] = [
      ['static_calls', 35n],
      ['through', 37n],
    ];
    it.each(arch === 'x86_64' ? [...keys, ...calls] : keys)('%s', (symbol, ret) => {
      expect(call(symbol)).toBe(ret);
    });

    it('a site that is neither a jump nor a no-operation is named', () => {
      const bytes = readFileSync(object);
      // The first entry's place, out of its relocation: one byte or word further.
      const at = relocationOf(bytes, '__jump_table');
      bytes.writeBigInt64LE(bytes.readBigInt64LE(at + 16) + (arch === 'arm64' ? 2n : 1n), at + 16);
      const file = join(folder, `${i}-broken.o`);
      writeFileSync(file, bytes);
      expect(() => call('likely_of_on', file)).toThrow(
        /__jump_table names 0x[0-9a-f]+, where neither a jump nor a no-operation is/,
      );
    });
  });
});

/** Place in the file of the first relocation of a section. */
function relocationOf(bytes: Buffer, section: string): number {
  const headers = Number(bytes.readBigUInt64LE(40));
  const count = bytes.readUInt16LE(60);
  const header = (n: number) => headers + n * 64;
  const names = Number(bytes.readBigUInt64LE(header(bytes.readUInt16LE(62)) + 24));
  const nameOf = (n: number) => {
    const start = names + bytes.readUInt32LE(header(n));
    return bytes.toString('latin1', start, bytes.indexOf(0, start));
  };
  const found = Array.from({ length: count }, (_, n) => n).find(
    (n) => nameOf(n) === `.rela${section}`,
  )!;
  return Number(bytes.readBigUInt64LE(header(found) + 24));
}

describe('alternatives of arm64, by the numbers of kernel.cpucaps', () => {
  const call = (symbol: string, cpucaps: readonly number[]) => {
    const text = `arch: arm64\nobject: objects/alternatives-arm64.o\nsymbol: ${symbol}\nkernel: {cpucaps: [${cpucaps}]}\n`;
    return (runYaml(host, text, 'arm64').steps[0].seen as CallSeen).ret;
  };
  it.each([
    ['a choice', 'choice', 7],
    ['branches out of the replacement', 'leaves', 9],
    ['an address in pages', 'pages', 11],
  ])('%s', (_, symbol, capability) => {
    if (symbol !== 'pages') expect(call(symbol, [1, 12345])).toBe(1n);
    expect(call(symbol, [capability])).toBe(2n);
  });

  it('a callback is refused by its name, and where it would patch', () => {
    expect(call('called', [])).toBe(1n);
    expect(() => call('called', [12])).toThrow(
      '.altinstructions has called patched by a callback, patch_it, which is not called here',
    );
  });

  it('an instruction that counts from its own place does not move', () => {
    expect(() => call('stays', [13])).toThrow(
      '.altinstructions moves an instruction to stays that counts from its own place',
    );
  });
});
