// The words that GNU ld 2.40 makes of the same objects at the same addresses (fixtures/objects), and what cannot be
// linked.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LinkError, type Linked, type LinkInput, link } from './link.ts';
import { ElfError, type ElfSymbol, readElf } from './read.ts';
import { ARM64_RELOCATIONS } from './relocation-arm64.ts';
import { X86_RELOCATIONS } from './relocation-x86.ts';

const file = (name: string) =>
  readFileSync(new URL(`../../fixtures/objects/${name}`, import.meta.url));
const object = (name: string): LinkInput => ({ name, elf: readElf(file(name)) });
const BASE = { x86_64: 0xffffffff81100040n, arm64: 0xffff800080100040n };
type Machine = keyof typeof BASE;
const MACHINES: readonly Machine[] = ['x86_64', 'arm64'];

const linkAt = (
  machine: Machine,
  inputs: readonly LinkInput[],
  bound: Record<string, bigint | LinkInput> = {},
): Linked =>
  link(inputs, {
    address: BASE[machine],
    pageSize: 4096,
    percpu: null,
    resolve: (name) => {
      const given = Object.hasOwn(bound, name) ? bound[name] : null;
      return given === null || typeof given === 'bigint' ? given : { object: given, name };
    },
    partial: false,
  });
const section = ({ sections }: Linked, name: string) => sections.find((s) => s.name === name)!;
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const symbol = ({ symbols }: Linked, name: string) => symbols.find((s) => s.name === name)!;

describe('relocations', () => {
  it('of x86-64 are those of ld', () => {
    const ext = BASE.x86_64 - 0x40000n;
    const linked = linkAt('x86_64', [object('relocations-x86_64.o')], { ext });
    const text = section(linked, '.text');
    const words = hexOf(text.bytes).match(/.{2}/g)!;
    // Two loads from the GOT, whose place is the linker's choice.
    const gotLoads = [3, 39].map((at) => words.splice(at, 4, '??', '??', '??', '??').join(''));
    expect(words.join('')).toBe(
      '488b05????????e8f4fffbffe8effffbff48c7c000201081488d05a91f0000e911000000488b0d????????48b800201081ffffffff',
    );
    const entries = gotLoads.map((word, i) => {
      const distance = Buffer.from(word, 'hex').readInt32LE();
      const at = text.address + BigInt([7, 43][i] + distance);
      const [, rodata] = linked.segments;
      return Buffer.from(rodata.bytes).readBigUInt64LE(Number(at - rodata.address));
    });
    expect(entries).toEqual([section(linked, '.data').address, ext]);
    expect(hexOf(section(linked, '.data').bytes)).toBe(
      '43001081ffffffff40000c81fffffffff0ffffffffffffff75001081ffffffff20e0ffff51e0ffff',
    );
    expect(hexOf(section(linked, '.text2').bytes)).toBe('90e9c5ffffff');
  });

  it('of AArch64 are those of ld', () => {
    const ext = BASE.arm64 - 0x40000n;
    const linked = linkAt('arm64', [object('relocations-arm64.o')], { ext });
    expect(hexOf(section(linked, '.text').bytes).slice(0, -16)).toBe(
      [
        '000000d0 00000091 01004039 01004079 010040b9 010040f9 0100c03d f9fffe97 0c000014 600100b4',
        '40011836 20010054 03010010 e4000058 e5ffffd2 0500d0f2 0502b0f2 050084f2',
      ]
        .join('')
        .replaceAll(' ', ''),
    );
    // adrp x6 and ldr x6, [x6, #lo12] find the entry.
    const [, rodata] = linked.segments;
    expect(Buffer.from(rodata.bytes).readBigUInt64LE()).toBe(ext);
    expect(rodata.address & 0xfffn).toBe(0n);
    expect(hexOf(section(linked, '.text').bytes).slice(-16)).toBe('060000b0c60040f9');
  });

  it.each(MACHINES)('lay kfuncs of %s out by what may be done with it', (machine) => {
    const linked = linkAt(machine, [object(`kfuncs-${machine}.o`)], { memcpy: BASE[machine] });
    expect(linked.segments.map(({ kind }) => kind)).toEqual(['text', 'rodata', 'data']);
    const [text, ...others] = linked.segments;
    expect(text.address).toBe(BASE[machine]);
    for (const { address } of others) expect(address % 4096n).toBe(0n);
    expect(symbol(linked, 'sum')).toMatchObject({ address: BASE[machine], isFunction: true });
    const data = section(linked, '.data');
    const words = Buffer.from(data.bytes);
    const total = symbol(linked, 'total');
    const operation = symbol(linked, 'operation');
    expect(words.readBigUInt64LE(Number(total.address - data.address))).toBe(40n);
    expect(words.readBigUInt64LE(Number(operation.address - data.address))).toBe(BASE[machine]);
    expect(section(linked, '__ex_table').bytes).toHaveLength(12);
  });
});

/** The same object with its addends in the places that are patched, as SHT_REL has it. */
function withoutAddends(input: LinkInput): LinkInput {
  const { known } = input.elf.machine === 'x86_64' ? X86_RELOCATIONS : ARM64_RELOCATIONS;
  const sections = input.elf.sections.map((one) => {
    const data = Uint8Array.from(one.data);
    const view = new DataView(data.buffer);
    const relocations = one.relocations.map((entry) => {
      const relocation = known.get(entry.type)!;
      // At address 0 a distance is the value itself.
      const place = { view, offset: Number(entry.offset), address: 0n };
      if (relocation.size > 0 && data.length > 0) relocation.apply(place, entry.addend!);
      return { ...entry, addend: null };
    });
    return { ...one, data, relocations };
  });
  return { ...input, elf: { ...input.elf, sections } };
}

describe('relocations without addend', () => {
  // R_X86_64_32S and the like take addends of their own width, instructions of AArch64 the width of their field.
  it.each(MACHINES)('take it from the patched place, on %s', (machine) => {
    const input = object(`kfuncs-${machine}.o`);
    const bound = { memcpy: BASE[machine] };
    const bytes = ({ segments }: Linked) => segments.map((segment) => hexOf(segment.bytes));
    expect(bytes(linkAt(machine, [withoutAddends(input)], bound))).toEqual(
      bytes(linkAt(machine, [input], bound)),
    );
  });
});

describe('weak symbols and groups', () => {
  const change = (input: LinkInput, edit: (symbol: ElfSymbol) => ElfSymbol): LinkInput => ({
    ...input,
    elf: { ...input.elf, symbols: input.elf.symbols.map(edit) },
  });

  it('make a branch to nobody go on behind itself on AArch64', () => {
    const weak = change(object('relocations-arm64.o'), (symbol) =>
      symbol.name === 'ext' ? { ...symbol, binding: 2 } : symbol,
    );
    const text = Buffer.from(section(linkAt('arm64', [weak]), '.text').bytes);
    expect(text.readUInt32LE(0x1c)).toBe(0x94000001);
  });

  it('are told as indirect functions by name', () => {
    const input = object('kfuncs-x86_64.o');
    const indirect = change(input, (s) => (s.name === 'sum' ? { ...s, type: 10 } : s));
    expect(failing(() => linkAt('x86_64', [indirect], { memcpy: BASE.x86_64 }))).toBe(
      "sum is an indirect function (IFUNC), which a program's loader resolves",
    );
  });

  it('keep one copy of a section group', () => {
    const input = object('kfuncs-x86_64.o');
    const members = input.elf.sections.map(({ index }) => index);
    const grouped = (name: string): LinkInput => ({
      name,
      elf: { ...input.elf, groups: [{ signature: 'sum', members }] },
    });
    const linked = linkAt(
      'x86_64',
      [grouped('a.o'), grouped('b.o')].map((one, i) =>
        i === 0 ? one : change(one, (s) => ({ ...s, binding: 2 })),
      ),
      { memcpy: BASE.x86_64 },
    );
    expect(linked.sections.filter(({ name }) => name === '.text')).toHaveLength(1);
  });

  it('leave what a part of something larger lacks to be told later', () => {
    const linked = link([object('kfuncs-arm64.o')], {
      ...{ address: BASE.arm64, pageSize: 4096, percpu: null, partial: true },
      resolve: () => null,
    });
    expect(linked.missing.map(({ name }) => name)).toEqual(['memcpy']);
    expect(linked.broken).toEqual([]);
  });
});

const failing = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(LinkError);
    expect((error as LinkError).remedy).not.toBe('');
    return (error as Error).message;
  }
  return 'nothing';
};

describe('what cannot be linked', () => {
  it.each(MACHINES)('names every symbol that nobody defines, on %s', (machine) => {
    const name = `kfuncs-${machine}.o`;
    expect(failing(() => linkAt(machine, [object(name)]))).toBe(
      `undefined: memcpy (used by ${name})`,
    );
  });

  it.each(MACHINES)('names two definitions and the objects, on %s', (machine) => {
    const twice = [
      object(`kfuncs-${machine}.o`),
      { ...object(`kfuncs-${machine}.o`), name: 'b.o' },
    ];
    expect(failing(() => linkAt(machine, twice, { memcpy: BASE[machine] }))).toMatch(
      new RegExp(`^\\w+ is defined by kfuncs-${machine}.o and by b.o$`),
    );
  });

  it('names an object that does not define what is bound to it', () => {
    const input = object('kfuncs-x86_64.o');
    expect(failing(() => linkAt('x86_64', [input], { memcpy: input }))).toBe(
      'kfuncs-x86_64.o does not define memcpy',
    );
  });

  it.each([
    [
      'x86_64',
      0xffff888000000000n,
      /^relocations-x86_64.o: \.text\+0x8: R_X86_64_PLT32 against ext: .* 32 bits$/,
    ],
    [
      'arm64',
      0x1000n,
      /^relocations-arm64.o: \.text\+0x1c: R_AARCH64_CALL26 against ext: .* 28 bits$/,
    ],
  ] as const)('tells the place of a value that does not fit, on %s', (machine, ext, message) => {
    const input = object(`relocations-${machine}.o`);
    expect(failing(() => linkAt(machine, [input], { ext }))).toMatch(message);
  });

  it('refuses an odd target of a branch and an unaligned one of a load', () => {
    const input = object('relocations-arm64.o');
    expect(failing(() => linkAt('arm64', [input], { ext: BASE.arm64 + 2n }))).toMatch(
      /not a multiple of 4 bytes away/,
    );
  });

  it('refuses relocations that it does not know', () => {
    const input = object('relocations-x86_64.o');
    const sections = input.elf.sections.map((one) => ({
      ...one,
      relocations: one.relocations.map((relocation) => ({ ...relocation, type: 77 })),
    }));
    const strange = { ...input, elf: { ...input.elf, sections } };
    expect(X86_RELOCATIONS.known.has(77)).toBe(false);
    expect(failing(() => linkAt('x86_64', [strange], { ext: 0n }))).toMatch(
      /^relocations-x86_64.o: .text\+0x\w+: relocations of type 77/,
    );
  });

  it('names thread-local storage', () => {
    const input = object('relocations-x86_64.o');
    const sections = input.elf.sections.map((one) => ({
      ...one,
      relocations: one.relocations.map((relocation) => ({ ...relocation, type: 19 })),
    }));
    const local = { ...input, elf: { ...input.elf, sections } };
    expect(failing(() => linkAt('x86_64', [local], { ext: 0n }))).toMatch(
      /\.text\+0x\w+: R_X86_64_TLSGD is for thread-local storage/,
    );
  });

  it('refuses what takes too much room, and what is no object', () => {
    const input = object('kfuncs-x86_64.o');
    const sections = input.elf.sections.map((one) =>
      one.name === '.bss' ? { ...one, size: 2n ** 40n } : one,
    );
    const large = { ...input, elf: { ...input.elf, sections } };
    const memcpy = BASE.x86_64;
    expect(failing(() => linkAt('x86_64', [large], { memcpy }))).toMatch(/its data takes 0x100/);
    const linked = { ...input, elf: { ...input.elf, type: 2 } };
    expect(failing(() => linkAt('x86_64', [linked], { memcpy }))).toMatch(/no relocatable object/);
  });

  it.each(MACHINES)(
    'says what is wrong with damaged objects of %s, and nothing worse',
    (machine) => {
      const whole = file(`kfuncs-${machine}.o`);
      const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 8 });
      fc.assert(
        fc.property(damage, (changes) => {
          const bytes = Uint8Array.from(whole);
          for (const [at, byte] of changes) bytes[at] = byte;
          try {
            linkAt(machine, [{ name: 'a.o', elf: readElf(bytes) }], { memcpy: BASE[machine] });
          } catch (error) {
            if (!(error instanceof LinkError) && !(error instanceof ElfError)) throw error;
          }
        }),
        { numRuns: 500 },
      );
    },
  );
});

describe('a symbol of a section, in a message', () => {
  // Its name is that of its section, where it has one.
  const bytes = () => Uint8Array.from(file('relocations-x86_64.o'));

  /** Makes the first relocation one against a section symbol with this st_shndx. */
  function damage(place: number, symbol: number | null): Uint8Array {
    const damaged = bytes();
    const view = new DataView(damaged.buffer);
    const headers = Number(view.getBigUint64(40, true));
    const header = (n: number) => headers + n * 64;
    const all = Array.from({ length: view.getUint16(60, true) }, (_, n) => header(n));
    const rela = all.find((at) => view.getUint32(at + 4, true) === 4)!;
    const symtab = all.find((at) => view.getUint32(at + 4, true) === 2)!;
    const offset = (at: number) => Number(view.getBigUint64(at + 24, true));
    const count = Number(view.getBigUint64(symtab + 32, true)) / 24;
    const isSection = (n: number) => (damaged[offset(symtab) + n * 24 + 4] & 0xf) === 3;
    const sectionSymbol = Array.from({ length: count }, (_, n) => n).find(isSection)!;
    view.setUint32(offset(rela) + 12, symbol ?? sectionSymbol, true);
    view.setUint16(offset(symtab) + sectionSymbol * 24 + 6, place, true);
    return damaged;
  }

  it.each([0xff00, 0xff3f, 0xfff0, 0xfffe])('in section 0x%s, which is none', (place) => {
    const linking = () =>
      linkAt('x86_64', [{ name: 'x.o', elf: readElf(damage(place, null)) }], { ext: 0n });
    expect(linking).toThrow(/symbol \d+ lies in a section that is not loaded/);
  });

  it('that does not exist', () => {
    expect(() => readElf(damage(1, 0x7fff_ffff))).toThrow(
      /symbol 2147483647, which does not exist/,
    );
  });
});
