import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Assembled, AssemblyError, loadAssembler } from '../emulator/assembler.ts';
import { assembleWithGnu, findGnuTools } from './gnu-as.ts';

const ADDRESSES = { x86_64: 0xffff_ffff_8100_0000n, arm64: 0xffff_8000_8100_0000n };

const hexLines = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString('hex')
    .replaceAll(/(.{64})/g, '$1\n')
    .trimEnd();

const fixture = (name: string) => new URL(`../fixtures/asm/${name}`, import.meta.url);

/** The first statement of ours whose bytes are others in `theirs`, or null. */
function firstDifference(ours: Assembled, theirs: Assembled, address: bigint): string | null {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  for (const { address: at, length, line, text } of ours.lines) {
    const from = Number(at - address);
    const a = hex(ours.bytes.subarray(from, from + length));
    const b = hex(theirs.bytes.subarray(from, from + length));
    if (a !== b) return `line ${line}: ${text}: ours ${a}, GNU ${b}`;
  }
  return ours.bytes.length === theirs.bytes.length ? null : 'the lengths differ';
}

describe.each(['x86_64', 'arm64'] as const)('the kept bytes of GNU as for %s', (arch) => {
  it('are those of our assembler', async () => {
    const text = readFileSync(fixture(`${arch}.s`), 'utf8');
    const kept = readFileSync(fixture(`${arch}.hex`), 'utf8');
    const ours = (await loadAssembler()).assemble(text, { arch, address: ADDRESSES[arch] });
    expect(hexLines(ours.bytes)).toBe(kept.trimEnd());
  });
});

for (const arch of ['x86_64', 'arm64'] as const) {
  const missing = findGnuTools(arch) === null;
  const why = missing ? ` (skipped: no GNU as for ${arch} is installed)` : '';
  describe.skipIf(missing)(`GNU as for ${arch}${why}`, () => {
    const text = readFileSync(fixture(`${arch}.s`), 'utf8');
    const address = ADDRESSES[arch];

    it('gives the same bytes as our assembler, line by line', async () => {
      const ours = (await loadAssembler()).assemble(text, { arch, address });
      const theirs = assembleWithGnu(text, { arch, address });
      expect(firstDifference(ours, theirs, address)).toBeNull();
      expect(ours.lines.length).toBeGreaterThan(600);
      await expect(`${hexLines(theirs.bytes)}\n`).toMatchFileSnapshot(
        fileURLToPath(fixture(`${arch}.hex`)),
      );
    });

    it('finds the same labels', async () => {
      const ours = (await loadAssembler()).assemble(text, { arch, address });
      const theirs = assembleWithGnu(text, { arch, address });
      for (const [name, value] of ours.labels)
        expect([name, theirs.labels.get(name)]).toEqual([name, value]);
    });

    it('takes symbols from outside', () => {
      const branch = arch === 'x86_64' ? 'call there' : 'bl there';
      const { bytes } = assembleWithGnu(branch, {
        arch,
        address,
        symbols: { there: address + 0x1000n },
      });
      const wanted = arch === 'x86_64' ? 'e8fb0f0000' : '00040094';
      expect(Buffer.from(bytes).toString('hex')).toBe(wanted);
    });

    it('reports errors with their line', () => {
      const assemble = () => assembleWithGnu('nop\nbogus x, y\n', { arch, address });
      expect(assemble).toThrow(AssemblyError);
      expect(assemble).toThrow(/^2:1: /);
      expect(() => assembleWithGnu('.data\n.byte 1', { arch, address })).toThrow(/section \.data/);
    });
  });
}
