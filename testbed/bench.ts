// The project's own loops beside those of the bare library: the same work through the whole model. Each gives operations
// a CPU second; time is handed in.

import { hi32, lo32 } from '../emulator/bits.ts';
import { READ } from '../emulator/engine.ts';
import { Costing, type Grain } from './costing.ts';
import type { Machines } from './machines.ts';
import { ARCHITECTURES, type RunHost, WorldRun } from './run.ts';
import type { CallStep, Scenario } from './scenario.ts';
import { parseScenario } from './scenario.ts';

export type BenchArch = keyof typeof ARCHITECTURES;

/** Seconds of CPU time used so far. */
export type CpuSeconds = () => number;

const FAULT_PAGES = 100_000;
const ALU_ROUNDS = 50_000_000;
const COPY_ROUNDS = 65_536;
const COPY_CALLS = 64;
const SCENARIOS = 300;
const WALKS = 1_000_000;
const WALK_PAGES = 64;
const PAGE = 4096;
/** Machines that keep their places while others are measured. */
const MOST_KEPT = 6;

const CODE = {
  /** (base, count): a store to each of `count` pages. */
  faults: {
    x86_64: 'mov rcx, rsi\n1: mov [rdi], rax\nadd rdi, 4096\ndec rcx\njnz 1b\nret',
    arm64: '1: str x0, [x0]\nadd x0, x0, #4096\nsubs x1, x1, #1\nb.ne 1b\nret',
  },
  /** (count): the floor's loop of four. */
  insns: {
    x86_64: 'mov rcx, rdi\n1: add rax, rbx\nxor rdx, rax\ndec rcx\njnz 1b\nret',
    arm64: 'mov x2, x0\n1: add x0, x0, x3\neor x4, x4, x0\nsubs x2, x2, #1\nb.ne 1b\nret',
  },
  /** (to, from, count): eight bytes at a time. */
  copy: {
    x86_64:
      'mov rcx, rdx\n1: mov r8, [rsi]\nmov [rdi], r8\nadd rsi, 8\nadd rdi, 8\ndec rcx\njnz 1b\nret',
    arm64: '1: ldr x5, [x1], #8\nstr x5, [x0], #8\nsubs x2, x2, #1\nb.ne 1b\nret',
  },
  /** (base): four stores to empty pages, as the floor's `cases`. */
  scenarios: {
    x86_64:
      'mov [rdi], rax\nmov [rdi + 0x1000], rax\nmov [rdi + 0x2000], rax\nmov [rdi + 0x3000], rax\nret',
    arm64:
      'str x0, [x0]\nadd x1, x0, #0x1000\nstr x0, [x1]\nadd x1, x0, #0x2000\nstr x0, [x1]\nadd x1, x0, #0x3000\nstr x0, [x1]\nret',
  },
  /**
   * (to, from, rounds): a bit of everything, in blocks of five instructions: eight words copied and summed, a branch that
   * is taken three times of four, a call.
   */
  mixed: {
    x86_64: `1: mov ecx, 8
2: mov r8, [rsi + rcx*8]
add r8, rax
mov [rdi + rcx*8], r8
dec rcx
jnz 2b
test dl, 3
jnz 3f
imul rax, rdx
xor rax, r8
3: call 4f
dec rdx
jnz 1b
ret
4: lea rax, [rax + rdx*4 + 1]
ror rax, 7
push rax
pop r9
ret`,
    arm64: `mov x9, x30
1: mov x3, #8
2: ldr x4, [x1, x3, lsl #3]
add x4, x4, x5
str x4, [x0, x3, lsl #3]
subs x3, x3, #1
b.ne 2b
tst x2, #3
b.ne 3f
mul x5, x5, x2
eor x5, x5, x4
3: bl 4f
subs x2, x2, #1
b.ne 1b
mov x30, x9
ret
4: add x5, x5, x2, lsl #2
ror x5, x5, #7
str x5, [sp, #-16]!
ldr x6, [sp], #16
ret`,
  },
} as const;

const MIXED_ROUNDS = 300_000;
/** With every access followed, which takes several times longer. */
const EXACT_ROUNDS = 30_000;

const INSTRUCTIONS = { insns: 4, copy: { x86_64: 6, arm64: 4 } } as const;

function scenarioOf(code: object, args: readonly unknown[], more: object = {}): Scenario {
  const document = { arch: Object.keys(ARCHITECTURES), code, args, ...more };
  return parseScenario(JSON.stringify(document), 'bench', () => {
    throw new RangeError('a benchmark names no files');
  });
}

/** Loops by name, as `ratios` of the benchmark names them. */
export class Bench {
  private readonly host: RunHost;
  private readonly seconds: CpuSeconds;
  private readonly machinesAnew: () => Machines;
  private readonly single = scenarioOf(CODE.scenarios, [{ arena: 0 }]);

  /** @param machinesAnew makes machines that nothing has run on */
  constructor(host: RunHost, seconds: CpuSeconds, machinesAnew: () => Machines) {
    this.host = host;
    this.seconds = seconds;
    this.machinesAnew = machinesAnew;
  }

  /** Recovered faults, the whole way: walk, kernel path, install, report, retry. Pages a second. */
  faults(arch: BenchArch): number {
    const scenario = scenarioOf(CODE.faults, [{ arena: 0 }, FAULT_PAGES]);
    return FAULT_PAGES / this.call(scenario, arch, 1);
  }

  /** The ALU loop without a limit. Instructions a second. */
  insns(arch: BenchArch): number {
    return this.alu(arch, 'none');
  }

  /** The ALU loop with instructions counted against a limit. */
  insnsLimited(arch: BenchArch): number {
    return this.alu(arch, ALU_ROUNDS * 5);
  }

  /** The copy loop between two pieces of kernel memory. Instructions a second. */
  copy(arch: BenchArch): number {
    const buffer = { buffer_size: COPY_ROUNDS * 8 };
    const scenario = scenarioOf(CODE.copy, [buffer, buffer, COPY_ROUNDS]);
    const seconds = this.call(scenario, arch, COPY_CALLS);
    return (COPY_ROUNDS * COPY_CALLS * INSTRUCTIONS.copy[arch]) / seconds;
  }

  /** The mixed program with its cycles counted, the reckoning included. Instructions a second. */
  cyclesOn(arch: BenchArch, grain: Grain = 'fast'): number {
    const buffer = { buffer_size: 0x1000 };
    const rounds = grain === 'exact' ? EXACT_ROUNDS : MIXED_ROUNDS;
    const scenario = scenarioOf(CODE.mixed, [buffer, buffer, rounds], {
      limits: { instructions: 'none' },
    });
    const costing = new Costing(ARCHITECTURES[arch], this.host.disassembler, grain);
    const run = new WorldRun(this.host, scenario.worlds[arch]!, { costing });
    try {
      const call = run.startCall(run.steps[0] as CallStep);
      const before = this.seconds();
      const end = call.vcpu.runCall(call.limit);
      const { seen } = run.endCall(call, end);
      const seconds = this.seconds() - before;
      if (seen.kind !== 'call' || seen.outcome !== 'returned' || !seen.cycles) {
        throw new Error('the mixed program did not return with its cycles');
      }
      if (seen.instructions !== this.mixed(arch, rounds).instructions) {
        throw new Error(`the mixed program took ${seen.instructions} instructions`);
      }
      return seen.instructions / seconds;
    } finally {
      run.close();
    }
  }

  /** The mixed program's code, and the instructions of {@link cyclesOn} that it retires. */
  mixed(
    arch: BenchArch,
    rounds = MIXED_ROUNDS,
  ): { code: Uint8Array; rounds: number; instructions: number } {
    const { bytes } = this.host.assembler.assemble(CODE.mixed[arch], { arch, address: 0n });
    // The short way of three rounds in four.
    const perRound = 1 + 8 * 5 + 2 + 3 + 5;
    const frame = arch === 'x86_64' ? 1 : 3;
    const instructions = rounds * perRound + (rounds / 4) * 2 + frame;
    return { code: bytes, rounds, instructions };
  }

  /** Whole scenarios of one call, from set-up to comparison. Scenarios a second. */
  scenarios(arch: BenchArch): number {
    const world = this.single.worlds[arch]!;
    const before = this.seconds();
    for (let i = 0; i < SCENARIOS; i++) {
      const run = new WorldRun(this.host, world);
      run.runStep(run.steps[0]);
      run.close();
    }
    return SCENARIOS / (this.seconds() - before);
  }

  /**
   * Walks of four levels that reach a page and have nothing left to set, by the paging unit alone. Walks a second; a walk
   * is to cost half of an answered fill of the bare library at most.
   */
  walkHit(arch: BenchArch): number {
    const run = new WorldRun(this.host, this.single.worlds[arch]!);
    try {
      const start = run.kernel.allocBuffer(new Uint8Array(WALK_PAGES * PAGE));
      const { paging } = run.kernel.cpus[0];
      const [hi, lo] = [hi32(start), lo32(start)];
      if (paging.inspect(start, READ).levels.length !== 4) throw new Error('not four levels');
      const before = this.seconds();
      for (let i = 0; i < WALKS; i++) {
        if (!paging.walk(hi, lo + (i % WALK_PAGES) * PAGE, READ, true)) {
          throw new Error('the benchmark walked to no page');
        }
      }
      return WALKS / (this.seconds() - before);
    } finally {
      run.close();
    }
  }

  /**
   * On a new machine, as the floor's, and while those before are still there: where translated code comes to lie makes a
   * short loop up to three times slower, here as there, and a machine that is made when another is gone takes its place.
   */
  private alu(arch: BenchArch, limit: number | 'none'): number {
    const scenario = scenarioOf(CODE.insns, [ALU_ROUNDS], { limits: { instructions: limit } });
    const machines = this.machinesAnew();
    this.kept.push(machines);
    const seconds = this.call(scenario, arch, 1, { ...this.host, machines });
    if (this.kept.length > MOST_KEPT) this.kept.shift()?.close();
    return (ALU_ROUNDS * INSTRUCTIONS.insns) / seconds;
  }

  private readonly kept: Machines[] = [];

  /** Frees what the loops have kept. */
  close(): void {
    for (const machines of this.kept.splice(0)) machines.close();
  }

  /** CPU seconds of `times` runs of a call, its loading left out. */
  private call(scenario: Scenario, arch: BenchArch, times: number, host = this.host): number {
    const run = new WorldRun(host, scenario.worlds[arch]!);
    try {
      let seconds = 0;
      const call = run.startCall(run.steps[0] as CallStep);
      for (let i = 0; i < times; i++) {
        if (i > 0) call.enter();
        const before = this.seconds();
        const end = call.vcpu.runCall(call.limit);
        seconds += this.seconds() - before;
        if (end.outcome !== 'returned')
          throw new Error(`the benchmark's loop ended as ${end.outcome}`);
      }
      return seconds;
    } finally {
      run.close();
    }
  }
}
