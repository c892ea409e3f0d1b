// The project's own loops beside those of the bare library: the same work through the whole model. Each gives operations
// a CPU second; time is handed in.

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
} as const;

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
  private readonly single = scenarioOf(CODE.scenarios, [{ arena: 0 }]);

  constructor(host: RunHost, seconds: CpuSeconds) {
    this.host = host;
    this.seconds = seconds;
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

  private alu(arch: BenchArch, limit: number | 'none'): number {
    const scenario = scenarioOf(CODE.insns, [ALU_ROUNDS], { limits: { instructions: limit } });
    return (ALU_ROUNDS * INSTRUCTIONS.insns) / this.call(scenario, arch, 1);
  }

  /** CPU seconds of `times` runs of a call, its loading left out. */
  private call(scenario: Scenario, arch: BenchArch, times: number): number {
    const run = new WorldRun(this.host, scenario.worlds[arch]!);
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
