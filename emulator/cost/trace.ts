// Runs code on a vCPU one instruction at a time and notes what the scoreboard wants to know: which instruction came,
// where its accesses went, whether it jumped. Addresses are computed from the registers before each step.
import { virtAddr } from '../address.ts';
import { s64, u64 } from '../bits.ts';
import type { Cpu } from '../engine.ts';
import type { Access } from './instruction.ts';
import type { CostProgram, Passage, TraceStep } from './program.ts';

/** A vCPU that stands at the program's first instruction. */
export interface TracedCpu {
  readonly cpu: Cpu;
  /** Index in the description's general registers of each value number; -1 for values that are no such register. */
  readonly registerOf: readonly number[];
}

export interface TraceLimits {
  /** Times through the program. */
  readonly passages: number;
  /** Instructions in all, after which no fourth or later passage is begun. */
  readonly steps: number;
}

/** Instructions of one passage, after which the code is taken to be caught in a loop. */
const PASSAGE_LIMIT = 100_000;

class Tracer {
  private readonly cpu: Cpu;
  private readonly registerOf: readonly number[];
  private readonly program: CostProgram;
  private readonly indexOf: ReadonlyMap<bigint, number>;
  private readonly registers: BigUint64Array;
  private readonly ipIndex: number;

  constructor({ cpu, registerOf }: TracedCpu, program: CostProgram) {
    this.cpu = cpu;
    this.registerOf = registerOf;
    this.program = program;
    this.indexOf = new Map(program.map(({ address }, at) => [BigInt(address), at]));
    const { general, instructionPointer } = cpu.description;
    this.registers = new BigUint64Array(general.length);
    this.ipIndex = general.indexOf(instructionPointer);
  }

  /** @returns null if the code left the program or stopped */
  passage(first: bigint, end: bigint): Passage | null {
    const steps: TraceStep[] = [];
    this.cpu.readGeneral(this.registers);
    let ip = this.registers[this.ipIndex];
    do {
      const at = this.indexOf.get(ip);
      if (at === undefined || steps.length === PASSAGE_LIMIT) return null;
      const { insn, address } = this.program[at];
      const next = BigInt(address + this.length(at));
      const addresses = insn.accesses.map((access) => this.addressOf(access, next));
      const count = insn.repeat === null ? 1 : Number(this.value(insn.repeat.counter));
      if (!this.step(insn.repeat !== null, next)) return null;
      this.cpu.readGeneral(this.registers);
      ip = this.registers[this.ipIndex];
      steps.push({ at, addresses, count, taken: ip !== next });
    } while (ip !== first && ip !== end);
    return steps;
  }

  /** Bytes of an instruction without the branch that is fused to it. */
  private length(at: number): number {
    const { insn, fusedWithNext } = this.program[at];
    return insn.length - (fusedWithNext ? this.program[at + 1].insn.length : 0);
  }

  private step(repeats: boolean, next: bigint): boolean {
    if (!repeats) return this.cpu.step().reason === 'limit';
    this.cpu.setExits([virtAddr(next)]);
    const stop = this.cpu.run(Number.POSITIVE_INFINITY);
    this.cpu.setExits([]);
    return stop.reason === 'exit';
  }

  private value(number: number): bigint {
    const index = this.registerOf[number] ?? -1;
    return index < 0 ? 0n : this.registers[index];
  }

  private addressOf({ base, index, scale, disp, relative }: Access, next: bigint): number {
    let address = BigInt(disp) + (relative ? next : 0n);
    if (base >= 0) address += this.value(base);
    if (index >= 0) address += s64(this.value(index)) * BigInt(scale);
    // Doubles hold addresses of the upper half inexactly; their distances matter, not the half.
    return Number(BigInt.asUintN(52, u64(address)));
  }
}

/**
 * @param traced a vCPU at the program's first instruction; where the program ends it is set back there
 * @returns what each passage did; empty if the first could not be run to its end
 */
export function tracePassages(
  traced: TracedCpu,
  program: CostProgram,
  end: number,
  limits: TraceLimits,
): Passage[] {
  const tracer = new Tracer(traced, program);
  const { cpu } = traced;
  const first = BigInt(program[0].address);
  const passages: Passage[] = [];
  let steps = 0;
  while (passages.length < limits.passages && (steps < limits.steps || passages.length < 3)) {
    cpu.writeRegister(cpu.description.instructionPointer, first);
    const passage = tracer.passage(first, BigInt(end));
    if (passage === null) break;
    passages.push(passage);
    steps += passage.length;
  }
  return passages;
}

/**
 * Goes on where the traced passages end: the last one again and again, its accesses moving on as from the one before.
 */
export function extendPassages(passages: readonly Passage[]): (number: number) => Passage {
  const last = passages[passages.length - 1];
  const before = passages[passages.length - 2];
  const same =
    before !== undefined &&
    before.length === last.length &&
    before.every((step, i) => step.at === last[i].at);
  return (number) => {
    const beyond = number - passages.length + 1;
    if (beyond <= 0) return passages[number];
    if (!same) return last;
    return last.map((step, i) => ({
      ...step,
      addresses: step.addresses.map(
        (address, n) => address + beyond * (address - before[i].addresses[n]),
      ),
    }));
  };
}
