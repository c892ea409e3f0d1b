// Where accesses go when nobody ran the code: an address is a symbol (what a register held) plus an offset. Accesses
// with one symbol overlap as their offsets say; accesses with different symbols are taken for apart.
import type { Access, CostedInstruction } from './instruction.ts';

/** Symbols lie this far apart, more than any offset a block reaches. */
const SPAN = 2 ** 34;

export class SymbolicAddresses {
  private readonly held: number[];
  private next = 1;

  constructor(values: number) {
    this.held = Array.from({ length: values }, () => this.fresh());
  }

  /** Addresses of an instruction's accesses, then its effect on the registers. */
  step(insn: CostedInstruction): number[] {
    const addresses = insn.accesses.map((access) => this.address(access));
    for (const effect of insn.effects) {
      this.held[effect.to] =
        effect.kind === 'copy' ? this.held[effect.from] + Number(effect.add) : this.fresh();
    }
    return addresses;
  }

  private address(access: Access): number {
    const base = access.base < 0 ? 0 : this.held[access.base];
    const index = access.index < 0 ? 0 : this.held[access.index] * access.scale;
    return base + index + Number(access.disp);
  }

  private fresh(): number {
    return this.next++ * SPAN;
  }
}
