// Edges between blocks: the same however the core came through the code, with our machine code and without.
import { describe, expect, it } from 'vitest';
import { arm64Description } from '../../arch/arm64/registers.ts';
import { x86Description } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import type { BlockEdge, Cpu, FaultHandler } from '../engine.ts';
import { createEngine, unicornEngine } from './engine.ts';
import { CODE, DATA, TestMachine } from './test-machine.ts';

const offset = (va: bigint): number => Number(va - CODE);

/** Edges as text, with the counts; those of a string instruction to itself are of no meaning. */
function edgesOf(cpu: Cpu): string[] {
  const name = (block: BlockEdge['from']) =>
    block === null ? 'start' : `${offset(block.address)}+${block.bytes.length}`;
  const line = ({ from, block, count, repeats }: BlockEdge) => {
    const how = [...repeats].map(([n, times]) => `${times}x${n}`).join(' ');
    return `${name(from)} ${name(block)} ${how === '' ? count : how}`;
  };
  return cpu.takeEdges().map(line).sort();
}

// mov ecx, 5; 1: inc eax; test al, 1; jz 2f; mov [rdi], rax; add rdi, 4096; inc edx; 2: dec ecx; jnz 1b; hlt
const X86 = 'b905000000 ffc0 a801 740c 488907 4881c700100000 ffc2 ffc9 75ea f4';
// mov x1, #5; 1: add x2, x2, #1; tbz w2, #0, 2f; str x2, [x0]; add x0, x0, #4096; add x3, x3, #1;
// 2: subs x1, x1, #1; b.ne 1b; wfi
const ARM64 = [
  0xd28000a1, 0x91000442, 0x36000082, 0xf9000002, 0x91400400, 0x91000463, 0xf1000421, 0x54ffff41,
  0xd503207f,
];
const CASES = [
  {
    description: x86Description,
    code: X86,
    pointer: 'rdi',
    // A block that is jumped into the middle of is two, of which one is the other's end.
    edges: [
      '0+11 11+16 1',
      '11+16 5+6 2',
      '23+4 5+6 2',
      '5+6 11+16 2',
      '5+6 23+4 2',
      'start 0+11 1',
    ],
  },
  {
    description: arm64Description,
    code: ARM64,
    pointer: 'x0',
    edges: [
      '0+12 12+20 1',
      '12+20 4+8 2',
      '24+8 4+8 2',
      '4+8 12+20 2',
      '4+8 24+8 2',
      'start 0+12 1',
    ],
  },
] as const;

const { library } = unicornEngine();
const engines = [
  ['as it is', unicornEngine()],
  ['without our machine code', createEngine(library, { native: false })],
] as const;

describe.each(CASES)('$description.name', ({ description, code, pointer, edges }) => {
  describe.each(engines)('%s', (_name, engine) => {
    const machine = () => {
      const m = new TestMachine(description, code, { engine, metering: true });
      for (let page = 0; page < 5; page++) m.mapData(page);
      return m.set({ [pointer]: DATA });
    };

    it('counts how often a block runs behind another', () => {
      const m = machine();
      m.cpu.run(Number.POSITIVE_INFINITY);
      expect(edgesOf(m.cpu)).toEqual(edges);
      expect(edgesOf(m.cpu)).toEqual([]);
    });

    it('counts the same step by step and within limits', () => {
      for (const limit of [1, 2, 3, 7]) {
        const m = machine();
        while (m.cpu.run(limit).reason === 'limit') {}
        expect([limit, edgesOf(m.cpu)]).toEqual([limit, edges]);
      }
    });

    it('counts a block once that is refused and begun again, or repaired on the spot', () => {
      for (const inPlace of [false, true]) {
        const m = machine();
        for (let page = 0; page < 5; page++) m.pages.unmap(DATA + BigInt(page * 4096));
        let next = 0;
        const repair: FaultHandler = () => {
          m.mapData(next++);
          return true;
        };
        for (;;) {
          const stop = m.cpu.run(1000, inPlace ? repair : undefined);
          if (stop.reason !== 'fault') break;
          repair(virtAddr(DATA), 1);
        }
        expect(next).toBe(3);
        expect([inPlace, edgesOf(m.cpu)]).toEqual([inPlace, edges]);
      }
    });
  });
});

describe.each(engines)('string instructions %s', (_name, engine) => {
  // mov ecx, 3; 1: rep stosb; add rdi, 4096 - 3; mov ecx, 2; dec edx; jnz 1b; hlt
  const code = 'b903000000 f3aa 4881c7fd0f0000 b902000000 ffca 75ee f4';

  it('count once for each time they begin, by repetitions, wherever they fault', () => {
    for (const faults of [false, true]) {
      const m = new TestMachine(x86Description, code, { engine, metering: true });
      if (!faults) for (let page = 0; page < 3; page++) m.mapData(page);
      m.set({ rdi: DATA + 0xffen, rdx: 2 });
      let next = 0;
      while (m.cpu.run(1000).reason === 'fault') m.mapData(next++);
      const behindOthers = edgesOf(m.cpu).filter((edge) => !edge.startsWith('5+2 5+2'));
      // The core makes the first repetition with what stands before it.
      expect(behindOthers).toEqual(['0+7 5+2 1x2', '5+2 7+16 2', '7+16 5+2 1x2', 'start 0+7 1']);
    }
  });
});

describe('counts that were taken', () => {
  it('begin again at nothing and miss nothing', () => {
    const m = new TestMachine(x86Description, 'ffc0 ebfc', { metering: true });
    for (const rounds of [5, 7, 7]) {
      m.cpu.run(2 * rounds);
      const counts = m.cpu.takeEdges().map(({ count }) => count);
      expect(counts.reduce((sum, count) => sum + count)).toBe(rounds);
    }
  });
});

describe('code that changes', () => {
  it('keeps its counts under what it was', () => {
    const m = new TestMachine(x86Description, 'ffc0 ebfc', { metering: true });
    m.cpu.run(4);
    m.load(0x10_0000, 'ffc8 ebfc');
    m.cpu.flushCode();
    m.cpu.run(6);
    const seen = m.cpu.takeEdges().map(({ block, count }) => [block.bytes[1], count]);
    expect(seen.sort()).toEqual([
      [0xc0, 1],
      [0xc0, 1],
      [0xc8, 3],
    ]);
  });
});
