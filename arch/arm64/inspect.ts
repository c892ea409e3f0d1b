// A walk of AArch64 tables told level by level, for people: what `walk` prints and what traces show. Nothing is decided
// here; the paging unit judges every descriptor.
import type { PhysAddr, VirtAddr } from '../../emulator/address.ts';
import { hex, hi32, lo32 } from '../../emulator/bits.ts';
import type { AccessKind } from '../../emulator/engine.ts';
import { type LevelReport, pageSizeName, type WalkReport } from '../../mm/paging.ts';
import { DESCEND, LEAF } from '../../mm/walk.ts';
import { describeEsr, FSC_ACCESS_FLAG, FSC_ADDRESS_SIZE, FSC_TRANSLATION } from './fault-code.ts';
import type { Arm64Paging } from './paging.ts';
import { arm64EntryBits } from './pte-decode.ts';
import { OA_LPA, OA_LPA2 } from './regime.ts';

/** @param probe a paging unit of its own: its answers are overwritten */
export function inspectWalk(probe: Arm64Paging, va: VirtAddr, kind: AccessKind): WalkReport {
  const ok = probe.walk(hi32(va), lo32(va), kind, false);
  return {
    va,
    ok,
    pa: ok ? (probe.pa as PhysAddr) : null,
    levels: Array.from({ length: probe.record.length }, (_, step) => tellLevel(probe, step)),
    verdict: ok ? `translates to ${hex(probe.pa)}` : tellFault(probe.faultCode),
    code: ok ? null : BigInt(probe.faultCode),
  };
}

const tellFault = (esr: number) => `ESR_EL1 ${hex(esr)}: ${describeEsr(BigInt(esr))}`;

function tellLevel(probe: Arm64Paging, step: number): LevelReport {
  const { record, half } = probe;
  const level = half.startLevel + step;
  const entry = record.entry(step);
  const { granuleShift, oaFormat } = half;
  const rules = { granuleShift, ds: oaFormat === OA_LPA2, lpa: oaFormat === OA_LPA };
  return {
    level: `L${level}`,
    table: record.tableAddr[step] as PhysAddr,
    index: record.index[step],
    entryAddr: record.entryAddr(step) as PhysAddr,
    entry,
    bits: arm64EntryBits(entry, level, rules),
    verdict: tellEntry(probe, step),
  };
}

function tellEntry(probe: Arm64Paging, step: number): string {
  const { record, half } = probe;
  const verdict = probe.visit(record, step);
  if (verdict === DESCEND) return 'table';
  const shift = record.shift[step];
  if (verdict === LEAF) {
    return `${pageSizeName(shift)} ${shift === half.granuleShift ? 'page' : 'block'}`;
  }
  if (probe.stopKind === FSC_TRANSLATION) return 'invalid';
  if (probe.stopKind === FSC_ACCESS_FLAG) return 'access flag clear';
  return probe.stopKind === FSC_ADDRESS_SIZE ? 'address size' : 'outside RAM';
}
