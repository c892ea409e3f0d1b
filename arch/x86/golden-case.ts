// A golden case of x86 walks as its FORMAT file describes it, the state of the CPU that it asks for, and what counts as
// the same outcome. Who makes the accesses is in oracle.ts (the walker) and oracle-cpu.ts (a vCPU).
import type { GoldenCase } from '../oracle.ts';
import type { X86AccessKind } from './access.ts';
import type { X86PagingState } from './paging.ts';

export interface GoldenEntry {
  readonly level: string;
  readonly pa: string;
  readonly index: number;
  readonly entry: string;
}

export interface GoldenAccess {
  readonly kind: X86AccessKind;
  readonly va: string;
  readonly size: number;
  readonly seg?: string;
}

export type GoldenOutcome =
  | { readonly fault: null; readonly pa?: string }
  | { readonly fault: { readonly vector: number; readonly error_code: string; cr2?: string } };

export type GoldenStep =
  | (GoldenAccess & {
      readonly op: 'access';
      readonly expect?: GoldenOutcome;
      readonly manual_allows?: readonly GoldenOutcome[];
    })
  | (GoldenEntry & { readonly op: 'write_entry' })
  | { readonly op: 'invlpg'; readonly va: string }
  | { readonly op: 'mov_cr3' | 'mov_cr4'; readonly value: string };

/** One line, as its FORMAT file describes it. */
export interface X86Case extends GoldenCase {
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
  /** Absent: the access is made and told, and compared with nothing. */
  readonly expect?: GoldenOutcome;
  readonly manual_allows?: readonly GoldenOutcome[];
  readonly tables_after?: readonly GoldenEntry[];
  readonly tables_after_binding?: boolean;
}

const MAX_PHYS_ADDR = 48;

/** What a `write` stores the low bytes of. */
export const WRITTEN = 0x1122_3344_5566_7788n;

export function stateOf(golden: X86Case): X86PagingState {
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

export function sameOutcome(got: GoldenOutcome, wanted: GoldenOutcome): boolean {
  if (got.fault === null || wanted.fault === null) {
    if (got.fault !== null || wanted.fault !== null) return false;
    if (wanted.pa === undefined) return true;
    return got.pa !== undefined && BigInt(wanted.pa) === BigInt(got.pa);
  }
  return (
    got.fault.vector === wanted.fault.vector &&
    BigInt(got.fault.error_code) === BigInt(wanted.fault.error_code) &&
    sameCr2(got.fault.cr2, wanted.fault.cr2)
  );
}

const sameCr2 = (got: string | undefined, wanted: string | undefined): boolean =>
  got === undefined || wanted === undefined ? got === wanted : BigInt(got) === BigInt(wanted);
