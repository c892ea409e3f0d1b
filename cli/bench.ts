// faultline bench: the project's speed beside the bare library's, in one run, as ratios. Ours and the floor take turns,
// so that a machine whose speed drifts moves both, and the best of each is compared: others on the machine only ever slow
// a loop down, a short one of translated code by half and more.
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { openFloor, runUnderBlockHook } from '../emulator/unicorn/floor.ts';
import { HOOKED_DATA } from '../emulator/unicorn/floor-hooked.ts';
import { Bench, type BenchArch } from '../testbed/bench.ts';
import { Machines } from '../testbed/machines.ts';
import { EXIT } from './errors.ts';
import { loadHost } from './host.ts';
import type { Io } from './io.ts';

interface BenchOptions {
  readonly json?: boolean;
  /** Pairs of each loop. */
  readonly pairs?: number;
}

const ARCHS: readonly BenchArch[] = ['x86_64', 'arm64'];

/** Ours against the floor's loop of this name. */
const LOOPS = [
  ['faults', 'faults', (bench: Bench, arch: BenchArch) => bench.faults(arch)],
  ['insns', 'insns', (bench: Bench, arch: BenchArch) => bench.insns(arch)],
  ['insns_limited', 'insns', (bench: Bench, arch: BenchArch) => bench.insnsLimited(arch)],
  ['copy', 'copy', (bench: Bench, arch: BenchArch) => bench.copy(arch)],
  ['scenarios', 'cases', (bench: Bench, arch: BenchArch) => bench.scenarios(arch)],
  ['cycles_on', 'hooked', (bench: Bench, arch: BenchArch) => bench.cyclesOn(arch)],
  ['cycles_exact', 'hooked', (bench: Bench, arch: BenchArch) => bench.cyclesOn(arch, 'exact')],
  // Each fault of the bare loop is a fill whose callback answers without looking at anything.
  ['walk_hit', 'faults', (bench: Bench, arch: BenchArch) => bench.walkHit(arch)],
] as const;

/** Pairs that are not counted: until ours is no faster than in the pairs before, and no more than so many. */
const MOST_WARM_UP = 16;
/** As many pairs in a row without a gain end the warm-up. */
const AT_REST = 3;
/** A gain is more than this part. */
const GAIN = 0.02;

/** The mixed program under an empty block hook. Instructions a second. */
function hooked(bench: Bench, arch: BenchArch): number {
  const { code, rounds, instructions } = bench.mixed(arch);
  const places = [HOOKED_DATA, HOOKED_DATA + 0x1000, rounds];
  const names = arch === 'x86_64' ? ['rdi', 'rsi', 'rdx'] : ['x0', 'x1', 'x2'];
  const registers = Object.fromEntries(names.map((name, i) => [name, places[i]]));
  return instructions / runUnderBlockHook({ arch, code, registers }, cpuSeconds);
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** @returns the exit code */
export async function benchCommand({ json, pairs = 9 }: BenchOptions, io: Io): Promise<number> {
  const bench = new Bench(await loadHost(), cpuSeconds, () => new Machines(unicornEngine()));
  const floor = openFloor();
  const ratios: Record<string, number> = {};
  const details: Record<string, { ours: number[]; bare: number[]; unit: string }> = {};
  for (const [name, bareName, loop] of LOOPS) {
    for (const arch of ARCHS) {
      const key = `${name}.${arch}`;
      const ours: number[] = [];
      const bare: number[] = [];
      const pair = (): [number, number] => [
        loop(bench, arch),
        bareName === 'hooked' ? hooked(bench, arch) : floor.run(`${bareName}.${arch}`),
      ];
      warmUp(() => pair()[0]);
      for (let i = 0; i < pairs; i++) {
        const [mine, theirs] = pair();
        ours.push(mine);
        bare.push(theirs);
      }
      const [best, bareBest] = [Math.max(...ours), Math.max(...bare)];
      ratios[key] = Number((best / bareBest).toFixed(3));
      details[key] = { ours, bare, unit: 'operations a CPU second' };
      if (!json) {
        const line = `${key.padEnd(24)} ${ratios[key].toFixed(2).padStart(6)}  ${perSecond(best)} (bare ${perSecond(bareBest)})`;
        io.out(`${line}\n`);
      }
    }
  }
  bench.close();
  if (json) io.out(`${JSON.stringify({ ratios, details }, null, 2)}\n`);
  return EXIT.ok;
}

/** The just-in-time compiler comes to rest: each loop is measured as it runs in the end. */
function warmUp(run: () => number): void {
  let best = 0;
  for (let i = 0, atRest = 0; i < MOST_WARM_UP && atRest < AT_REST; i++) {
    const speed = run();
    atRest = speed > best * (1 + GAIN) ? 0 : atRest + 1;
    best = Math.max(best, speed);
  }
}

const perSecond = (value: number): string => `${value.toExponential(2)}/s`;
