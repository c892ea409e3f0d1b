// A set-associative memory of numbers (lines, pages) that replaces what was not used for the longest time in its set.
export class SetCache {
  private readonly sets: number;
  private readonly ways: number;
  /** Of each set the most recently used first; -1 is empty. */
  private readonly held: Float64Array;

  /** @param entries in all, a multiple of `ways` or fewer than that */
  constructor(entries: number, ways: number) {
    this.ways = Math.min(entries, ways);
    this.sets = Math.max(1, Math.floor(entries / this.ways));
    this.held = new Float64Array(this.sets * this.ways).fill(-1);
  }

  /** Uses a number, which is held from then on. @returns true if it was before */
  touch(number: number): boolean {
    const first = (number % this.sets) * this.ways;
    const { held } = this;
    let at = first;
    const last = first + this.ways - 1;
    while (at < last && held[at] !== number) at++;
    const hit = held[at] === number;
    for (; at > first; at--) held[at] = held[at - 1];
    held[first] = number;
    return hit;
  }

  clear(): void {
    this.held.fill(-1);
  }
}
