// State of the model that lies in emulated memory for a while, where compiled code works on it: whoever looks at it here has
// it fetched first.

/** Something that can be away. */
export interface Recallable {
  /** Has it fetched, if it is away. */
  recall(): void;
}

/** Where the value of a {@link Recallable} is. */
export class Lent<T> {
  private fetch: (() => T | null) | null = null;

  get isOut(): boolean {
    return this.fetch !== null;
  }

  /** @param fetch brings the value back; null: it is damaged, and what was here before stays */
  lend(fetch: () => T | null): void {
    this.fetch = fetch;
  }

  /** The value is here again, as somebody else knows it. */
  forget(): void {
    this.fetch = null;
  }

  /** @returns what has become of the value; null: nothing */
  fetchBack(): T | null {
    const { fetch } = this;
    this.fetch = null;
    return fetch?.() ?? null;
  }
}
