// Inlined calls as addr2line -i tells them, of every instruction that gcc and clang make of fixtures/c/inlined.c: binutils'
// for gcc, LLVM's for clang, whose indexed ranges of DWARF 5 binutils 2.40 mistakes in objects.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { GCC, isInstalled } from '../test-tools.ts';
import { inlinedAt, readInlined } from './inlined.ts';
import { rowAt } from './line-table.ts';
import { link } from './link.ts';
import { ElfError, readElf } from './read.ts';

const SOURCE = new URL('../../fixtures/c/inlined.c', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'faultline-inlined-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const COMPILERS: readonly (readonly string[])[] = [
  [GCC.x86_64],
  [GCC.arm64],
  ['clang', '--target=x86_64-linux-gnu'],
  ['clang', '--target=aarch64-linux-gnu'],
];
const OPTIONS = ['-gdwarf-4', '-gdwarf-5'].flatMap((dwarf) =>
  ['-O1', '-O2', '-O3'].map((level) => [dwarf, level]),
);

function compile([command, ...target]: readonly string[], options: readonly string[]): string {
  const object = join(
    folder,
    `${[command, ...target, ...options].join('_').replaceAll('/', '')}.o`,
  );
  const done = spawnSync(command, [...target, ...options, '-c', '-o', object, SOURCE], {
    encoding: 'utf8',
  });
  expect(done.stderr).toBe('');
  return object;
}

const linkedTo = (object: string) =>
  link([{ name: object, elf: readElf(new Uint8Array(readFileSync(object))) }], {
    ...{ address: 0xffff_ffff_8110_0040n, pageSize: 4096, percpu: null, partial: false },
    resolve: () => null,
  });

/** `function file:line`, innermost first, of each offset into a section. */
function addr2line(
  command: string,
  object: string,
  section: string,
  offsets: readonly number[],
): string[] {
  // LLVM's knows no sections: there is only one with code.
  const which = command.startsWith('llvm') ? [] : ['-j', section];
  const args = ['-e', object, ...which, '-fisa', ...offsets.map((at) => `0x${at.toString(16)}`)];
  const { stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return stdout
    .split(/^0x[0-9a-f]+$/m)
    .slice(1)
    .map((part) => {
      const words = part.trim().split('\n');
      const frames: string[] = [];
      for (let i = 0; i + 1 < words.length; i += 2) {
        const line = words[i + 1].replace(/ \(discriminator.*/, '').replace(/^.*\//, '');
        frames.push(`${words[i]} ${line}`);
      }
      return frames.join(', ');
    });
}

describe.each(COMPILERS)('inlined calls of %s %s', (...compiler) => {
  const [command] = compiler;
  const binutils = compiler.join(' ').includes('aarch64') ? 'arm64' : 'x64';
  const prefix = { arm64: 'aarch64-linux-gnu-', x64: 'x86_64-linux-gnu-' }[binutils];
  const gnu = `${process.arch === binutils ? '' : prefix}addr2line`;
  const reader = command === 'clang' ? 'llvm-addr2line' : gnu;
  if (!isInstalled(command) || !isInstalled(reader)) {
    it.skip(`${command} or ${reader} is not installed`, () => {});
    return;
  }

  it.each(OPTIONS)('%s %s', (...options) => {
    const object = compile(compiler.filter(Boolean), options);
    const { lines, inlined, symbols, sections } = linkedTo(object);
    let deepest = 0;
    for (const symbol of symbols.filter(({ isFunction }) => isFunction)) {
      const section = sections.find(
        (s) => symbol.address >= s.address && symbol.address < s.address + BigInt(s.bytes.length),
      )!;
      const offsets = Array.from(
        { length: Math.ceil(symbol.size / 4) },
        (_, i) => Number(symbol.address - section.address) + i * 4,
      );
      const wanted = addr2line(reader, object, section.name, offsets);
      offsets.forEach((offset, i) => {
        const at = section.address + BigInt(offset);
        const row = rowAt(lines, at);
        const calls = inlinedAt(inlined(), at);
        deepest = Math.max(deepest, calls.length);
        const names = [...calls.map(({ name }) => name), symbol.name];
        const places = [row, ...calls].map((place) => `${place?.file}:${place?.line}`);
        const got = names.map((name, n) => `${name} ${places[n]}`).join(', ');
        // Rows of line 0 belong to nobody; addr2line prints a question mark.
        if (row !== null) expect([offset, got]).toEqual([offset, wanted[i]]);
      });
    }
    expect(deepest).toBe(2);
  });
});

describe('debugging data that is damaged', () => {
  it.runIf(isInstalled('gcc'))('gives an ElfError, or calls', () => {
    const object = compile(['gcc'], ['-gdwarf-5', '-O2']);
    const elf = readElf(new Uint8Array(readFileSync(object)));
    const bytes = (name: string) =>
      elf.sections.find((section) => section.name === name)?.data ?? new Uint8Array(0);
    const info = bytes('.debug_info');
    const abbrev = bytes('.debug_abbrev');
    const change = fc.tuple(fc.nat(info.length + abbrev.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const damaged = Uint8Array.from([...info, ...abbrev]);
        for (const [at, byte] of changes) damaged[at] = byte;
        try {
          readInlined({
            info: damaged.slice(0, info.length),
            abbrev: damaged.slice(info.length),
            line: bytes('.debug_line'),
            lineStr: bytes('.debug_line_str'),
            str: bytes('.debug_str'),
            strOffsets: new Uint8Array(0),
            addr: new Uint8Array(0),
            ranges: new Uint8Array(0),
            rnglists: bytes('.debug_rnglists'),
          });
        } catch (error) {
          if (!(error instanceof ElfError)) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});
