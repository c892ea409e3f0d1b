// Chance from a seed, for tests that draw whole configurations: Mulberry32.

export class Dice {
  private state: number;

  /** @param seed 32 bits */
  constructor(seed: number) {
    this.state = Math.imul(seed, 0x9e37_79b1) ^ 0x5eed;
  }

  /** 0 to n - 1 */
  below(n: number): number {
    this.state = (this.state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n);
  }

  /** True once in n. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  word64(): bigint {
    return (BigInt(this.below(2 ** 32)) << 32n) | BigInt(this.below(2 ** 32));
  }

  /** `word` with each bit kept half of the time. */
  some(word: bigint): bigint {
    return this.word64() & word;
  }
}

/** Bit `at`, if `on`. */
export const flag = (at: number, on: boolean): bigint => (on ? 1n << BigInt(at) : 0n);
