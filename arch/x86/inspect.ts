// A walk of x86-64 tables told level by level, for people: what `walk` prints and what traces show. Nothing is decided
// here; the paging unit judges every entry.
import type { PhysAddr, VirtAddr } from '../../emulator/address.ts';
import { bit, hex, hi32, lo32 } from '../../emulator/bits.ts';
import type { AccessKind } from '../../emulator/engine.ts';
import type { LevelReport, WalkReport } from '../../mm/paging.ts';
import { DESCEND, LEAF, OUTSIDE_RAM } from '../../mm/walk.ts';
import { describePfErrorCode } from './fault-code.ts';
import type { X86Paging } from './paging.ts';
import { LEVEL_BY_SHIFT, PAGE_NAME, x86EntryBits } from './pte-decode.ts';

/** @param probe a paging unit of its own: its answers are overwritten */
export function inspectWalk(probe: X86Paging, va: VirtAddr, kind: AccessKind): WalkReport {
  const ok = probe.walk(hi32(va), lo32(va), kind, false);
  const canonical = probe.canonical(hi32(va));
  const steps = canonical ? probe.record.length : 0;
  return {
    va,
    ok,
    pa: ok ? (probe.pa as PhysAddr) : null,
    levels: Array.from({ length: steps }, (_, step) => tellLevel(probe, step)),
    verdict: ok ? `translates to ${hex(probe.pa)}` : tellFault(probe.faultCode, canonical),
    code: ok ? null : BigInt(probe.faultCode),
  };
}

function tellFault(code: number, canonical: boolean): string {
  if (!canonical) return '#GP(0): the address is not canonical';
  return `#PF(${hex(code)}): ${describePfErrorCode(BigInt(code))}`;
}

function tellLevel(probe: X86Paging, step: number): LevelReport {
  const { record } = probe;
  const level = LEVEL_BY_SHIFT[record.shift[step]];
  const entry = record.entry(step);
  return {
    level,
    table: record.tableAddr[step] as PhysAddr,
    index: record.index[step],
    entryAddr: record.entryAddr(step) as PhysAddr,
    entry,
    bits: x86EntryBits(entry, level),
    verdict: tellEntry(probe, step),
  };
}

function tellEntry(probe: X86Paging, step: number): string {
  const { record } = probe;
  const verdict = probe.visit(record, step);
  if (verdict === DESCEND) return 'table';
  if (verdict === LEAF) return PAGE_NAME[record.shift[step]];
  if (record.word[step] === OUTSIDE_RAM) return 'outside RAM';
  return bit(record.entry(step), 0) ? 'reserved bits' : 'not present';
}
