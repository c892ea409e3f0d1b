import { describe, expect, it } from 'vitest';
import { FrontEnd } from './front-end.ts';
import { move, testModel } from './test-core.ts';

const TIMES = 600;
// Decoders enough, so that finding the lengths binds: 8 a cycle in windows of 16 bytes.
const description = { ...testModel.frontEnd, decoders: 20, decodedSlots: 20 };

interface Shape {
  readonly length: number;
  readonly complex?: boolean;
}

/** Cycles that the legacy way takes for the code, copy behind copy. */
function unrolled(code: readonly Shape[], about = description): number {
  const frontEnd = new FrontEnd(about, false);
  let last = 0;
  for (let time = 0; time < TIMES; time++) {
    for (const shape of code) last = frontEnd.deliver({ ...move(0, 0), ...shape }, 0, false, 0);
  }
  return last / TIMES;
}

const ofLengths = (...lengths: number[]) => lengths.map((length) => ({ length }));

describe('the legacy front end', () => {
  it('takes a cycle for a window of no more instructions than it finds', () => {
    expect(unrolled(ofLengths(8, 8))).toBeCloseTo(1, 1);
    expect(unrolled(ofLengths(2, 2, 2, 2, 2, 2, 4))).toBeCloseTo(1, 1);
  });

  it('takes two for one of more, and one and a half on average between', () => {
    expect(unrolled(ofLengths(2, 2, 2, 2, 2, 2, 2, 1, 1))).toBeCloseTo(2, 1);
    expect(unrolled(ofLengths(2, 2, 2, 2, 2, 2, 2, 2))).toBeCloseTo(1.5, 1);
  });

  it('takes the same wherever instructions lie in their window', () => {
    const apart = unrolled(ofLengths(3, 1, 2, 2, 5, 2, 1, 3));
    expect(unrolled(ofLengths(1, 3, 2, 2, 5, 2, 3, 1))).toBeCloseTo(apart, 2);
    expect(unrolled(ofLengths(1, 1, 2, 2, 2, 3, 3, 5))).toBeCloseTo(apart, 2);
  });

  it('begins a cycle with a complex instruction, and ends the one before', () => {
    const four = { ...description, decoders: 4, decodedSlots: 4 };
    const complex = { length: 4, complex: true };
    const simple = { length: 4 };
    expect(unrolled([complex, simple, simple, simple], four)).toBeCloseTo(1, 1);
    expect(unrolled([complex, simple, simple, simple, simple], four)).toBeCloseTo(2, 1);
    expect(unrolled([simple, simple, complex, simple, simple], four)).toBeCloseTo(2, 1);
    expect(unrolled([complex, complex, simple], four)).toBeCloseTo(2, 1);
  });
});
