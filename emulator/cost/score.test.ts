import { describe, expect, it } from 'vitest';
import { kendallTau, score } from './score.ts';

const pairs = (measured: readonly number[], predicted: readonly number[]) =>
  measured.map((value, i) => ({ measured: value, predicted: predicted[i] }));

describe('score', () => {
  it('takes percentage errors of the measured value', () => {
    const { n, mape, median, within10, within25 } = score(pairs([1, 2, 4], [1.05, 1, 4]));
    expect(n).toBe(3);
    expect(mape).toBeCloseTo(55 / 3, 10);
    expect(median).toBeCloseTo(5, 10);
    expect(within10).toBeCloseTo(200 / 3, 10);
    expect(within25).toBeCloseTo(200 / 3, 10);
  });

  it('refuses what has no percentage', () => {
    expect(() => score([])).toThrow(RangeError);
    expect(() => score(pairs([0], [1]))).toThrow(RangeError);
  });
});

describe("Kendall's tau-b", () => {
  it('is 1 for the same order, -1 for the reverse', () => {
    expect(kendallTau(pairs([1, 2, 3], [10, 20, 30]))).toBe(1);
    expect(kendallTau(pairs([1, 2, 3], [3, 2, 1]))).toBe(-1);
  });

  it('allows for ties on either side', () => {
    // By hand: pairs (1,2) agree, (1,3) agree, (2,3) tied in the measured values alone.
    expect(kendallTau(pairs([1, 2, 2], [1, 2, 3]))).toBeCloseTo(2 / Math.sqrt(2 * 3), 12);
  });
});
