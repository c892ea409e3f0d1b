// Versions of memory against full copies, and what they cost.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ram } from './ram.ts';
import { type MemoryVersion, VERSION_PAGE, VersionedMemory } from './versions.ts';

const PAGES = 6;

const operation = fc.oneof(
  { weight: 5, arbitrary: fc.record({ page: fc.nat(PAGES - 1), value: fc.nat(255) }) },
  { weight: 2, arbitrary: fc.constant('save' as const) },
  { weight: 3, arbitrary: fc.record({ restore: fc.nat(30) }) },
);

describe('versions of memory', () => {
  it('come back whole, in any order', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const bytes = new Uint8Array(PAGES * VERSION_PAGE);
        const memory = new VersionedMemory(bytes);
        const saved: { version: MemoryVersion; copy: Uint8Array }[] = [];
        for (const op of operations) {
          if (op === 'save') saved.push({ version: memory.save(), copy: bytes.slice() });
          else if ('page' in op) {
            memory.touch(op.page);
            bytes[op.page * VERSION_PAGE + op.value] = op.value;
          } else if (saved.length > 0) {
            const { version, copy } = saved[op.restore % saved.length];
            const before = bytes.slice();
            const changed = memory.restore(version);
            expect(Buffer.compare(bytes, copy)).toBe(0);
            for (let at = 0; at < bytes.length; at++) {
              if (bytes[at] !== before[at])
                expect(changed).toContain(Math.floor(at / VERSION_PAGE));
            }
          }
        }
        for (const { version, copy } of saved.reverse()) {
          memory.restore(version);
          expect(Buffer.compare(bytes, copy)).toBe(0);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('copy a page when it is written first and when it goes back', () => {
    const memory = new VersionedMemory(new Uint8Array(PAGES * VERSION_PAGE));
    for (let page = 0; page < PAGES; page++) memory.touch(page);
    const version = memory.save();
    expect(memory.copied).toBe(0);
    for (let times = 0; times < 3; times++) memory.touch(2);
    memory.touch(3);
    expect(memory.copied).toBe(2);
    expect([...memory.restore(version)].sort()).toEqual([2, 3]);
    expect(memory.copied).toBe(4);
    memory.restore(version);
    expect(memory.copied).toBe(4);
  });

  it('are one while nothing is written', () => {
    const memory = new VersionedMemory(new Uint8Array(PAGES * VERSION_PAGE));
    expect(memory.save()).toBe(memory.save());
  });

  it('refuse the version of another memory, and one from before everything was forgotten', () => {
    const one = new VersionedMemory(new Uint8Array(VERSION_PAGE));
    const other = new VersionedMemory(new Uint8Array(VERSION_PAGE));
    other.save();
    const version = one.save();
    expect(() => other.restore(version)).toThrow(RangeError);
    one.forget();
    expect(() => one.restore(version)).toThrow(RangeError);
  });
});

describe('RAM', () => {
  it('keeps what each of its writers replaces', () => {
    const ram = new Ram(0, 16 * 4096);
    const writers: ((at: number) => void)[] = [
      (at) => ram.write64(at, 7n),
      (at) => ram.setWord(ram.wordIndex(at), 7),
      (at) => ram.write(at + 4090, new Uint8Array(12).fill(7)),
      (at) => ram.clearFrame((at / 4096) as never),
      (at) => {
        ram.markDirty(at);
        ram.bytes[at] = 7;
      },
    ];
    for (let at = 0; at < ram.size; at += 8) ram.write64(at, BigInt(at));
    const before = ram.bytes.slice();
    const version = ram.save();
    for (const [i, write] of writers.entries()) write(i * 2 * 4096);
    expect(Buffer.compare(ram.bytes, before)).not.toBe(0);
    ram.restore(version);
    expect(Buffer.compare(ram.bytes, before)).toBe(0);
  });

  it('is zero after a reset, whatever was saved and restored', () => {
    const ram = new Ram(0, 8 * 4096);
    const version = ram.save();
    ram.write64(0x1000, 1n);
    const later = ram.save();
    ram.write64(0x3000, 1n);
    ram.restore(version);
    ram.restore(later);
    ram.write64(0x5000, 1n);
    ram.reset();
    expect(ram.bytes.every((byte) => byte === 0)).toBe(true);
    expect(() => ram.restore(later)).toThrow(RangeError);
  });

  it('costs what was written, not its size', () => {
    const time = (ram: Ram): number => {
      const times: number[] = [];
      for (let round = 0; round < 9; round++) {
        const start = performance.now();
        for (let i = 0; i < 20; i++) {
          const version = ram.save();
          for (let page = 0; page < 16; page++) ram.write64(page * 4096, BigInt(i + round));
          ram.restore(version);
        }
        times.push(performance.now() - start);
      }
      return times.sort((a, b) => a - b)[4];
    };
    const [small, large] = [new Ram(0, 2 ** 22), new Ram(0, 2 ** 30)];
    for (const ram of [small, large]) for (let i = 0; i < 64; i++) ram.write64(i * 4096, 1n);
    time(small);
    expect(time(large) / time(small)).toBeLessThan(4);
    expect(large.framesCopied).toBe(small.framesCopied / 2);
  });
});
