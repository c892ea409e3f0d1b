// What the TLBs of a run hold for an address, as lines and as JSON: `walk` and the debugger's `info walk` show it beside
// the tables.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { Staleness, TlbReport } from '../mm/mmu.ts';
import { pageSizeName } from '../mm/paging.ts';
import type { WorldRun } from '../testbed/run.ts';
import type { Vcpu } from '../testbed/vcpu.ts';

const STALE: Readonly<Record<Staleness, string>> = {
  gone: 'nothing is mapped there by now',
  moved: 'the tables name another page by now',
  rights: 'the tables give other rights by now',
};

/** An entry a line; a vCPU without one has a line that says so. */
export const tlbLines = ({ kernel: { cpus } }: WorldRun, va: VirtAddr): string[] =>
  cpus.flatMap((vcpu) => {
    const entries = vcpu.mmu.tlbEntries(va);
    const lines = entries.length === 0 ? ['no entry'] : entries.map((one) => entryLine(vcpu, one));
    return lines.map((line) => `  TLB of CPU ${vcpu.id}: ${line}`);
  });

function entryLine({ paging }: Vcpu, entry: TlbReport): string {
  const { va, shift, page, rightsText, global, space, answers, stale } = entry;
  const what =
    page === null
      ? `${pageSizeName(shift)} at ${hex(va)}: a kept refusal`
      : `${pageSizeName(shift)} page ${hex(va)} -> ${hex(page)}`;
  const owner = global ? 'global' : `${paging.spaceName} ${space}`;
  return `${what} (${rightsText}), ${owner}${answers ? '' : ', not the present one'}${
    stale === null ? '' : `; stale: ${staleText(entry, stale)}`
  }`;
}

/** A refusal is stale once there is a page. */
const staleText = ({ page }: TlbReport, stale: Staleness): string =>
  page === null ? 'the tables map a page by now' : STALE[stale];

export const tlbJson = ({ kernel: { cpus } }: WorldRun, va: VirtAddr): object[] =>
  cpus.map(({ id, mmu, paging }) => ({
    cpu: id,
    entries: mmu.tlbEntries(va).map((entry) => ({
      va: hex(entry.va),
      size: hex(2n ** BigInt(entry.shift)),
      pa: entry.page === null ? null : hex(entry.page),
      rights: entry.rightsText,
      global: entry.global,
      [paging.spaceName.toLowerCase()]: entry.space,
      answers: entry.answers,
      stale: entry.stale,
    })),
  }));
