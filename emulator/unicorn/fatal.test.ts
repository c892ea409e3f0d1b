// What the core does not survive translating, and what only looks like it.
import { describe, expect, it } from 'vitest';
import { arm64 } from '../../arch/arm64/index.ts';
import { x86 } from '../../arch/x86/index.ts';
import { condemn } from '../condemn.ts';
import { CODE, CODE_PA, DATA, TestMachine } from './test-machine.ts';

const HLT = 'f4';
const END = 0x1000;

function straddling(code: string, first: number): TestMachine {
  const machine = new TestMachine(x86.description, '', { codePages: 2 });
  machine.mapData(0);
  machine.load(CODE_PA + END - first, code + HLT);
  return machine.set({ rip: CODE + BigInt(END - first), rdi: DATA, rax: 3 });
}

describe('an instruction over the end of a page', () => {
  it.each([1, 2, 3])(
    'that might be fatal by its first %i bytes runs: lock bts [rdi], eax',
    (first) => {
      const machine = straddling('f00fab07', first);
      expect(machine.cpu.run(10)).toMatchObject({ reason: 'halt' });
      expect(machine.ram.bytes[0x20_0000]).toBe(8);
    },
  );

  it.each([1, 2, 3])('that is fatal is invalid, cut after %i bytes: lock bt eax, ecx', (first) => {
    const machine = straddling('f00fa3c8', first);
    const ip = CODE + BigInt(END - first);
    expect(machine.cpu.run(10)).toMatchObject({ reason: 'exception', name: '#UD', ip });
  });
});

describe('a limit before what is fatal', () => {
  it.each([
    ['in the middle of a page', 0x100],
    ['cut by the end of a page', 2],
  ])('ends the run there: %s', (_where, first) => {
    const machine = straddling('90f00fa3c8', first);
    const ip = CODE + BigInt(END - first + 1);
    expect(machine.cpu.step()).toEqual({ reason: 'limit', ip });
    expect(machine.cpu.retired).toBe(1);
    expect(machine.cpu.step()).toMatchObject({ reason: 'exception', name: '#UD', ip });
  });
});

describe('a witness', () => {
  it.each([
    [
      'x86_64',
      x86.description,
      '31c0 ffc0 83f805 75f9 f4',
      ['31c0', 'ffc0', '83f805', '75f9', 'f4'],
    ],
    [
      'arm64',
      arm64.description,
      [0xd2800000, 0x91000400, 0xf100141f, 0x54ffffc1, 0xd503207f],
      ['000080d2', '00040091', '1f1400f1', 'c1ffff54', '7f2003d5'],
    ],
  ])('sees each instruction once, before it runs, on %s', (_arch, description, code, wanted) => {
    const seen: string[] = [];
    const machine = new TestMachine(description, code, {
      witness: (_ip, bytes) => seen.push(Buffer.from(bytes).toString('hex')),
    });
    expect(machine.cpu.run(1000)).toMatchObject({ reason: 'halt' });
    expect(machine.cpu.retired).toBe(16);
    // The last one never reaches the core.
    expect(seen).toEqual(wanted.slice(0, -1));
  });

  it('sees what is behind a fault only when it is reached', () => {
    const seen: bigint[] = [];
    const machine = new TestMachine(x86.description, `488907 90 ${HLT}`, {
      witness: (ip) => seen.push(ip - CODE),
    }).set({ rdi: DATA });
    expect(machine.cpu.run(10)).toMatchObject({ reason: 'fault' });
    expect(seen).toEqual([0n]);
    machine.mapData(0);
    expect(machine.cpu.run(10)).toMatchObject({ reason: 'halt' });
    expect(seen).toEqual([0n, 3n]);
  });
});

describe('a condemned encoding', () => {
  const refused = {
    arch: 'x86_64' as const,
    bytes: Uint8Array.of(0x0f, 0xa3, 0xc8),
    why: 'it is tried',
  };

  it('is refused by name, and everything else runs', () => {
    const description = condemn(x86.description, [refused]);
    const machine = new TestMachine(description, `90 0fa3c0 0fa3c8 90 ${HLT}`);
    expect(machine.cpu.run(10)).toMatchObject({
      reason: 'engine',
      ip: CODE + 4n,
      bytes: refused.bytes,
      why: 'it is tried',
    });
    expect(machine.cpu.retired).toBe(2);
  });

  it('is refused over the end of a page', () => {
    const description = condemn(x86.description, [refused]);
    const machine = new TestMachine(description, '', { codePages: 2 });
    machine.load(CODE_PA + END - 2, `0fa3c8 ${HLT}`);
    machine.set({ rip: CODE + BigInt(END - 2) });
    expect(machine.cpu.run(10)).toMatchObject({ reason: 'engine', ip: CODE + BigInt(END - 2) });
    // Another one that begins like it.
    machine.load(CODE_PA + END - 2, `0fa3c0 ${HLT}`);
    machine.cpu.flushCode();
    machine.set({ rip: CODE + BigInt(END - 2) });
    expect(machine.cpu.run(10)).toMatchObject({ reason: 'halt' });
  });

  it('leaves a description alone where there is none', () => {
    expect(condemn(arm64.description, [])).toBe(arm64.description);
  });
});

describe('an instruction that the core takes for a longer one', () => {
  // inc rax is said to be a byte long, and what follows to be invalid.
  const { instructions } = x86.description;
  const isCut = (code: Uint8Array) => code[0] === 0x48 && code[1] === 0xff;
  const description = {
    ...x86.description,
    instructions: {
      ...instructions,
      length: (code: Uint8Array) => (isCut(code) ? 1 : instructions.length(code)),
      trap: (code: Uint8Array) =>
        code[0] === 0xff
          ? ({ action: 'invalid' } as const)
          : isCut(code)
            ? null
            : instructions.trap(code),
    },
  };

  it.each([1, 2, 3, 1000])('ends the run with a limit of %i', (limit) => {
    const machine = new TestMachine(description, `9090 48ffc0 90 ${HLT}`);
    const stop = machine.cpu.run(limit);
    if (limit <= 2) expect(stop).toEqual({ reason: 'limit', ip: CODE + BigInt(limit) });
    else
      expect(stop).toMatchObject({
        reason: 'engine',
        ip: CODE + 2n,
        why: expect.stringMatching(/longer/),
      });
    expect(machine.cpu.retired).toBe(Math.min(limit, 2));
  });
});
