// Numbers by chance that a seed gives again: case n of a seed is the same whatever ran before it.

export class Random {
  private state: number;

  /** @param seed and @param index any whole numbers below 2^53; each pair has a stream of its own */
  constructor(seed: number, index: number) {
    this.state = mix(mix(seed >>> 0) ^ mix(Math.floor(seed / 2 ** 32) + 1) ^ mix(index + 0x9e37));
  }

  /** 32 bits, unsigned: splitmix32. */
  next(): number {
    this.state = (this.state + 0x9e37_79b9) >>> 0;
    return mix(this.state);
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.next() / 2 ** 32) * n);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.next() < p * 2 ** 32;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.next() & 0xff);
  }
}

/** The finaliser of MurmurHash3, a bijection of 32 bits. */
function mix(value: number): number {
  let z = value >>> 0;
  z = Math.imul(z ^ (z >>> 16), 0x85eb_ca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2_ae35);
  return (z ^ (z >>> 16)) >>> 0;
}
