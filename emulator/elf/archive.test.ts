// Archives as GNU ar makes them, and compressed objects as xz, zstd and gzip do.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Archive, isArchive } from './archive.ts';
import { decompress } from './decompress.ts';
import { ElfError } from './read.ts';

const file = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../fixtures/objects/${name}`, import.meta.url)));

describe('an archive', () => {
  const bytes = file('kfuncs-x86_64.a');
  const archive = new Archive(bytes);

  it('gives its members by name, long ones too', () => {
    expect(archive.members.map(({ name }) => name)).toEqual([
      'kfuncs-x86_64.o',
      'relocations-x86_64.o',
      'alternatives-x86_64.o',
    ]);
    expect(archive.member('relocations-x86_64.o')!.bytes).toEqual(file('relocations-x86_64.o'));
    expect(archive.member('none.o')).toBeNull();
  });

  it('knows who defines a name, and not who only uses it', () => {
    expect(archive.definer('sum')?.name).toBe('kfuncs-x86_64.o');
    expect(archive.definer('memcpy')?.name).toBe('alternatives-x86_64.o');
    expect(archive.definer('ext')).toBeNull();
  });

  it('of BSD form has names before the contents', () => {
    const name = 'a long name.o'.padEnd(16, '\0');
    const header = (field: string, size: number) =>
      `${field.padEnd(48)}${String(size).padEnd(10)}\`\n`;
    const text = `!<arch>\n${header('#1/16', 20)}${name}data${header('b.o/', 1)}x\n`;
    const { members } = new Archive(new TextEncoder().encode(text));
    expect(members.map((m) => [m.name, new TextDecoder().decode(m.bytes)])).toEqual([
      ['a long name.o', 'data'],
      ['b.o', 'x'],
    ]);
  });

  it('that is thin, or damaged anywhere, is refused with the place', () => {
    const thin = new TextEncoder().encode('!<thin>\n');
    expect(isArchive(thin)).toBe(true);
    expect(() => new Archive(thin)).toThrow(/thin archive.*at offset 0x0/);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, byte, end) => {
        const damaged = bytes.slice(0, end);
        if (at < end) damaged[at] = byte;
        try {
          new Archive(damaged).definer('sum');
        } catch (error) {
          if (!(error instanceof ElfError)) throw error;
        }
      }),
    );
  });
});

describe('a compressed object', () => {
  it.each([
    ['kfuncs-arm64.o.xz', 'kfuncs-arm64.o'],
    ['kfuncs-x86_64.o.xz', 'kfuncs-x86_64.o'],
    ['kfuncs-arm64.o.zst', 'kfuncs-arm64.o'],
    ['kfuncs-arm64.o.gz', 'kfuncs-arm64.o'],
  ])('%s comes out as it went in', (packed, plain) => {
    expect(decompress(file(packed))).toEqual(file(plain));
  });

  it('is left alone if it is none', () => {
    const plain = file('kfuncs-arm64.o');
    expect(decompress(plain)).toBe(plain);
  });

  it.each(['kfuncs-arm64.o.xz', 'kfuncs-arm64.o.zst', 'kfuncs-arm64.o.gz'])(
    '%s that is damaged is refused, or comes out as something',
    (name) => {
      const packed = file(name);
      fc.assert(
        fc.property(
          fc.nat(packed.length - 1),
          fc.nat(255),
          fc.nat(packed.length),
          (at, byte, end) => {
            const damaged = packed.slice(0, end);
            if (at < end) damaged[at] = byte;
            try {
              decompress(damaged);
            } catch (error) {
              if (!(error instanceof ElfError)) throw error;
            }
          },
        ),
        { numRuns: 200 },
      );
    },
  );

  it('of xz is checked against its sum', () => {
    const packed = file('kfuncs-arm64.o.xz');
    packed[packed.length - 40] ^= 1;
    expect(() => decompress(packed)).toThrow(/as xz: /);
  });

  it('zstd frames that want more memory than there is are refused before it is taken', () => {
    const huge = file('kfuncs-arm64.o.zst');
    // Frame_Header_Descriptor without a content size; a window of 2^41 bytes.
    huge[4] = 0;
    huge[5] = 0xf8;
    expect(() => decompress(huge)).toThrow(/window of 2199023255552 bytes.*at offset 0x0/);
    // A single segment of 2^60 bytes, in a frame behind one that may be skipped.
    const single = Uint8Array.from([
      ...[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2],
      ...[0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0],
    ]);
    const behind = Uint8Array.from([...file('kfuncs-arm64.o.zst'), ...single]);
    expect(() => decompress(behind)).toThrow(/window of 1152921504606847000 bytes/);
  });
});
