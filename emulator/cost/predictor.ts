// A branch predictor of the TAGE kind (Seznec and Michaud, 2006): the longest history that has been seen before decides.
// Approximate: tables do not run full, targets are always known. It is here for loop bounds: an inner loop's exit is
// predicted if the history reaches back over its trips.

/** Lengths of the histories, branches; the measured core predicts exits of loops of up to 64 trips. */
const LENGTHS = [0, 4, 12, 32, 80, 200] as const;
/** A counter's range: at or above 0 means taken. */
const STRONG = 3;

export class BranchPredictor {
  private readonly counters = new Map<string, number>();
  private history = '';

  /**
   * Predicts a conditional branch, then learns what it did.
   * @returns true if the prediction was right
   */
  resolve(address: number, taken: boolean): boolean {
    const keys = LENGTHS.filter((length) => length <= this.history.length).map(
      (length) => `${address}:${this.history.slice(this.history.length - length)}`,
    );
    const known = keys.filter((key) => this.counters.has(key));
    const provider = known[known.length - 1];
    const counter = provider === undefined ? -1 : (this.counters.get(provider) ?? -1);
    const right = counter >= 0 === taken;
    if (provider !== undefined) {
      const next = counter + (taken ? 1 : -1);
      this.counters.set(provider, Math.max(-STRONG - 1, Math.min(STRONG, next)));
    }
    if (!right || provider === undefined) {
      const longer = keys[provider === undefined ? 0 : keys.indexOf(provider) + 1];
      if (longer !== undefined) this.counters.set(longer, taken ? 0 : -1);
    }
    const longest = LENGTHS[LENGTHS.length - 1];
    this.history = (this.history + (taken ? '1' : '0')).slice(-longest);
    return right;
  }
}
