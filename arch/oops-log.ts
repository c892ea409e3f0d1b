// Reads oopses of either architecture out of a kernel log, as dmesg, a serial console or journalctl hold it: the texts
// of show_fault_oops(), __die(), die_kernel_fault(), mem_abort_decode() and show_pte(), of the last ten years. What
// stands in front of a line does not matter, lines that belong to nobody are passed over, and whatever is missing is
// null. Left out: telling apart reports that two CPUs print at the same time, and oopses other than page faults.
import type { AccessName } from '../emulator/events.ts';
import { EC_IABT_CUR } from './arm64/fault-code.ts';
import { type PrintedLine, printedLine } from './oops-lines.ts';
import { PF_I, PF_W } from './x86/fault-code.ts';

export interface OopsReport {
  readonly arch: 'x86_64' | 'arm64';
  /** Line of the log at which it begins, from 1. */
  readonly line: number;
  /** The report's own first words: "unable to handle page fault", "paging request". */
  message: string | null;
  /** CR2 or FAR_EL1. */
  addr: bigint | null;
  /** x86: error code. arm64: ESR_EL1. */
  code: bigint | null;
  /** Where it happened, as %pS prints it. */
  where: string | null;
  /** Entries on the way to the address, top first, with the names the kernel prints; null: BAD, its table cannot be read. */
  entries: readonly { readonly name: string; readonly value: bigint | null }[];
  /** arm64: page size in bytes and width of virtual addresses, as show_pte() says. */
  pageSize: number | null;
  vaBits: number | null;
  /** Name of the task. */
  comm: string | null;
  cpu: number | null;
  /** General registers that were printed, by the manual's names in lower case. */
  readonly registers: Map<string, bigint>;
  /** The faulting instruction and what follows it (x86), or the instruction alone (arm64); null if not printed. */
  instruction: Uint8Array | null;
  /** Functions of the call trace, innermost first, without those the unwinder only found lying about. */
  readonly trace: string[];
  /** What was recognised of it, up to its end marker, with the functions that print it. */
  readonly lines: PrintedLine[];
}

/** Every oops in a log, in its order. Never throws. */
export function parseOopsLog(text: string): OopsReport[] {
  const reports: OopsReport[] = [];
  const reader = new Reader(reports);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: consoles colour their lines
  const plain = text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '');
  plain.split(/\r\n|\n|\r/).forEach((line, i) => {
    reader.line(line, i + 1);
  });
  return reports.filter(({ addr, code }) => addr !== null || code !== null);
}

const word = (digits: string): bigint => BigInt(`0x${digits}`);

/** What begins a report: architecture and what to take from the match. */
const HEADS: readonly [RegExp, OopsReport['arch']][] = [
  [/BUG: (unable to handle page fault) for address: ([0-9a-f]{8,16})\b/, 'x86_64'],
  [/BUG: (kernel NULL pointer dereference), address: ([0-9a-f]{8,16})\b/, 'x86_64'],
  // Before 5.1.
  [/BUG: (unable to handle kernel [\w ]+?) at (?:virtual address )?([0-9a-f]{16})\b/, 'x86_64'],
  [/BUG: (\S+ stack guard page was hit) at ([0-9a-f]{16})\b/, 'x86_64'],
  [/(Corrupted page table) at address ([0-9a-f]+)\b/, 'x86_64'],
  [/Unable to handle kernel (.+?) at virtual address ([0-9a-f]{16})\b/, 'arm64'],
];

/** Lines that only one architecture prints, for logs whose head is lost. */
const BODIES: readonly [RegExp, OopsReport['arch']][] = [
  [/#PF: (?:supervisor|user) |#PF: error_code\(|\bOops: (?:Oops: )?[0-9a-f]{4} \[#/, 'x86_64'],
  [/\bPGD [0-9a-f]+ P4D [0-9a-f]+/, 'x86_64'],
  [/Mem abort info:|\bESR = 0x[0-9a-f]+|\[[0-9a-f]{16}\] pgd=|Oops: [0-9a-f]{8,16} \[#/, 'arm64'],
  [/Insufficient stack space to handle exception/, 'arm64'],
];

const ENDS = /---\[ end (?:trace|Kernel panic)/;

class Reader {
  private readonly reports: OopsReport[];
  private current: OopsReport | null = null;
  private ended = false;
  private inTrace = false;

  constructor(reports: OopsReport[]) {
    this.reports = reports;
  }

  line(line: string, number: number): void {
    for (const [pattern, arch] of HEADS) {
      const [, message, addr] = pattern.exec(line) ?? [];
      if (message === undefined) continue;
      this.begin(arch, number);
      this.current!.message = message;
      this.current!.addr = word(addr);
      this.keep(line);
      return;
    }
    if (this.current === null || this.ended) {
      const body = BODIES.find(([pattern]) => pattern.test(line));
      // After its end marker x86 prints the registers once more, and dying goes on for a while.
      if (body === undefined) return;
      this.begin(body[1], number);
    }
    this.keep(line);
    if (ENDS.test(line)) this.ended = true;
    else if (this.current!.arch === 'x86_64') this.x86(this.current!, line);
    else this.arm64(this.current!, line);
  }

  private begin(arch: OopsReport['arch'], line: number): void {
    this.current = {
      arch,
      line,
      message: null,
      addr: null,
      code: null,
      where: null,
      entries: [],
      pageSize: null,
      vaBits: null,
      comm: null,
      cpu: null,
      registers: new Map(),
      instruction: null,
      trace: [],
      lines: [],
    };
    this.reports.push(this.current);
    this.ended = false;
    this.inTrace = false;
  }

  private keep(line: string): void {
    const printed = printedLine(this.current!.arch, line);
    if (printed !== null) this.current!.lines.push(printed);
  }

  private x86(report: OopsReport, line: string): void {
    const code =
      /#PF: error_code\(0x([0-9a-f]+)\)/.exec(line) ??
      /\bOops: (?:Oops: )?([0-9a-f]{4}) \[#/.exec(line);
    if (code !== null) report.code ??= word(code[1]);
    const cr2 = /\bCR2: ([0-9a-f]{16})\b/.exec(line);
    if (cr2 !== null) report.addr ??= word(cr2[1]);
    if (/\bPGD [0-9a-f]/.test(line)) report.entries = x86Entries(line);
    if (/\bBAD\s*$/.test(line) && report.entries.length > 0) {
      report.entries = [...report.entries, { name: unreadable(report.entries), value: null }];
    }
    const rip = /\bRIP: [0-9a-f]{4}:(?:\[<[0-9a-f]+>\]\s+){0,2}(\S+)/.exec(line);
    if (rip !== null) report.where ??= rip[1];
    for (const [, name, value] of line.matchAll(/\b(R[A-Z0-9]{2}): ([0-9a-f]{16})\b/g)) {
      setOnce(report.registers, name.toLowerCase().replace(/^r0/, 'r'), word(value));
    }
    const bytes = /\bCode: .*<([0-9a-f]{2})>((?: [0-9a-f]{2})*)/.exec(line);
    if (bytes !== null) report.instruction ??= bytesOf(bytes[1] + bytes[2]);
    this.common(report, line);
  }

  private arm64(report: OopsReport, line: string): void {
    const esr =
      /\bESR(?: = |: )0x([0-9a-f]+)/.exec(line) ?? /\bOops: ([0-9a-f]{8,16}) \[#/.exec(line);
    if (esr !== null) report.code ??= word(esr[1]);
    const far = /\bFAR: 0x([0-9a-f]{16})/.exec(line) ?? /\[([0-9a-f]{16})\] /.exec(line);
    if (far !== null) report.addr ??= word(far[1]);
    const pgtable = /\bpgtable: (\d+)k pages, (\d+)-bit VAs/.exec(line);
    if (pgtable !== null) {
      report.pageSize = Number(pgtable[1]) * 1024;
      report.vaBits = Number(pgtable[2]);
    }
    if (/\] \*?pgd=/.test(line)) {
      report.entries = [...line.matchAll(/\b(pgd|p4d|pud|pmd|pte)=([0-9a-f]{16})/g)].map(
        ([, name, value]) => ({ name, value: word(value) }),
      );
    }
    const pc = /\bpc : (?:\[<[0-9a-f]+>\] )?(\S+)/.exec(line);
    if (pc !== null) report.where ??= pc[1];
    for (const [, name, value] of line.matchAll(/\b(x\d{1,2}|sp) ?: ([0-9a-f]{16})\b/g)) {
      setOnce(report.registers, name, word(value));
    }
    const bytes = /\bCode: .*\(([0-9a-f]{8})\)/.exec(line);
    if (bytes !== null) {
      report.instruction ??= bytesOf(bytes[1].replace(/(..)(..)(..)(..)/, '$4 $3 $2 $1'));
    }
    this.common(report, line);
  }

  private common(report: OopsReport, line: string): void {
    const task = /\bCPU: (\d+) (?:UID: \d+ )?PID: \d+ Comm: (.+?) (?:Not tainted|Tainted:|Kdump:)/;
    const [, cpu, comm] = task.exec(line) ?? [];
    if (cpu !== undefined) {
      report.cpu ??= Number(cpu);
      report.comm ??= comm;
    }
    if (/\bCall [Tt]race:/.test(line)) this.inTrace = true;
    else if (this.inTrace) this.traceLine(report, line);
  }

  private traceLine(report: OopsReport, line: string): void {
    const frame = /(\? )?\b([A-Za-z_][\w.$]*)\+0x[0-9a-f]+\/0x[0-9a-f]+/.exec(line);
    if (frame === null) {
      if (/<\/TASK>|\bCode: |Modules linked in|^\s*$/.test(line)) this.inTrace = false;
    } else if (frame[1] === undefined && !/\b(?:RIP|pc|lr)\b/.test(line)) {
      report.trace.push(frame[2]);
    }
  }
}

/** "PGD 102067 P4D 102067 PUD 103067 PMD 0": older kernels leave the P4D out. */
const x86Entries = (line: string): OopsReport['entries'] =>
  [...line.matchAll(/\b(PGD|P4D|PUD|PMD|PTE) ([0-9a-f]+)\b/g)].map(([, name, value]) => ({
    name,
    value: word(value),
  }));

const NAMES = ['PGD', 'P4D', 'PUD', 'PMD', 'PTE'];

/** The entry at which dump_pagetable() printed BAD: the one below the last that it could read. */
const unreadable = (entries: OopsReport['entries']): string =>
  NAMES[Math.min(NAMES.indexOf(entries[entries.length - 1].name) + 1, 4)];

function setOnce(registers: Map<string, bigint>, name: string, value: bigint): void {
  if (!registers.has(name)) registers.set(name, value);
}

const bytesOf = (text: string): Uint8Array =>
  Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16));

/** What was tried, by the code; a read where there is none. */
export function accessOf({ arch, code }: OopsReport): AccessName {
  if (code === null) return 'read';
  const low = Number(BigInt.asUintN(32, code));
  if (arch === 'x86_64') return low & PF_I ? 'fetch' : low & PF_W ? 'write' : 'read';
  if (low >>> 26 === EC_IABT_CUR) return 'fetch';
  return low & (1 << 6) ? 'write' : 'read';
}

/**
 * Number of the level that a printed name stands for.
 * @returns x86: log2 of what an entry maps (12 for a PTE); arm64: the manual's level, -1 to 3
 */
export function levelOf(report: OopsReport, name: string): number {
  const height = 4 - NAMES.indexOf(name.toUpperCase());
  if (report.arch === 'arm64') {
    const shift = Math.log2(report.pageSize ?? 4096);
    const levels = Math.ceil(((report.vaBits ?? 48) - shift) / (shift - 3));
    // Names above the top level repeat its entry.
    return Math.max(3 - height, 4 - levels);
  }
  // Four levels print the top entry under both names.
  const [top, next] = report.entries;
  const folded = next?.name !== 'P4D' || next.value === top.value;
  return 12 + 9 * (folded ? Math.min(height, 3) : height);
}
