import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layOut } from './stacks.ts';

const name = fc.constantFrom('a', 'b', 'kfunc+0x0', '[events]', 'page fault');
const stack = fc.tuple(
  fc.array(name, { minLength: 1, maxLength: 5 }),
  fc.integer({ min: 1, max: 99 }),
);
const stacks = fc.array(
  stack.map(([frames, value]) => `${frames.join(';')} ${value}`),
  { maxLength: 30 },
);

describe('a flame graph', () => {
  it('keeps every frame within its parent, beside its siblings, and loses no cycle', () => {
    fc.assert(
      fc.property(stacks, (lines) => {
        const frames = layOut(lines);
        const value = lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
        const tops = frames.filter(({ depth }) => depth === 0);
        expect(tops.reduce((sum, top) => sum + top.value, 0)).toBe(value);
        for (const [i, frame] of frames.entries()) {
          const parent = frames.slice(0, i).findLast(({ depth }) => depth === frame.depth - 1);
          if (frame.depth === 0) continue;
          expect(frame.start).toBeGreaterThanOrEqual(parent!.start);
          expect(frame.start + frame.value).toBeLessThanOrEqual(parent!.start + parent!.value);
        }
        for (const depth of new Set(frames.map((frame) => frame.depth))) {
          const row = frames.filter((frame) => frame.depth === depth);
          row.slice(1).forEach((frame, i) => {
            expect(frame.start).toBeGreaterThanOrEqual(row[i].start + row[i].value);
          });
        }
      }),
    );
  });

  it('is the same for the same stacks in any order', () => {
    fc.assert(
      fc.property(stacks, (lines) => {
        expect(layOut([...lines].reverse())).toEqual(layOut(lines));
      }),
    );
  });
});
