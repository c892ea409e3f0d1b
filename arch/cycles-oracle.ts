// Answers golden cycle cases: cycles of a basic block or of a whole function, and how well they agree with what was
// measured. Approximate by nature; the summary says by how much. Blocks are run on a vCPU where there is one, to see
// where they branch and what they touch; what it cannot run is costed as it stands.
import type { CostedInstruction } from '../emulator/cost/instruction.ts';
import { type CostProgram, type Passage, placeProgram } from '../emulator/cost/program.ts';
import { type CoreModel, steadyCycles } from '../emulator/cost/run.ts';
import { type Score, score } from '../emulator/cost/score.ts';
import { SymbolicAddresses } from '../emulator/cost/symbols.ts';
import { extendPassages, tracePassages } from '../emulator/cost/trace.ts';
import type { Disassembler } from '../emulator/disassembler.ts';
import type { Engine } from '../emulator/engine.ts';
import { arm64Costs, x86Costs } from './cost-models.ts';
import { CostMachine } from './x86/cost-machine.ts';
import {
  BLOCK_ADDRESS,
  blockState,
  DRIVER,
  DRIVER_ADDRESS,
  functionState,
  loopEnd,
} from './x86/cost-state.ts';

/** One line of a cycle file: a block (`bytes`, `mode`) or a function (`code`, `args`). */
export interface CycleCase {
  readonly id: string;
  readonly arch?: string;
  readonly cat?: string;
  readonly bytes?: string;
  readonly mode?: string;
  readonly insns?: number;
  /** What was measured; a case without it is answered and not scored. */
  readonly cycles_per_iter?: number;
  readonly code?: string;
  readonly code_addr?: string;
  readonly mem?: string;
  readonly mem_addr?: string;
  readonly args?: readonly string[];
}

export interface CycleAnswer {
  readonly id: string;
  readonly cycles: number;
}

export interface CycleGroup {
  readonly group: string;
  readonly model: Score;
  /** What counting instructions would give: one a cycle, and the core's full width a cycle. */
  readonly oneACycle: Score;
  readonly fullWidth: Score;
}

export interface CycleReport {
  readonly answers: readonly CycleAnswer[];
  readonly summary: readonly CycleGroup[];
  /** Cases without an answer, and why. */
  readonly unanswered: readonly { readonly id: string; readonly why: string }[];
}

export interface CycleDependencies {
  readonly disassembler: Disassembler;
  /** Without one every block is costed as it stands; branches and aliases are then guesses. */
  readonly engine: Engine | null;
  /** Another core for x86-64 code than the measured one; for fits. */
  readonly x86Model?: CoreModel;
}

/** Instructions of the shorter run, as many as in the measurements, and times through the code that are traced. */
const RUN_INSTRUCTIONS = 1200;
/** Instructions of all copies of an unrolled block in the measurements. */
const COPIED = 1200;
const TRACED = { passages: 8, steps: 64 } as const;
const WARM_CALLS = 12;
const MEASURED_CALLS = 8;
/** Microcode and memory-renaming effects, reported apart. */
const SYSTEM = new Set(['rep', 'call', 'branch', 'sys', 'lock', 'stack', 'fwd']);

/** A case that cannot be answered, and why. */
class UnanswerableError extends Error {}

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

class CycleRunner {
  private readonly disassembler: Disassembler;
  private readonly machine: CostMachine | null;
  private readonly x86Model: CoreModel;

  constructor({ disassembler, engine, x86Model = x86Costs.model }: CycleDependencies) {
    this.disassembler = disassembler;
    this.x86Model = x86Model;
    this.machine = engine === null ? null : new CostMachine(engine);
  }

  close(): void {
    this.machine?.close();
  }

  /** @throws UnanswerableError if the line lacks what its kind needs */
  answer(line: CycleCase): { readonly cycles: number; readonly instructions: number } {
    if (line.code !== undefined) return this.function(line);
    if (!line.bytes) throw new UnanswerableError('neither bytes nor code');
    return line.arch === 'arm64' ? this.arm64Block(line.bytes) : this.x86Block(line, line.bytes);
  }

  private decode(code: Uint8Array, address: number, arch: 'x86_64' | 'arm64'): CostedInstruction[] {
    const { decode } = arch === 'x86_64' ? x86Costs : arm64Costs;
    return this.disassembler.disassemble(code, { arch, address: BigInt(address) }).map(decode);
  }

  private arm64Block(hex: string) {
    const insns = this.decode(bytesOf(hex), BLOCK_ADDRESS, 'arm64');
    const program = placeProgram(insns, BLOCK_ADDRESS);
    const { model } = arm64Costs;
    return this.steady(model, program, symbolic(model, program), true, insns.length);
  }

  private x86Block(line: CycleCase, hex: string) {
    const loop = line.mode === 'loop';
    const block = bytesOf(hex);
    const code = loop ? new Uint8Array([...block, ...loopEnd(block.length)]) : block;
    const insns = this.decode(code, BLOCK_ADDRESS, 'x86_64');
    const program = placeProgram(insns, BLOCK_ADDRESS);
    const model = this.x86Model;
    const traced = this.trace(program, code, loop);
    const source = traced.length > 0 ? extendPassages(traced) : symbolic(model, program);
    return this.steady(model, program, source, loop, insns.length);
  }

  private trace(program: CostProgram, code: Uint8Array, loop: boolean): Passage[] {
    if (this.machine === null) return [];
    const state = this.machine.prepare(blockState(code, loop));
    return tracePassages(state, program, BLOCK_ADDRESS + code.length, TRACED);
  }

  private steady(
    model: CoreModel,
    program: CostProgram,
    source: (number: number) => Passage,
    loop: boolean,
    instructions: number,
  ) {
    const length = Math.max(1, source(0).length);
    const passages = Math.max(4, Math.floor(RUN_INSTRUCTIONS / length));
    return {
      cycles: steadyCycles(model, program, source, { loop, copied: COPIED, warm: 0, passages }),
      instructions,
    };
  }

  private function(line: CycleCase) {
    if (this.machine === null) throw new UnanswerableError('a function needs an engine to run');
    const { code, code_addr, mem = '', mem_addr, args = [] } = line;
    if (code === undefined || code_addr === undefined || mem_addr === undefined) {
      throw new UnanswerableError('a function needs code, code_addr and mem_addr');
    }
    const codeAddress = Number(code_addr);
    const bytes = bytesOf(code);
    const model = this.x86Model;
    const program = [
      ...placeProgram(this.decode(DRIVER, DRIVER_ADDRESS, 'x86_64'), DRIVER_ADDRESS),
      ...placeProgram(this.decode(bytes, codeAddress, 'x86_64'), codeAddress),
    ];
    const traced = tracePassages(
      this.machine.prepare(
        functionState({
          code: bytes,
          codeAddress,
          memory: bytesOf(mem),
          memoryAddress: Number(mem_addr),
          args: args.map(BigInt),
        }),
      ),
      program,
      DRIVER_ADDRESS + DRIVER.length,
      { passages: WARM_CALLS + MEASURED_CALLS, steps: Number.POSITIVE_INFINITY },
    );
    if (traced.length === 0) throw new UnanswerableError('the function could not be run');
    const shape = { loop: true, copied: 0, warm: WARM_CALLS, passages: MEASURED_CALLS };
    const last = traced[traced.length - 1];
    return {
      cycles: steadyCycles(model, program, (number) => traced[number] ?? last, shape),
      instructions: last.length,
    };
  }
}

function symbolic(model: CoreModel, program: CostProgram): (number: number) => Passage {
  const addresses = new SymbolicAddresses(program, model.core.values);
  const passages: Passage[] = [];
  return (number) => {
    while (passages.length <= number) passages.push(addresses.passage());
    return passages[number];
  };
}

/** Groups a case is reported in: its category, and core or system, whole functions, or the arm64 reference. */
function groupsOf(line: CycleCase): string[] {
  if (line.code !== undefined) return ['functions'];
  const { cat = 'blocks' } = line;
  if (line.arch === 'arm64') return ['arm64', `arm64 ${cat}`];
  if (cat === 'bhive') return ['bhive'];
  return [SYSTEM.has(cat) ? 'system' : 'core', cat];
}

interface Row {
  readonly measured: number;
  readonly predicted: number;
  readonly instructions: number;
  readonly width: number;
}

function summarize(group: string, rows: readonly Row[]): CycleGroup {
  const against = (predict: (row: Row) => number) =>
    score(rows.map((row) => ({ measured: row.measured, predicted: predict(row) })));
  return {
    group,
    model: against((row) => row.predicted),
    oneACycle: against((row) => row.instructions),
    fullWidth: against((row) => row.instructions / row.width),
  };
}

/**
 * @param lines cases as JSON.parse gives them
 * @returns an answer for every case that can be answered, and per group how they agree
 */
export function cycleOracle(lines: readonly CycleCase[], deps: CycleDependencies): CycleReport {
  const runner = new CycleRunner(deps);
  const answers: CycleAnswer[] = [];
  const unanswered: { id: string; why: string }[] = [];
  const groups = new Map<string, Row[]>();
  try {
    for (const line of lines) {
      try {
        const { cycles: predicted, instructions } = runner.answer(line);
        answers.push({ id: line.id, cycles: predicted });
        const { width } = (line.arch === 'arm64' ? arm64Costs : x86Costs).model.core;
        const row = { measured: line.cycles_per_iter ?? 0, predicted, instructions, width };
        // Without a measured figure there is an answer and nothing to compare.
        if (!(row.measured > 0)) continue;
        for (const group of groupsOf(line)) groups.set(group, [...(groups.get(group) ?? []), row]);
      } catch (error) {
        if (!(error instanceof UnanswerableError)) throw error;
        unanswered.push({ id: line.id, why: error.message });
      }
    }
  } finally {
    runner.close();
  }
  const summary = [...groups].map(([group, rows]) => summarize(group, rows));
  return { answers, summary, unanswered };
}
