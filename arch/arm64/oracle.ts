// Runs a golden case of AArch64 translations on the modelled CPU: descriptors are put into RAM, the access or the steps go
// through TLB and paging unit, and the outcome and the changed descriptors are compared where the format says they bind.
// No file is read.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import type { GoldenCase, Oracle, OracleResult } from '../oracle.ts';
import { type Arm64Instruction, performAccess } from './access.ts';
import { ARM64_CPUS, type Arm64CpuName } from './features.ts';
import { GoldenData, type GoldenOutcome, goldenOutcome, sameOutcome } from './golden-outcome.ts';
import { Arm64Paging, type Arm64PagingState } from './paging.ts';
import { type Arm64Tlb, NEOVERSE_N1_L2TLB, type TlbiOperation, tlbi, tlbiOperand } from './tlb.ts';

interface GoldenDescriptor {
  readonly level?: number;
  readonly granule?: string;
  readonly pa: string;
  readonly index: number;
  readonly desc: string;
}

interface GoldenAccess {
  readonly kind: string;
  readonly insn: Arm64Instruction;
  readonly va: string;
  readonly size?: number;
  readonly el?: number;
}

/** What an access came to, and what it changed. */
interface GoldenEnd {
  readonly expect: GoldenOutcome;
  readonly alt?: GoldenOutcome;
  readonly tables_after?: readonly GoldenDescriptor[];
  readonly tables_open?: string;
}

type GoldenStep =
  | ({ readonly op: 'access'; readonly access: GoldenAccess } & GoldenEnd)
  | ({ readonly op: 'write' } & GoldenDescriptor)
  | {
      readonly op: 'tlbi';
      readonly type: string;
      readonly va?: string;
      readonly asid?: number;
    };

/** One line, as its FORMAT file describes it. */
type Arm64Case = GoldenCase & {
  readonly cpu: Arm64CpuName;
  readonly sctlr: string;
  readonly tcr: string;
  readonly mair: string;
  readonly ttbr0: string;
  readonly ttbr1: string;
  readonly pan: number | null;
  readonly uao?: number;
  readonly el: number;
  readonly tables: readonly GoldenDescriptor[];
} & (
    | ({ readonly access: GoldenAccess; readonly steps?: undefined } & GoldenEnd)
    | { readonly steps: readonly GoldenStep[] }
  );

/** The machine of the cases: 2 GiB from 1 GiB up. */
const RAM_BASE = 0x4000_0000;
const RAM_SIZE = 0x8000_0000;
const AF = 1n << 10n;

/** A runner of arm64 cases. It keeps one RAM, which every case leaves empty. */
export function createOracle(): Oracle {
  const ram = new Ram(RAM_BASE, RAM_SIZE);
  return {
    arch: 'arm64',
    run: (line) => new CaseRun(ram, line as Arm64Case).run(),
  };
}

const descriptorAddr = ({ pa, index }: GoldenDescriptor) => Number(pa) + 8 * index;

class CaseRun {
  private readonly ram: Ram;
  private readonly golden: Arm64Case;
  private readonly cpu: Arm64Tlb;
  /** Every descriptor of the case by its address, as it stood before the access under way. */
  private readonly before = new Map<number, GoldenDescriptor>();
  private readonly data = new GoldenData();
  private readonly differences: string[] = [];

  constructor(ram: Ram, golden: Arm64Case) {
    this.ram = ram;
    this.golden = golden;
    const paging = new Arm64Paging(ram, stateOf(golden));
    this.cpu = { paging, mmu: new Mmu({ paging, tlb: NEOVERSE_N1_L2TLB }) };
  }

  run(): OracleResult {
    const { golden, differences } = this;
    for (const one of golden.tables) this.write(one);
    const { id } = golden;
    const skipped = null;
    try {
      if (golden.steps === undefined) {
        const end = this.end('access', golden.access, golden);
        return { id, answer: { id, tables_after: [], ...end }, differences, skipped };
      }
      const steps = golden.steps.map((step, at) => this.step(step, at));
      const last = steps.findLast((step) => step.op === 'access');
      const expect = last?.op === 'access' ? last.expect : null;
      const tablesAfter = this.changes(golden.tables);
      return { id, answer: { id, expect, tables_after: tablesAfter, steps }, differences, skipped };
    } finally {
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
        // IS reaches the one CPU there is like the plain form.
        const operation = step.type.replace(/is$/, '') as TlbiOperation;
        tlbi(this.cpu, operation, tlbiOperand(va, step.asid ?? 0));
        return step;
      }
      default:
        throw new TypeError(`unknown step ${(step satisfies never as { op: string }).op}`);
    }
  }

  /** Makes an access and compares. @returns what it came to */
  private end(what: string, access: GoldenAccess, wanted: GoldenEnd): GoldenEnd {
    const expect = this.access(access);
    const allowed = wanted.alt ? [wanted.expect, wanted.alt] : [wanted.expect];
    if (!allowed.some((one) => sameOutcome(expect, one))) {
      const list = allowed.map((one) => JSON.stringify(one)).join(' or ');
      this.differences.push(`${what}: wanted ${list}, got ${JSON.stringify(expect)}`);
    }
    const changes = this.changes([...this.before.values()]);
    this.compareTables(what, changes, wanted);
    for (const one of changes) this.before.set(descriptorAddr(one), one);
    return changes.length > 0 ? { expect, tables_after: changes } : { expect };
  }

  private access({ insn, va, size = 8, el }: GoldenAccess): GoldenOutcome {
    const { mmu, paging } = this.cpu;
    if (el !== undefined && el !== paging.state.el) {
      paging.state.el = el;
      paging.configure();
    }
    const access = { insn, va: BigInt(va) as VirtAddr, size };
    return goldenOutcome(performAccess(mmu, paging, access), insn, size, this.data);
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

function stateOf(golden: Arm64Case): Arm64PagingState {
  const features = ARM64_CPUS[golden.cpu];
  if (features === undefined) throw new TypeError(`unknown cpu ${golden.cpu}`);
  return {
    sctlr: BigInt(golden.sctlr),
    tcr: BigInt(golden.tcr),
    mair: BigInt(golden.mair),
    ttbr0: BigInt(golden.ttbr0),
    ttbr1: BigInt(golden.ttbr1),
    el: golden.el,
    pan: golden.pan === 1,
    uao: golden.uao === 1,
    features,
  };
}
