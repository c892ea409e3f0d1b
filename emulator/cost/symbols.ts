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
  private readonly program: CostProgram;
  /** Per instruction, those of its effects that an address may come to depend on. */
  private readonly effects: readonly (readonly AddressEffect[])[];
  private readonly held: number[];
  private readonly results = new Map<string, number>();
  private next = 1;

  /** @param values values of the core's numbering */
  constructor(program: CostProgram, values: number) {
    this.program = program;
    const followed = followedValues(program);
    this.effects = program.map(({ insn }) => insn.effects.filter(({ to }) => followed.has(to)));
    this.held = Array.from({ length: values }, () => this.fresh());
  }

  /** One straight run through the program. A jump is taken; a branch only if it is the last instruction. */
  passage(): Passage {
    const last = lastOperation(this.program);
    return this.program.map(({ insn }, at) => {
      const { addresses, count } = this.step(insn, this.effects[at]);
      const taken = insn.flow === 'jump' || (insn.flow === 'branch' && last <= at);
      return { addresses, count, at, taken };
    });
  }

  /** Addresses of an instruction's accesses, then its effect on the registers. */
  private step(insn: CostedInstruction, effects: readonly AddressEffect[]): Places {
    const addresses = insn.accesses.map((access) => this.address(access));
    const count = insn.repeat === null ? 1 : this.held[insn.repeat.counter];
    for (const effect of effects) this.held[effect.to] = this.after(effect);
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

/** Values that addresses and counts are computed of, at once or through others. */
function followedValues(program: CostProgram): ReadonlySet<number> {
  const insns = program.map(({ insn }) => insn);
  const followed = new Set(
    insns.flatMap(({ accesses, repeat }) => [
      ...accesses.flatMap(({ base, index }) => [base, index]),
      repeat?.counter ?? -1,
    ]),
  );
  const effects = insns.flatMap((insn) => insn.effects);
  for (let before = 0; before !== followed.size; ) {
    before = followed.size;
    for (const effect of effects) {
      if (followed.has(effect.to)) for (const value of sourcesOf(effect)) followed.add(value);
    }
  }
  return followed;
}

function sourcesOf(effect: AddressEffect): readonly number[] {
  if (effect.kind === 'copy') return [effect.from];
  return effect.kind === 'function' ? effect.of : [];
}
