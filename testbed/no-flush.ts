// The patch's claim that an installed scratch page needs no flush: what an install costs as it is, where CPUs may take one
// more fault, and what it would cost with a flush of all CPUs. The fault and the re-fault are run; the flush is knobs.
import { type CostPreset, type KnobValues, valuesOf } from '../emulator/cost/knobs.ts';
import type { CallSeen } from './call.ts';
import { Costing } from './costing.ts';
import { EventCosts } from './event-costs.ts';
import { ARCHITECTURES, type RunHost, WorldRun } from './run.ts';
import { parseScenario } from './scenario.ts';

/** CPUs of a comparison. */
export const CPUS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/** Percent of the other CPUs that hold a negative entry and touch the page. */
export const SHARES: readonly number[] = [0, 1, 10, 50, 100];
/** Faults in a million instructions. */
export const RATES: readonly number[] = [1, 10, 100, 1000];

/** Cycles from costed runs. */
export interface MeasuredFault {
  /** The fault that installs, beyond the same call without one. */
  readonly install: number;
  /** One more fault from a negative entry, its log lines left out. */
  readonly refault: number;
  /** Re-faults of the CPU that installed, where negative entries are kept. */
  readonly own: number;
}

/** Cycles of one install, on all CPUs together. */
export interface NoFlushRow {
  readonly cpus: number;
  readonly flush: number;
  /** No flush, negative entries `off`: nobody faults again. */
  readonly off: number;
  /** No flush, negative entries `on`, by {@link SHARES}. */
  readonly on: readonly number[];
  /** Re-faults of one install above which a flush pays. */
  readonly crossing: number;
  /** The same as a percentage of the other CPUs; null: all of them do not suffice. 0: the own re-fault suffices. */
  readonly crossingShare: number | null;
}

/** Re-faults of one install where negative entries are kept. @param share percent, 0 to 100 */
export const refaultsOf = ({ own }: MeasuredFault, cpus: number, share: number): number =>
  own + ((cpus - 1) * share) / 100;

/** Cycles of a flush of one page on `cpus` CPUs, by the model that every run is charged with. */
export function flushCycles(values: KnobValues, cpus: number): number {
  const work = { searches: 0, frames: 0, reports: 0, reportBytes: 0, logLines: 0 };
  const events = new EventCosts(values, work);
  events.shootdown(1, cpus);
  return events.cycles;
}

export function compareNoFlush(
  values: KnobValues,
  fault: MeasuredFault,
  counts: readonly number[] = CPUS,
): NoFlushRow[] {
  return counts.map((cpus) => {
    const flush = flushCycles(values, cpus);
    const crossing = fault.refault > 0 ? flush / fault.refault : Infinity;
    const share = cpus === 1 ? Infinity : (100 * (crossing - fault.own)) / (cpus - 1);
    const reached = crossing < refaultsOf(fault, cpus, 100);
    return {
      cpus,
      flush: fault.install + flush,
      off: fault.install,
      on: SHARES.map((one) => fault.install + refaultsOf(fault, cpus, one) * fault.refault),
      crossing,
      crossingShare: reached ? Math.max(0, cpus === 1 ? 0 : share) : null,
    };
  });
}

/** A store to a page that nobody allocated, and the same store again. */
const store = (negative: 'off' | 'on') => ({
  arch: ['x86_64', 'arm64'],
  kernel: { tlb: { negative } },
  steps: [1, 2].map(() => ({
    call: {
      code: { x86_64: 'mov [rdi], rsi\nret', arm64: 'str x1, [x0]\nret' },
      args: [{ arena: 0 }, 42],
    },
  })),
});

/** Runs the fault with and without negative entries. @throws Error if it does not go as the model says */
export function measureFault(host: RunHost, preset: CostPreset): MeasuredFault {
  const costing = new Costing(ARCHITECTURES[preset.arch], host.disassembler, 'fast', preset);
  const run = (negative: 'off' | 'on') => {
    const scenario = parseScenario(JSON.stringify(store(negative)), 'no-flush', () => {
      throw new RangeError('names no files');
    });
    const world = new WorldRun(host, scenario.worlds[preset.arch]!, { costing });
    try {
      return world.steps.map((step) => {
        const seen = world.runStep(step).seen as CallSeen;
        if (seen.outcome !== 'returned') throw new Error(`the store ended as ${seen.outcome}`);
        // A console that warns does so a few times and then is silent.
        const { cycles, charges } = seen.cost!;
        const logged = charges.find(({ name }) => name === 'printkLine')?.cycles ?? 0;
        return { cycles: cycles - logged, faults: seen.faults.length };
      });
    } finally {
      world.close();
    }
  };
  const [first, again] = run('off');
  const [kept] = run('on');
  if (first.faults !== 1 || again.faults !== 0 || kept.faults < 2) {
    throw new Error(`faults: ${first.faults}, ${again.faults} and ${kept.faults}`);
  }
  const own = kept.faults - first.faults;
  const refault = (kept.cycles - first.cycles) / own;
  return { install: first.cycles - again.cycles, refault, own };
}

export interface NoFlushClaim {
  readonly preset: CostPreset;
  readonly fault: MeasuredFault;
  readonly rows: readonly NoFlushRow[];
}

export function noFlushClaim(host: RunHost, preset: CostPreset): NoFlushClaim {
  const fault = measureFault(host, preset);
  return { preset, fault, rows: compareNoFlush(valuesOf(preset), fault) };
}
