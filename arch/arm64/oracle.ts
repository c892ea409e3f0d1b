// Runs golden cases of AArch64 translations: descriptors are put into RAM, the access or the steps are made by a machine,
// and the outcome and the changed descriptors are compared where the format says they bind. The machine is the modelled
// CPU without instructions, or a vCPU that executes real ones (oracle-cpu.ts). No file is read.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { Engine } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import { NOTHING_EXPECTED, type Oracle, type OracleResult, resultOfError } from '../oracle.ts';
import { performAccess } from './access.ts';
import {
  type Arm64Case,
  descriptorAddr,
  type GoldenAccess,
  type GoldenDescriptor,
  type GoldenEnd,
  type GoldenStep,
  RAM_BASE,
  RAM_SIZE,
  stateOf,
} from './golden-case.ts';
import { GoldenData, type GoldenOutcome, goldenOutcome, sameOutcome } from './golden-outcome.ts';
import { CpuMachine } from './oracle-cpu.ts';
import { Arm64Paging } from './paging.ts';
import { type Arm64Tlb, NEOVERSE_N1_L2TLB, type TlbiOperation, tlbi, tlbiOperand } from './tlb.ts';

/** Makes the accesses and steps of one case after another. */
export interface CaseMachine {
  readonly ram: Ram;
  /** Gets ready for a case whose tables are in RAM. */
  begin(golden: Arm64Case): void;
  /** @param allowed the outcomes that would agree, for a machine that cannot tell `pa` without a hint */
  access(access: GoldenAccess, allowed: readonly GoldenOutcome[]): GoldenOutcome;
  tlbi(type: string, operand: bigint): void;
  end(): void;
}

const AF = 1n << 10n;

/** A runner of arm64 cases. It keeps one RAM, which every case leaves empty. @param engine run them on a vCPU of it */
export function createOracle(engine: Engine | null = null): Oracle {
  const machine = engine ? new CpuMachine(engine) : new WalkerMachine();
  return {
    arch: 'arm64',
    run: (line) => new CaseRun(machine, line as Arm64Case).run(),
  };
}

/** Accesses as arch/arm64/access.ts makes them, without instructions. */
class WalkerMachine implements CaseMachine {
  readonly ram = new Ram(RAM_BASE, RAM_SIZE);
  private cpu!: Arm64Tlb;
  private data = new GoldenData();

  begin(golden: Arm64Case): void {
    const paging = new Arm64Paging(this.ram, stateOf(golden));
    this.cpu = { paging, mmu: new Mmu({ paging, tlb: NEOVERSE_N1_L2TLB }) };
    this.data = new GoldenData();
  }

  access({ insn, va, size = 8, el }: GoldenAccess): GoldenOutcome {
    const { mmu, paging } = this.cpu;
    if (el !== undefined && el !== paging.state.el) {
      paging.state.el = el;
      paging.configure();
    }
    const access = { insn, va: BigInt(va) as VirtAddr, size };
    return goldenOutcome(performAccess(mmu, paging, access), insn, size, this.data);
  }

  tlbi(type: string, operand: bigint): void {
    // IS reaches the one CPU there is like the plain form.
    tlbi(this.cpu, type.replace(/is$/, '') as TlbiOperation, operand);
  }

  end(): void {}
}

class CaseRun {
  private readonly machine: CaseMachine;
  private readonly ram: Ram;
  private readonly golden: Arm64Case;
  /** Every descriptor of the case by its address, as it stood before the access under way. */
  private readonly before = new Map<number, GoldenDescriptor>();
  private readonly differences: string[] = [];

  constructor(machine: CaseMachine, golden: Arm64Case) {
    this.machine = machine;
    this.ram = machine.ram;
    this.golden = golden;
  }

  run(): OracleResult {
    const { golden, differences } = this;
    for (const one of golden.tables) this.write(one);
    this.machine.begin(golden);
    const { id } = golden;
    try {
      if (golden.steps === undefined) {
        const end = this.end('access', golden.access, golden);
        const skipped = golden.expect === undefined ? NOTHING_EXPECTED : null;
        return { id, answer: { id, tables_after: [], ...end }, differences, skipped };
      }
      const steps = golden.steps.map((step, at) => this.step(step, at));
      const accesses = golden.steps.filter((step) => step.op === 'access');
      const silent = accesses.every((step) => step.expect === undefined);
      const skipped = silent ? NOTHING_EXPECTED : null;
      const last = steps.findLast((step) => step.op === 'access');
      const expect = last?.op === 'access' ? last.expect : null;
      const tablesAfter = this.changes(golden.tables);
      return { id, answer: { id, expect, tables_after: tablesAfter, steps }, differences, skipped };
    } catch (error) {
      return resultOfError(golden.id, error);
    } finally {
      this.machine.end();
      for (const addr of this.before.keys()) this.ram.write64(addr, 0n);
    }
  }

  private write(one: GoldenDescriptor): void {
    this.ram.write64(descriptorAddr(one), BigInt(one.desc));
    this.before.set(descriptorAddr(one), one);
  }

  /** @returns the step; an access with our outcome in place of the expected one */
  private step(step: GoldenStep, at: number): GoldenStep {
    switch (step.op) {
      case 'access':
        return { op: 'access', access: step.access, ...this.end(`step ${at}`, step.access, step) };
      case 'write':
        this.write(step);
        return step;
      case 'tlbi': {
        const va = virtAddr(BigInt(step.va ?? 0));
        this.machine.tlbi(step.type, tlbiOperand(va, step.asid ?? 0));
        return step;
      }
      default:
        throw new TypeError(`unknown step ${(step satisfies never as { op: string }).op}`);
    }
  }

  /** Makes an access and compares. @returns what it came to */
  private end(
    what: string,
    access: GoldenAccess,
    wanted: GoldenEnd,
  ): GoldenEnd & { expect: GoldenOutcome } {
    const allowed = [wanted.expect, wanted.alt].filter((one) => one !== undefined);
    const expect = this.machine.access(access, allowed);
    if (allowed.length > 0 && !allowed.some((one) => sameOutcome(expect, one))) {
      const list = allowed.map((one) => JSON.stringify(one)).join(' or ');
      this.differences.push(`${what}: wanted ${list}, got ${JSON.stringify(expect)}`);
    }
    const changes = this.changes([...this.before.values()]);
    if (wanted.expect !== undefined) this.compareTables(what, changes, wanted);
    for (const one of changes) this.before.set(descriptorAddr(one), one);
    return changes.length > 0 ? { expect, tables_after: changes } : { expect };
  }

  private changes(from: readonly GoldenDescriptor[]): GoldenDescriptor[] {
    return from
      .map((one) => ({ one, now: this.ram.read64(descriptorAddr(one)) }))
      .filter(({ one, now }) => now !== BigInt(one.desc))
      .map(({ one, now }) => ({ pa: one.pa, index: one.index, desc: hex(now) }));
  }

  /** `tables_open`: the access flag of a descriptor may be set or not; all else binds. */
  private compareTables(what: string, got: readonly GoldenDescriptor[], wanted: GoldenEnd): void {
    const ignored = wanted.tables_open === undefined ? 0n : AF;
    const state = (changes: readonly GoldenDescriptor[]) => {
      const after = new Map([...this.before].map(([at, one]) => [at, BigInt(one.desc)]));
      for (const one of changes) after.set(descriptorAddr(one), BigInt(one.desc));
      return [...after]
        .sort(([a], [b]) => a - b)
        .map(([at, desc]) => `${hex(at)} = ${hex(desc & ~ignored)}`);
    };
    const found = state(got);
    const missed = state(wanted.tables_after ?? []).filter((one) => !found.includes(one));
    if (missed.length > 0) {
      this.differences.push(`${what}: wanted ${missed.join(', ')}; got ${JSON.stringify(got)}`);
    }
  }
}
