// Where accesses go when nobody ran the code: an address is a symbol (what a register held) plus an offset. Accesses
// with one symbol overlap as their offsets say; accesses with different symbols are taken for apart. Branches backwards
// and unconditional ones are taken for taken once, others not.
import type { Access, AddressEffect, CostedInstruction } from './instruction.ts';
import type { CostProgram, Passage, Places } from './program.ts';

/** Symbols lie this far apart, more than any offset a block reaches. */
const SPAN = 2 ** 34;

/** A count that nobody knows: a short one. */
const UNKNOWN_COUNT = 64;

export class SymbolicAddresses {
  private readonly held: number[];
  private readonly results = new Map<string, number>();
  private next = 1;

  /** @param values values of the core's numbering */
  constructor(values: number) {
    this.held = Array.from({ length: values }, () => this.fresh());
  }

  /** One straight run through a program. A jump is taken; a branch only if it is the last instruction. */
  passage(program: CostProgram): Passage {
    return program.map(({ insn }, at) => ({
      ...this.step(insn),
      at,
      taken: insn.flow === 'jump' || (insn.flow === 'branch' && lastOperation(program) <= at),
    }));
  }

  /** Addresses of an instruction's accesses, then its effect on the registers. */
  private step(insn: CostedInstruction): Places {
    const addresses = insn.accesses.map((access) => this.address(access));
    const count = insn.repeat === null ? 1 : this.held[insn.repeat.counter];
    for (const effect of insn.effects) this.held[effect.to] = this.after(effect);
    return { addresses, count: count < SPAN ? count : UNKNOWN_COUNT };
  }

  private after(effect: AddressEffect): number {
    if (effect.kind === 'unknown') return this.fresh();
    if (effect.kind === 'constant') return effect.value;
    if (effect.kind === 'function') return this.result(effect.name, effect.of);
    return this.held[effect.from] + effect.add;
  }

  private result(name: string, of: readonly number[]): number {
    const key = `${name} ${of.map((value) => this.held[value]).join(' ')}`;
    const known = this.results.get(key) ?? this.fresh();
    this.results.set(key, known);
    return known;
  }

  private address(access: Access): number {
    const base = access.base < 0 ? 0 : this.held[access.base];
    const index = access.index < 0 ? 0 : this.held[access.index] * access.scale;
    return base + index + access.disp;
  }

  private fresh(): number {
    return this.next++ * SPAN;
  }
}

/** Index of the last instruction, or of the one that it is fused with. */
const lastOperation = (program: CostProgram) =>
  program.at(-2)?.fusedWithNext === true ? program.length - 2 : program.length - 1;
