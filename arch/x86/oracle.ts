// Runs a golden case of x86 walks on the modelled CPU: entries are put into RAM, steps and the access go through TLB and
// paging unit, and the outcome and the changed entries are compared where the format says they bind. No file is read.
import { FRAME_SIZE, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import type { GoldenCase, Oracle, OracleResult } from '../oracle.ts';
import { performAccess, type X86AccessKind } from './access.ts';
import { X86Paging, type X86PagingState } from './paging.ts';
import { GOLDEN_COVE_STLB, invlpg, movToCr3, movToCr4, type X86Tlb } from './tlb.ts';

interface GoldenEntry {
  readonly level: string;
  readonly pa: string;
  readonly index: number;
  readonly entry: string;
}

interface GoldenAccess {
  readonly kind: X86AccessKind;
  readonly va: string;
  readonly size: number;
  readonly seg?: string;
}

type GoldenOutcome =
  | { readonly fault: null; readonly pa?: string }
  | { readonly fault: { readonly vector: number; readonly error_code: string; cr2?: string } };

type GoldenStep =
  | (GoldenAccess & {
      readonly op: 'access';
      readonly expect: GoldenOutcome;
      readonly manual_allows?: readonly GoldenOutcome[];
    })
  | (GoldenEntry & { readonly op: 'write_entry' })
  | { readonly op: 'invlpg'; readonly va: string }
  | { readonly op: 'mov_cr3' | 'mov_cr4'; readonly value: string };

/** One line, as its FORMAT file describes it. */
interface X86Case extends GoldenCase {
  readonly cr0: string;
  readonly cr3: string;
  readonly cr4: string;
  readonly efer: string;
  readonly pkru: string;
  readonly pkrs?: string;
  readonly cpl: number;
  readonly rflags_ac: number;
  readonly page1g?: boolean;
  readonly tables: readonly GoldenEntry[];
  readonly steps_before?: readonly GoldenStep[];
  readonly access: GoldenAccess;
  readonly expect: GoldenOutcome;
  readonly manual_allows?: readonly GoldenOutcome[];
  readonly tables_after: readonly GoldenEntry[];
  readonly tables_after_binding: boolean;
}

/** Tables lie below 272 MiB; the cases' CPU has 48 physical address bits. */
const RAM_SIZE = 272 * 2 ** 20;
const MAX_PHYS_ADDR = 48;
/** What a `write` stores the low bytes of. */
const WRITTEN = 0x1122_3344_5566_7788n;
const ENTRIES = 512;

/** A runner of x86 cases. It keeps one RAM, which every case leaves empty. */
export function createOracle(): Oracle {
  const ram = new Ram(0, RAM_SIZE);
  return {
    arch: 'x86_64',
    run(line) {
      const golden = line as X86Case;
      const frames = framesOf(golden);
      try {
        return new CaseRun(ram, golden, frames).run();
      } finally {
        for (const frame of frames.keys()) ram.clearFrame((frame / FRAME_SIZE) as never);
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

class CaseRun {
  private readonly ram: Ram;
  private readonly golden: X86Case;
  private readonly frames: ReadonlyMap<number, string>;
  private readonly cpu: X86Tlb;
  private readonly differences: string[] = [];

  constructor(ram: Ram, golden: X86Case, frames: ReadonlyMap<number, string>) {
    this.ram = ram;
    this.golden = golden;
    this.frames = frames;
    const paging = new X86Paging(ram, stateOf(golden));
    this.cpu = { paging, mmu: new Mmu({ paging, tlb: GOLDEN_COVE_STLB }) };
  }

  run(): OracleResult {
    const { golden, ram, differences } = this;
    for (const { pa, index, entry } of golden.tables) {
      ram.write64(Number(pa) + 8 * index, BigInt(entry));
    }
    const steps = golden.steps_before?.map((step, at) => this.step(step, at));
    const expect = this.access(golden.access);
    this.compare('access', expect, golden.expect, golden.manual_allows);
    const tablesAfter = this.changedEntries();
    if (golden.tables_after_binding) this.compareTables(tablesAfter);
    const answer = { id: golden.id, expect, tables_after: tablesAfter };
    return {
      id: golden.id,
      answer: steps ? { ...answer, steps_before: steps } : answer,
      differences,
      skipped: null,
    };
  }

  /** @returns the step; an access with our outcome in place of the expected one */
  private step(step: GoldenStep, at: number): GoldenStep {
    switch (step.op) {
      case 'access': {
        const expect = this.access(step);
        this.compare(`step ${at}`, expect, step.expect, step.manual_allows);
        return { ...step, expect };
      }
      case 'write_entry':
        this.ram.write64(Number(step.pa) + 8 * step.index, BigInt(step.entry));
        return step;
      case 'invlpg':
        invlpg(this.cpu, virtAddr(BigInt(step.va)));
        return step;
      case 'mov_cr3':
        if (!movToCr3(this.cpu, BigInt(step.value))) this.differences.push(`step ${at}: #GP`);
        return step;
      case 'mov_cr4':
        if (!movToCr4(this.cpu, BigInt(step.value))) this.differences.push(`step ${at}: #GP`);
        return step;
      default:
        throw new TypeError(`unknown step ${(step satisfies never as { op: string }).op}`);
    }
  }

  private access({ kind, va, size, seg }: GoldenAccess): GoldenOutcome {
    const addr: VirtAddr = virtAddr(BigInt(va));
    const { mmu, paging } = this.cpu;
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

  private compare(
    what: string,
    got: GoldenOutcome,
    wanted: GoldenOutcome,
    allowed: readonly GoldenOutcome[] = [wanted],
  ): void {
    if (allowed.some((one) => sameOutcome(got, one))) return;
    const list = allowed.map((one) => JSON.stringify(one)).join(' or ');
    this.differences.push(`${what}: wanted ${list}, got ${JSON.stringify(got)}`);
  }

  /** Entries that are not what `tables` lists: those of the list in its order, then any others. */
  private changedEntries(): GoldenEntry[] {
    const before = new Map<number, GoldenEntry>();
    for (const one of this.golden.tables) before.set(Number(one.pa) + 8 * one.index, one);
    for (const [frame, level] of this.frames) {
      for (let index = 0; index < ENTRIES; index++) {
        const entryAddr = frame + 8 * index;
        if (this.ram.read64(entryAddr) === 0n || before.has(entryAddr)) continue;
        before.set(entryAddr, { level, pa: hex(frame), index, entry: '0x0' });
      }
    }
    return [...before]
      .map(([entryAddr, one]) => ({ one, now: this.ram.read64(entryAddr) }))
      .filter(({ one, now }) => now !== BigInt(one.entry))
      .map(({ one, now }) => ({ ...one, entry: hex(now) }));
  }

  private compareTables(got: readonly GoldenEntry[]): void {
    const key = (one: GoldenEntry) => `${Number(one.pa)}[${one.index}] = ${hex(BigInt(one.entry))}`;
    const wanted = this.golden.tables_after.map(key).sort();
    const found = got.map(key).sort();
    if (wanted.join() === found.join()) return;
    this.differences.push(`tables: wanted ${wanted.join(', ')}; got ${found.join(', ')}`);
  }
}

function stateOf(golden: X86Case): X86PagingState {
  return {
    cr0: BigInt(golden.cr0),
    cr3: BigInt(golden.cr3),
    cr4: BigInt(golden.cr4),
    efer: BigInt(golden.efer),
    pkru: BigInt(golden.pkru),
    pkrs: BigInt(golden.pkrs ?? 0),
    cpl: golden.cpl,
    ac: golden.rflags_ac === 1,
    implicit: false,
    maxPhysAddr: MAX_PHYS_ADDR,
    page1g: golden.page1g ?? true,
  };
}

function sameOutcome(got: GoldenOutcome, wanted: GoldenOutcome): boolean {
  if (got.fault === null || wanted.fault === null) {
    if (got.fault !== null || wanted.fault !== null) return false;
    return wanted.pa === undefined || BigInt(wanted.pa) === BigInt(got.pa!);
  }
  return (
    got.fault.vector === wanted.fault.vector &&
    BigInt(got.fault.error_code) === BigInt(wanted.fault.error_code) &&
    sameCr2(got.fault.cr2, wanted.fault.cr2)
  );
}

const sameCr2 = (got: string | undefined, wanted: string | undefined): boolean =>
  got === undefined || wanted === undefined ? got === wanted : BigInt(got) === BigInt(wanted);
