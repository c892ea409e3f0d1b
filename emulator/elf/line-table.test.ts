// Source lines as objdump -dl shows them: DWARF 5 of gcc 12 (x86-64), DWARF 4 of clang 14 (AArch64).
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readLines, rowAt } from './line-table.ts';
import { link } from './link.ts';
import { ElfError, readElf } from './read.ts';

const file = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../fixtures/objects/${name}`, import.meta.url)));
const BASE = 0xffff_ffff_8110_0040n;
const linked = (name: string) =>
  link([{ name, elf: readElf(file(name)) }], {
    ...{ address: BASE, pageSize: 4096, percpu: null, partial: false },
    resolve: () => null,
  });

describe('line tables', () => {
  it.each([
    [
      'lines-x86_64.o',
      [
        [0x0, 3],
        [0x3, 4],
        [0xa, 5],
        [0x11, 7],
      ],
    ],
    [
      'lines-arm64.o',
      [
        [0x0, 3],
        [0xc, 4],
        [0x10, 5],
        [0x14, 6],
      ],
    ],
  ] as const)('of %s name the line of each instruction', (name, wanted) => {
    const { lines, symbols } = linked(name);
    const start = symbols.find((symbol) => symbol.name === 'put')!.address;
    expect(start).toBe(BASE);
    for (const [offset, line] of wanted) {
      const row = rowAt(lines, start + BigInt(offset));
      expect([offset, row?.file, row?.line]).toEqual([offset, 'lines.c', line]);
    }
    expect(rowAt(lines, start + 0x40n)).toBeNull();
    expect(rowAt(lines, start - 1n)).toBeNull();
  });

  it('that are damaged give an ElfError, or rows', () => {
    const elf = readElf(file('lines-x86_64.o'));
    const [line, lineStr] = ['.debug_line', '.debug_line_str'].map(
      (name) => elf.sections.find((section) => section.name === name)!.data,
    );
    const change = fc.tuple(fc.nat(line.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 6 }), fc.nat(line.length), (changes, end) => {
        const bytes = Uint8Array.from(line);
        for (const [at, byte] of changes) bytes[at] = byte;
        try {
          readLines({ line: bytes.slice(0, end), lineStr, str: new Uint8Array(0) });
        } catch (error) {
          if (!(error instanceof ElfError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});
