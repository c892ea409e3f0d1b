import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ElfError, readElf, SHF_ALLOC, SHF_EXECINSTR, SHN_UNDEF, SHT_NOBITS } from './read.ts';

const R_X86_64_64 = 1;
const R_X86_64_PC32 = 2;
const R_X86_64_PLT32 = 4;
const R_AARCH64_ABS64 = 257;
const R_AARCH64_ADR_PREL_PG_HI21 = 275;
const R_AARCH64_ADD_ABS_LO12_NC = 277;
const R_AARCH64_CALL26 = 283;

const load = (arch: string) =>
  new Uint8Array(readFileSync(new URL(`../../fixtures/elf/sample-${arch}.o`, import.meta.url)));

/** Relocations of a section with the names of their symbols. */
const relocationsOf = (file: ReturnType<typeof readElf>, name: string) =>
  file.sections
    .find((section) => section.name === name)!
    .relocations.map(({ offset, type, symbol, addend }) => {
      const { name: own, section } = file.symbols[symbol];
      return [offset, type, own || file.sections[section].name, addend];
    });

describe('readElf', () => {
  it('reads an x86-64 object', () => {
    const file = readElf(load('x86_64'));
    expect([file.machine, file.type]).toEqual(['x86_64', 1]);
    const text = file.sections.find(({ name }) => name === '.text')!;
    expect(Buffer.from(text.data).toString('hex')).toBe('e800000000488d0500000000c3');
    expect(text.flags).toBe(SHF_ALLOC | SHF_EXECINSTR);
    expect(relocationsOf(file, '.text')).toEqual([
      [1n, R_X86_64_PLT32, 'memcpy', -4n],
      [8n, R_X86_64_PC32, '.rodata', -4n],
    ]);
    expect(relocationsOf(file, '.rodata')).toEqual([[0n, R_X86_64_64, 'copy', 8n]]);
  });

  it('reads an AArch64 object', () => {
    const file = readElf(load('arm64'));
    expect(file.machine).toBe('arm64');
    expect(relocationsOf(file, '.text')).toEqual([
      [0n, R_AARCH64_CALL26, 'memcpy', 0n],
      [4n, R_AARCH64_ADR_PREL_PG_HI21, '.rodata', 0n],
      [8n, R_AARCH64_ADD_ABS_LO12_NC, '.rodata', 0n],
    ]);
    expect(relocationsOf(file, '.rodata')).toEqual([[0n, R_AARCH64_ABS64, 'copy', 8n]]);
  });

  it.each(['x86_64', 'arm64'])('gives symbols and memory without bytes (%s)', (arch) => {
    const file = readElf(load(arch));
    const copy = file.symbols.find(({ name }) => name === 'copy')!;
    const text = file.sections.find(({ name }) => name === '.text')!;
    expect(copy).toMatchObject({ value: 0n, type: 2, binding: 1, section: text.index });
    expect(copy.size).toBe(BigInt(text.data.length));
    expect(file.symbols.find(({ name }) => name === 'memcpy')!.section).toBe(SHN_UNDEF);
    const bss = file.sections.find(({ name }) => name === '.bss')!;
    expect([bss.type, bss.size, bss.data.length]).toEqual([SHT_NOBITS, 64n, 0]);
  });
});

describe('junk', () => {
  const patched = (offset: number, ...bytes: number[]) => {
    const file = load('x86_64');
    file.set(bytes, offset);
    return file;
  };

  it.each([
    ['nothing', new Uint8Array(0), 0, /no ELF file/],
    ['text', new TextEncoder().encode('mov rax, rbx'), 0, /no ELF file/],
    ['half a header', load('x86_64').slice(0, 40), 0, /ends inside the ELF header/],
    ['a 32-bit file', patched(4, 1), 4, /32-bit/],
    ['a big-endian file', patched(5, 2), 5, /big-endian/],
    ['another machine', patched(18, 243, 0), 18, /machine 243/],
    ['a section table past the end', patched(40, 0, 0, 0, 1), 40, /past the end/],
    ['too many sections', patched(60, 0xff, 0xfe), null, /ends inside the section table/],
    ['names in no string table', patched(62, 1, 0), 62, /should be a string table/],
  ])('is refused with its place: %s', (_what, file, offset, reason) => {
    try {
      readElf(file);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ElfError);
      const { message, remedy, offset: at } = error as ElfError;
      expect(message).toMatch(reason);
      expect(remedy).not.toBe('');
      if (offset !== null) expect(at).toBe(offset);
    }
  });

  it('never gives anything but a file or an ElfError', () => {
    const originals = [load('x86_64'), load('arm64')];
    const mutation = fc.record({
      original: fc.constantFrom(...originals),
      changes: fc.array(fc.tuple(fc.nat(1500), fc.integer({ min: 0, max: 255 })), { maxLength: 8 }),
      length: fc.option(fc.nat(1500), { nil: undefined }),
    });
    fc.assert(
      fc.property(mutation, ({ original, changes, length }) => {
        const file = original.slice(0, length);
        for (const [at, value] of changes) if (at < file.length) file[at] = value;
        try {
          const { sections, symbols } = readElf(file);
          for (const { relocations } of sections) {
            for (const { symbol } of relocations) expect(symbol).toBeLessThan(symbols.length);
          }
        } catch (error) {
          if (!(error instanceof ElfError)) throw error;
          expect(error.offset).toBeLessThanOrEqual(original.length + 64);
        }
      }),
      { numRuns: 2000, seed: 1 },
    );
  });
});
