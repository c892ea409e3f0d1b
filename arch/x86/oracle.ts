// Runs golden cases of x86 walks: entries are put into RAM, steps and the access are made by a machine, and the outcome
// and the changed entries are compared where the format says they bind. The machine is the modelled CPU without
// instructions, or a vCPU that executes real ones (oracle-cpu.ts). No file is read.
import { FRAME_SIZE, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { Engine } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import { NOTHING_EXPECTED, type Oracle, type OracleResult, resultOfError } from '../oracle.ts';
import { performAccess } from './access.ts';
import {
  type GoldenAccess,
  type GoldenEntry,
  type GoldenOutcome,
  type GoldenStep,
  sameOutcome,
  stateOf,
  WRITTEN,
  type X86Case,
} from './golden-case.ts';
import { CpuMachine } from './oracle-cpu.ts';
import { X86Paging } from './paging.ts';
import { GOLDEN_COVE_STLB, invlpg, movToCr3, movToCr4, type X86Tlb } from './tlb.ts';

/** Makes the accesses and steps of one case after another. */
export interface CaseMachine {
  readonly ram: Ram;
  /** Gets ready for a case whose tables are in RAM. @returns addresses of entries that are not the case's */
  begin(golden: X86Case): ReadonlySet<number>;
  /** @param allowed the outcomes that would agree, for a machine that cannot tell `pa` without a hint */
  access(access: GoldenAccess, allowed: readonly GoldenOutcome[]): GoldenOutcome;
  invlpg(va: bigint): void;
  /** @returns false for #GP */
  movToCr3(value: bigint): boolean;
  movToCr4(value: bigint): boolean;
  end(): void;
}

/** Tables lie below 272 MiB. */
const RAM_SIZE = 272 * 2 ** 20;
const ENTRIES = 512;

/** A runner of x86 cases. It keeps one RAM, which every case leaves empty. @param engine run them on a vCPU of it */
export function createOracle(engine: Engine | null = null): Oracle {
  const machine = engine ? new CpuMachine(engine) : new WalkerMachine();
  return {
    arch: 'x86_64',
    run(line) {
      const golden = line as X86Case;
      const frames = framesOf(golden);
      try {
        return new CaseRun(machine, golden, frames).run();
      } catch (error) {
        return resultOfError(line.id, error);
      } finally {
        machine.end();
        for (const frame of frames.keys()) machine.ram.clearFrame((frame / FRAME_SIZE) as never);
      }
    },
  };
}

/** Every frame whose entries may change, with the level it was made for. */
function framesOf(golden: X86Case): Map<number, string> {
  const frames = new Map<number, string>();
  const written = (golden.steps_before ?? []).filter((step) => step.op === 'write_entry');
  for (const { pa, level } of [...golden.tables, ...written]) {
    if (!frames.has(Number(pa))) frames.set(Number(pa), level);
  }
  return frames;
}

/** Accesses as arch/x86/access.ts makes them, without instructions. */
class WalkerMachine implements CaseMachine {
  readonly ram = new Ram(0, RAM_SIZE);
  private cpu!: X86Tlb;
  private frames: ReadonlySet<number> = new Set();

  begin(golden: X86Case): ReadonlySet<number> {
    const paging = new X86Paging(this.ram, stateOf(golden));
    this.cpu = { paging, mmu: new Mmu({ paging, tlb: GOLDEN_COVE_STLB }) };
    this.frames = new Set(framesOf(golden).keys());
    return new Set();
  }

  access({ kind, va, size, seg }: GoldenAccess): GoldenOutcome {
    const { mmu, paging } = this.cpu;
    const addr = virtAddr(BigInt(va));
    const result = performAccess(mmu, paging, { kind, va: addr, size, stack: seg === 'ss' });
    if (!result.ok) {
      const { vector, errorCode, cr2 } = result;
      const fault = { vector, error_code: hex(errorCode) };
      return { fault: cr2 === null ? fault : { ...fault, cr2: hex(cr2) } };
    }
    if (kind === 'write') this.store(result.pa, result.secondPa, size);
    return { fault: null, pa: hex(result.pa) };
  }

  /** Stores what a `write` does, where it can be seen: in the case's tables. */
  private store(pa: number, secondPa: number | null, size: number): void {
    const onFirst = FRAME_SIZE - (pa % FRAME_SIZE);
    for (let i = 0; i < size; i++) {
      const at = i < onFirst || secondPa === null ? pa + i : secondPa + i - onFirst;
      if (!this.frames.has(at - (at % FRAME_SIZE))) continue;
      this.ram.write(at, Uint8Array.of(Number((WRITTEN >> BigInt(8 * i)) & 0xffn)));
    }
  }

  invlpg(va: bigint): void {
    invlpg(this.cpu, virtAddr(va));
  }

  movToCr3(value: bigint): boolean {
    return movToCr3(this.cpu, value);
  }

  movToCr4(value: bigint): boolean {
    return movToCr4(this.cpu, value);
  }

  end(): void {}
}

class CaseRun {
  private readonly machine: CaseMachine;
  private readonly golden: X86Case;
  private readonly frames: ReadonlyMap<number, string>;
  private foreign: ReadonlySet<number> = new Set();
  private readonly differences: string[] = [];

  constructor(machine: CaseMachine, golden: X86Case, frames: ReadonlyMap<number, string>) {
    this.machine = machine;
    this.golden = golden;
    this.frames = frames;
  }

  run(): OracleResult {
    const { golden, machine, differences } = this;
    for (const { pa, index, entry } of golden.tables) {
      machine.ram.write64(Number(pa) + 8 * index, BigInt(entry));
    }
    this.foreign = machine.begin(golden);
    const steps = golden.steps_before?.map((step, at) => this.step(step, at));
    const expect = this.access('access', golden.access, golden.expect, golden.manual_allows);
    const tablesAfter = this.changedEntries();
    if (golden.tables_after_binding) this.compareTables(tablesAfter);
    const answer = { id: golden.id, expect, tables_after: tablesAfter };
    return {
      id: golden.id,
      answer: steps ? { ...answer, steps_before: steps } : answer,
      differences,
      skipped: golden.expect === undefined ? NOTHING_EXPECTED : null,
    };
  }

  /** @returns the step; an access with our outcome in place of the expected one */
  private step(step: GoldenStep, at: number): GoldenStep {
    const { machine, differences } = this;
    switch (step.op) {
      case 'access': {
        const expect = this.access(`step ${at}`, step, step.expect, step.manual_allows);
        return { ...step, expect };
      }
      case 'write_entry':
        machine.ram.write64(Number(step.pa) + 8 * step.index, BigInt(step.entry));
        return step;
      case 'invlpg':
        machine.invlpg(BigInt(step.va));
        return step;
      case 'mov_cr3':
        if (!machine.movToCr3(BigInt(step.value))) differences.push(`step ${at}: #GP`);
        return step;
      case 'mov_cr4':
        if (!machine.movToCr4(BigInt(step.value))) differences.push(`step ${at}: #GP`);
        return step;
      default:
        throw new TypeError(`unknown step ${(step satisfies never as { op: string }).op}`);
    }
  }

  /** Makes an access and compares it. @returns what it came to */
  private access(
    what: string,
    access: GoldenAccess,
    wanted: GoldenOutcome | undefined,
    alternatives?: readonly GoldenOutcome[],
  ): GoldenOutcome {
    const allowed = alternatives ?? (wanted === undefined ? [] : [wanted]);
    const got = this.machine.access(access, allowed);
    if (allowed.length > 0 && !allowed.some((one) => sameOutcome(got, one))) {
      const list = allowed.map((one) => JSON.stringify(one)).join(' or ');
      this.differences.push(`${what}: wanted ${list}, got ${JSON.stringify(got)}`);
    }
    return got;
  }

  /** Entries that are not what `tables` lists: those of the list in its order, then any others. */
  private changedEntries(): GoldenEntry[] {
    const { ram } = this.machine;
    const before = new Map<number, GoldenEntry>();
    for (const one of this.golden.tables) before.set(Number(one.pa) + 8 * one.index, one);
    for (const [frame, level] of this.frames) {
      for (let index = 0; index < ENTRIES; index++) {
        const entryAddr = frame + 8 * index;
        if (ram.read64(entryAddr) === 0n || before.has(entryAddr)) continue;
        if (this.foreign.has(entryAddr)) continue;
        before.set(entryAddr, { level, pa: hex(frame), index, entry: '0x0' });
      }
    }
    return [...before]
      .map(([entryAddr, one]) => ({ one, now: ram.read64(entryAddr) }))
      .filter(({ one, now }) => now !== BigInt(one.entry))
      .map(({ one, now }) => ({ ...one, entry: hex(now) }));
  }

  private compareTables(got: readonly GoldenEntry[]): void {
    const key = (one: GoldenEntry) => `${Number(one.pa)}[${one.index}] = ${hex(BigInt(one.entry))}`;
    const wanted = (this.golden.tables_after ?? []).map(key).sort();
    const found = got.map(key).sort();
    if (wanted.join() === found.join()) return;
    this.differences.push(`tables: wanted ${wanted.join(', ')}; got ${found.join(', ')}`);
  }
}
