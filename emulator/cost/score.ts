// How well predicted cycles agree with measured ones: the usual figures for models of basic blocks.

export interface Pair {
  readonly measured: number;
  readonly predicted: number;
}

export interface Score {
  readonly n: number;
  /** Mean absolute percentage error, 0 to 100 and more. */
  readonly mape: number;
  /** Median of the absolute percentage errors. */
  readonly median: number;
  /** Percentage of pairs within 10 and within 25 per cent. */
  readonly within10: number;
  readonly within25: number;
  /** Kendall's tau-b, -1 to 1; NaN where either side has one value only. */
  readonly tau: number;
}

/** Kendall's tau-b: do the predictions put the cases in the measured order, ties allowed for? */
export function kendallTau(pairs: readonly Pair[]): number {
  let agreement = 0;
  let measuredApart = 0;
  let predictedApart = 0;
  for (let i = 0; i < pairs.length; i++) {
    for (let j = 0; j < i; j++) {
      const measured = Math.sign(pairs[i].measured - pairs[j].measured);
      const predicted = Math.sign(pairs[i].predicted - pairs[j].predicted);
      agreement += measured * predicted;
      if (measured !== 0) measuredApart++;
      if (predicted !== 0) predictedApart++;
    }
  }
  return agreement / Math.sqrt(measuredApart * predictedApart);
}

/** @throws RangeError without a pair, or where a measured figure is not above 0 */
export function score(pairs: readonly Pair[]): Score {
  if (pairs.length === 0) throw new RangeError('nothing to score');
  const errors = pairs.map(({ measured, predicted }) => {
    if (!(measured > 0)) throw new RangeError(`measured cycles must be above 0: ${measured}`);
    return (100 * Math.abs(predicted - measured)) / measured;
  });
  errors.sort((a, b) => a - b);
  const middle = errors.length >> 1;
  const share = (limit: number) =>
    (100 * errors.filter((error) => error <= limit).length) / errors.length;
  return {
    n: errors.length,
    mape: errors.reduce((sum, error) => sum + error, 0) / errors.length,
    median: errors.length % 2 === 1 ? errors[middle] : (errors[middle - 1] + errors[middle]) / 2,
    within10: share(10),
    within25: share(25),
    tau: kendallTau(pairs),
  };
}
