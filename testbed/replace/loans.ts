// What of the model lies in emulated memory, since compiled code works on it: it comes back when the model looks at it, and
// at the latest when the code has returned. What has come back damaged is told then.
import type { Recallable } from '../../bpf/lent.ts';
import { KernelStuck } from '../../mm/context.ts';

export class Loans {
  private readonly out = new Set<Recallable>();
  private damage: KernelStuck | null = null;

  add(one: Recallable): void {
    this.out.add(one);
  }

  /**
   * Reads what has come back.
   * @returns null if the reading throws KernelStuck, which is then told by {@link settle}
   */
  read<T>(reading: () => T): T | null {
    try {
      return reading();
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      this.damage ??= error;
      return null;
    }
  }

  /** Code has returned. @throws KernelStuck if it left something damaged */
  settle(): void {
    this.recall();
    const { damage } = this;
    this.damage = null;
    if (damage !== null) throw damage;
  }

  /** Code has ended otherwise: what it left is taken back as far as that can be. */
  drop(): void {
    this.recall();
    this.damage = null;
  }

  private recall(): void {
    for (const one of this.out) one.recall();
    this.out.clear();
  }
}
