// The outcome of an access in the shape of the golden AArch64 cases, the data that their loads find, and what binds when
// two outcomes are compared. arch/arm64/oracle.ts makes the accesses.
import { hex } from '../../emulator/bits.ts';
import type { Arm64Instruction, Arm64Outcome } from './access.ts';
import { parFault, parFst } from './address-translate.ts';
import { EC_DABT_CUR, EC_DABT_LOW, EC_IABT_CUR, EC_IABT_LOW } from './fault-code.ts';

interface GoldenFault {
  readonly esr: string;
  readonly far: string;
}

export type GoldenOutcome =
  | { readonly fault: GoldenFault }
  | {
      readonly fault: null;
      readonly pa?: string;
      readonly pa2?: string;
      readonly value?: string | readonly string[];
      readonly par?: string;
      readonly fst?: string;
      readonly attr?: string;
      readonly sh?: number;
    };

/** What every aligned 8 bytes of data at a physical address hold, with the address in the lower bits. */
const DATA_PATTERN = 0xd15c_0000_0000_0000n;

/** The data memory of a case: a pattern that proves the address, and what stores made of it. */
export class GoldenData {
  private readonly stored = new Map<number, bigint>();

  byte(pa: number): bigint {
    return this.stored.get(pa) ?? patternByte(pa);
  }

  /** A store writes the complement of the pattern. */
  store(pa: number): void {
    this.stored.set(pa, patternByte(pa) ^ 0xffn);
  }

  zero(pa: number): void {
    this.stored.set(pa, 0n);
  }
}

export const patternByte = (pa: number): bigint =>
  ((DATA_PATTERN | BigInt(pa - (pa % 8))) >> BigInt((pa % 8) * 8)) & 0xffn;

/** Instructions whose loaded value the cases list, and those that store a value of the cases' own. */
const LOADS: readonly Arm64Instruction[] = ['ldr', 'ldp', 'ldtr', 'ldar', 'ldxr'];
const STORES: readonly Arm64Instruction[] = ['str', 'stp', 'sttr', 'stlr'];

/** An outcome as the file writes it. Stores change `data`. */
export function goldenOutcome(
  got: Arm64Outcome,
  insn: Arm64Instruction,
  size: number,
  data: GoldenData,
): GoldenOutcome {
  if (got.fault) return { fault: goldenFault(got.fault) };
  if (got.par !== undefined) return { fault: null, ...goldenPar(got.par) };
  if (got.pa === undefined || (insn.startsWith('dc_') && insn !== 'dc_zva')) return { fault: null };
  const outcome = { fault: null, pa: hex(got.pa) };
  const pa2 = got.pa2 === undefined ? {} : { pa2: hex(got.pa2) };
  if (insn === 'dc_zva') for (const pa of bytesOf(got.pa - (got.pa % size), size)) data.zero(pa);
  const bytes = bytesOf(got.pa, size, got.pa2);
  if (STORES.includes(insn)) for (const pa of bytes) data.store(pa);
  if (!LOADS.includes(insn)) return { ...outcome, ...pa2 };
  const values = insn === 'ldp' ? [bytes.slice(0, size / 2), bytes.slice(size / 2)] : [bytes];
  const loaded = values.map((one) => hex(wordAt(one, data)));
  return { ...outcome, ...pa2, value: insn === 'ldp' ? loaded : loaded[0] };
}

/** Physical addresses of `size` bytes from `pa`, going on at `pa2` where the page of `pa` ends. */
const bytesOf = (pa: number, size: number, pa2?: number): number[] =>
  Array.from({ length: size }, (_, i) => {
    const inFirst = 4096 - (pa % 4096);
    return pa2 === undefined || i < inFirst ? pa + i : pa2 + i - inFirst;
  });

const wordAt = (bytes: readonly number[], data: GoldenData): bigint =>
  bytes.reduceRight((word, pa) => (word << 8n) | data.byte(pa), 0n);

export function goldenFault({ esr, far }: { esr: number; far: bigint }) {
  const ec = esr >>> 26;
  const status = hex(esr & 0x3f);
  const base = { esr: hex(esr), far: hex(far), ec: hex(ec) };
  if (ec === EC_IABT_LOW || ec === EC_IABT_CUR) return { ...base, ifsc: status };
  if (ec !== EC_DABT_LOW && ec !== EC_DABT_CUR) return base;
  const fault = { ...base, dfsc: status, wnr: (esr >>> 6) & 1, fnv: (esr >>> 10) & 1 };
  return (esr >>> 8) & 1 ? { ...fault, cm: 1 } : fault;
}

export function goldenPar(par: bigint) {
  if (parFault(par)) return { par: hex(par), fst: hex(parFst(par)) };
  const pa = hex(par & 0xf_ffff_ffff_f000n);
  return { par: hex(par), pa, attr: hex(par >> 56n), sh: Number((par >> 7n) & 3n) };
}

// ---- Comparison ----

const sameNumber = (got: string | undefined, wanted: string | undefined) =>
  wanted === undefined || (got !== undefined && BigInt(got) === BigInt(wanted));

/** Whether an outcome is as expected in everything that binds. */
export function sameOutcome(got: GoldenOutcome, wanted: GoldenOutcome): boolean {
  if (got.fault !== null || wanted.fault !== null) {
    if (got.fault === null || wanted.fault === null) return false;
    return (
      sameNumber(got.fault.esr, wanted.fault.esr) && sameNumber(got.fault.far, wanted.fault.far)
    );
  }
  return (
    sameNumber(got.pa, wanted.pa) &&
    sameNumber(got.pa2, wanted.pa2) &&
    sameValue(got.value, wanted.value) &&
    samePar(got, wanted)
  );
}

const sameValue = (
  got: string | readonly string[] | undefined,
  wanted: string | readonly string[] | undefined,
): boolean => wanted === undefined || String(got) === String(wanted);

type Par = { readonly fst?: string; readonly attr?: string; readonly sh?: number };

/** PAR_EL1 without NS, which is UNKNOWN in Non-secure state. */
const samePar = (got: Par, wanted: Par): boolean =>
  (got.fst === undefined) === (wanted.fst === undefined) &&
  sameNumber(got.fst, wanted.fst) &&
  sameNumber(got.attr, wanted.attr) &&
  (wanted.sh === undefined || got.sh === wanted.sh);
