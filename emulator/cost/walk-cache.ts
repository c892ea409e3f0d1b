// The paging-structure caches of one vCPU: upper entries of page tables that walks need not read again. What is
// remembered are finished descents; any invalidation forgets all of them, as INVLPG does with those of its PCID.
// Approximate: sizes are estimates, replacement is least recently used, and other address spaces are not told apart.

/** The entries that a walk read, from the root to where it ended. */
export interface WalkSteps {
  readonly length: number;
  /** log2 of what each entry maps. */
  readonly shift: ArrayLike<number>;
}

/** Entries that map less than this lead to the last tables. */
const LOWER_SHIFT = 30;
const TWO_32 = 2 ** 32;

export class WalkCache {
  private readonly levels = new Map<number, Map<number, true>>();
  private readonly upperEntries: number;
  private readonly lowerEntries: number;

  /** @param upperEntries of each upper level. @param lowerEntries of the level that leads to the last tables */
  constructor(upperEntries: number, lowerEntries: number) {
    this.upperEntries = upperEntries;
    this.lowerEntries = lowerEntries;
  }

  /**
   * A walk was made.
   * @param hi upper and @param lo lower 32 bits of its address
   * @returns how many of its entries, from the root on, it had not to read
   */
  walked(hi: number, lo: number, { length, shift }: WalkSteps): number {
    const address = hi * TWO_32 + lo;
    let known = 0;
    for (let step = length - 2; step >= 0 && known === 0; step--) {
      if (this.level(shift[step]).has(tag(address, shift[step]))) known = step + 1;
    }
    for (let step = 0; step < length - 1; step++) this.remember(address, shift[step]);
    return known;
  }

  clear(): void {
    this.levels.clear();
  }

  private level(shift: number): Map<number, true> {
    let level = this.levels.get(shift);
    if (level === undefined) {
      level = new Map();
      this.levels.set(shift, level);
    }
    return level;
  }

  private remember(address: number, shift: number): void {
    const level = this.level(shift);
    const key = tag(address, shift);
    level.delete(key);
    level.set(key, true);
    const most = shift < LOWER_SHIFT ? this.lowerEntries : this.upperEntries;
    if (level.size > most) level.delete(level.keys().next().value as number);
  }
}

/** Addresses of the upper half lose low bits as Numbers; what is left above 2 MiB is exact. */
const tag = (address: number, shift: number): number => Math.floor(address / 2 ** shift);
