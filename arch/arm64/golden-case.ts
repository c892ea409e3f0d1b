// A golden case of AArch64 translations as its FORMAT file describes it, and the state of the CPU that it asks for. What
// an outcome is, and which two are the same, is in golden-outcome.ts; who makes the accesses in oracle.ts and oracle-cpu.ts.
import type { GoldenCase } from '../oracle.ts';
import type { Arm64Instruction } from './access.ts';
import { ARM64_CPUS, type Arm64CpuName } from './features.ts';
import type { GoldenOutcome } from './golden-outcome.ts';
import type { Arm64PagingState } from './paging.ts';

export interface GoldenDescriptor {
  readonly level?: number;
  readonly granule?: string;
  readonly pa: string;
  readonly index: number;
  readonly desc: string;
}

export interface GoldenAccess {
  readonly kind: string;
  readonly insn: Arm64Instruction;
  readonly va: string;
  readonly size?: number;
  readonly el?: number;
}

/** What an access came to, and what it changed. */
export interface GoldenEnd {
  /** Absent: the access is made and told, and compared with nothing. */
  readonly expect?: GoldenOutcome;
  readonly alt?: GoldenOutcome;
  readonly tables_after?: readonly GoldenDescriptor[];
  readonly tables_open?: string;
}

export type GoldenStep =
  | ({ readonly op: 'access'; readonly access: GoldenAccess } & GoldenEnd)
  | ({ readonly op: 'write' } & GoldenDescriptor)
  | {
      readonly op: 'tlbi';
      readonly type: string;
      readonly va?: string;
      readonly asid?: number;
    };

/** One line, as its FORMAT file describes it. */
export type Arm64Case = GoldenCase & {
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
export const RAM_BASE = 0x4000_0000;
export const RAM_SIZE = 0x8000_0000;

export const descriptorAddr = ({ pa, index }: GoldenDescriptor): number => Number(pa) + 8 * index;

export function stateOf(golden: Arm64Case): Arm64PagingState {
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
