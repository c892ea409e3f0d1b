// faultline decode oops: what an oops in a kernel log says, and a scenario to start from.
import { decodeEsr, describeEsr } from '../arch/arm64/fault-code.ts';
import { arm64EntrySummary } from '../arch/arm64/pte-decode.ts';
import { accessOf, levelOf, type OopsReport, parseOopsLog } from '../arch/oops-log.ts';
import { decodePfErrorCode, describePfErrorCode } from '../arch/x86/fault-code.ts';
import { LEVEL_BY_SHIFT, x86EntryBits } from '../arch/x86/pte-decode.ts';
import { hex } from '../emulator/bits.ts';
import { type Disassembler, loadDisassembler } from '../emulator/disassembler.ts';
import { isNotPresent, programsOf, relationTo, scenarioOf } from '../testbed/oops-scenario.ts';
import { fieldLines, fieldToJson } from './decode.ts';
import { CliError, EXIT } from './errors.ts';
import { explained, explainedJson } from './explain.ts';
import { nameOf, readBytes } from './files.ts';
import { type Io, paint } from './io.ts';

export interface DecodeOopsOptions {
  /** kern_vm_start of the arena that is suspected. */
  readonly kbase: bigint | null;
  readonly json?: boolean;
  /** Say of every line of the report which kernel function prints it. */
  readonly explain?: boolean;
}

/**
 * @param file a log, or - for standard input
 * @returns the exit code
 */
export async function decodeOopsCommand(
  file: string,
  { kbase, json = false, explain = false }: DecodeOopsOptions,
  io: Io,
): Promise<number> {
  // Consoles print bytes that are no text: those become question marks, and match nothing.
  const reports = parseOopsLog(new TextDecoder().decode(readBytes(file, io)));
  if (reports.length === 0) {
    throw new CliError(
      `${nameOf(file)}: holds no page-fault oops`,
      'give it what dmesg prints, from "BUG: unable to handle" or "Unable to handle kernel" on',
    );
  }
  const disassembler = await loadDisassembler();
  if (json) {
    const documents = reports.map((report) => ({
      ...documentOf(report, kbase, disassembler),
      ...(explain ? { explained: explainedJson(report.arch, report.lines) } : {}),
    }));
    io.out(`${JSON.stringify({ reports: documents }, null, 2)}\n`);
    return EXIT.ok;
  }
  reports.forEach((report, i) => {
    if (i > 0) io.out('\n');
    const title = `oops ${i + 1} of ${reports.length}, line ${report.line}`;
    io.out(`${paint(io, 'bold', title)}: ${report.arch}, ${report.message ?? 'head missing'}\n`);
    for (const line of linesOf(report, kbase, disassembler)) io.out(`${line}\n`);
    if (!explain) return;
    io.out('  report\n');
    for (const line of explained(report.arch, report.lines, '    ')) io.out(`${line}\n`);
  });
  return EXIT.ok;
}

const fieldsOf = ({ arch, code }: OopsReport) => {
  if (code === null) return [];
  return arch === 'x86_64' ? decodePfErrorCode(code) : decodeEsr(code);
};

function describeCode({ arch, code }: OopsReport): string {
  if (code === null) return 'not in the log';
  return arch === 'x86_64'
    ? `error code ${hex(code)}: ${describePfErrorCode(code)}`
    : `ESR_EL1 ${hex(code)}: ${describeEsr(code)}`;
}

/** One printed entry, in the manual's words. */
function entryText(report: OopsReport, name: string, value: bigint | null) {
  const level = levelOf(report, name);
  if (report.arch === 'x86_64') {
    const manual = LEVEL_BY_SHIFT[level];
    return {
      level: manual,
      bits: value === null ? 'cannot be read' : x86EntryBits(value, manual) || 'not present',
    };
  }
  const rules = { granuleShift: Math.log2(report.pageSize ?? 4096), ds: false, lpa: false };
  return {
    level: `level ${level}`,
    bits: value === null ? 'cannot be read' : arm64EntrySummary(value, level, rules),
  };
}

function instructionOf(report: OopsReport, disassembler: Disassembler): string | null {
  const { instruction, arch } = report;
  if (instruction === null) return null;
  const [insn] = disassembler.disassemble(instruction, { arch, address: 0n });
  return insn?.text ?? null;
}

function linesOf(report: OopsReport, kbase: bigint | null, disassembler: Disassembler): string[] {
  const { addr, where, entries, comm, cpu } = report;
  const insn = instructionOf(report, disassembler);
  const told = (label: string, text: string) => `  ${label.padEnd(12)}${text}`.trimEnd();
  return [
    told('address', addr === null ? 'not in the log' : hex(addr)),
    told('access', accessOf(report)),
    told('code', describeCode(report)),
    ...fieldLines(fieldsOf(report), 2),
    told('instruction', `${where ?? 'not in the log'}${insn === null ? '' : `: ${insn}`}`),
    ...(comm === null ? [] : [told('task', `${comm}, on CPU ${cpu}`)]),
    told('programs', programsOf(report).join(', ') || 'none in the call trace'),
    told('tables', entries.length === 0 ? 'not in the log' : ''),
    ...entries.map(({ name, value }) => {
      const { level, bits } = entryText(report, name, value);
      return `    ${name.padEnd(4)} ${level.padEnd(8)} ${(value === null ? '' : hex(value)).padEnd(18)}  ${bits}`;
    }),
    ...recoveryLines(report, kbase).map((line, i) => told(i === 0 ? 'recovery' : '', line)),
    told('scenario', ''),
    ...scenarioOf(report, kbase)
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`),
  ];
}

/** Would bpf_arena_handle_page_fault() have taken the fault? */
function recoveryLines(report: OopsReport, kbase: bigint | null): string[] {
  if (kbase === null) return ['unknown: --kbase names the kern_vm_start of the arena'];
  if (report.addr === null) return ['unknown: the log does not hold the address'];
  const { offset, page, zone, recovered } = relationTo(report.addr, kbase, report.pageSize ?? 4096);
  const sign = offset < 0n ? '-' : '+';
  const place = `${hex(kbase)} ${sign} ${hex(offset < 0n ? -offset : offset)}`;
  if (!recovered) {
    return [
      `${place}: ${zone === 'outside' ? 'outside the arena' : `in its ${zone}`}, never recovered`,
    ];
  }
  const lines = [`${place}: page ${page}, in the ${zone}, within the range that is recovered`];
  if (!isNotPresent(report)) lines.push('but the page was there: its handler is not asked');
  else if (programsOf(report).length === 0) lines.push('but no BPF program is in the call trace');
  else lines.push(`if the arena is that of ${programsOf(report)[0]}, the innermost program`);
  return lines;
}

function documentOf(report: OopsReport, kbase: bigint | null, disassembler: Disassembler): object {
  const { addr, code, entries } = report;
  const relation =
    kbase === null || addr === null ? null : relationTo(addr, kbase, report.pageSize ?? 4096);
  return {
    line: report.line,
    arch: report.arch,
    message: report.message,
    addr: addr === null ? null : hex(addr),
    access: accessOf(report),
    code: code === null ? null : hex(code),
    summary: describeCode(report),
    fields: fieldsOf(report).map(fieldToJson),
    where: report.where,
    instruction: instructionOf(report, disassembler),
    comm: report.comm,
    cpu: report.cpu,
    registers: Object.fromEntries([...report.registers].map(([name, value]) => [name, hex(value)])),
    trace: report.trace,
    programs: programsOf(report),
    walk: entries.map(({ name, value }) => ({
      name,
      ...entryText(report, name, value),
      value: value === null ? null : hex(value),
    })),
    recovery:
      relation === null
        ? null
        : {
            kbase: hex(kbase!),
            offset: relation.offset < 0n ? `-${hex(-relation.offset)}` : hex(relation.offset),
            page: relation.page,
            zone: relation.zone,
            in_range: relation.recovered,
            not_present: isNotPresent(report),
          },
    scenario: scenarioOf(report, kbase),
  };
}
