// Which kernel function prints a line of an oops: told by the line's own words, since a log does not say it. Lines of
// others, and those of functions that the model leaves out, belong to none.
import type { OopsReport } from './oops-log.ts';

/** A line without what the log puts in front of it, and the function that prints it. */
export interface PrintedLine {
  readonly text: string;
  readonly by: string;
}

type Printers = readonly (readonly [line: RegExp, by: string])[];

/** A frame of a trace: %pS or %pB, of an address without a symbol the number. */
const FRAME =
  /(?:\? )?(?:\b[A-Za-z_][\w.$]*\+0x[0-9a-f]+\/0x[0-9a-f]+|\b0x[0-9a-f]{16}(?: \(P\))?\s*$)/;

/** Lines that both architectures print alike. */
const COMMON: Printers = [
  [/\bCPU: \d+ (?:UID|PID): |\bTainted: \[|\bHardware name: /, 'dump_stack_print_info'],
  [/\bModules linked in:/, 'print_modules'],
  [/\bKernel panic - not syncing: |---\[ end Kernel panic/, 'panic'],
  [/---\[ end trace /, 'print_oops_end_marker'],
];

const X86: Printers = [
  [/\bBUG: unable to handle |\bBUG: kernel NULL pointer |#PF: /, 'show_fault_oops'],
  [/\bkernel tried to execute |\bunable to execute userspace code /, 'show_fault_oops'],
  [/\bBUG: \S+ stack guard page was hit /, 'handle_stack_overflow'],
  [/\S+: Corrupted page table at address /, 'pgtable_bad'],
  [/\bPGD [0-9a-f]+ |\bBAD\s*$/, 'dump_pagetable'],
  [/\b(?:Oops|Bad pagetable|stack guard page): .*\[#\d+\]/, '__die'],
  [/\bCode: /, 'show_opcodes'],
  [/\bCR2: [0-9a-f]{16}\s*$/, 'page_fault_oops'],
  [/\b(?:RIP|RSP|R[A-Z0-9]{2}|[FC]S|CR2): /, '__show_regs'],
  [/\bCall Trace:|<\/?TASK>/, 'show_trace_log_lvl'],
  ...COMMON,
  [FRAME, 'show_trace_log_lvl'],
];

const ARM64: Printers = [
  [/\bUnable to handle kernel .* at virtual address /, 'die_kernel_fault'],
  [/\bMem abort info:| {2}(?:ESR|EC|Exception class|SET|EA|FSC) = /, 'mem_abort_decode'],
  [/\bData abort info:| {2}(?:ISV|CM|GCS|Access size|SSE|SF) = /, 'data_abort_decode'],
  [
    /\b\w+ pgtable: \d+k pages, |\[[0-9a-f]{16}\] (?:\*?pgd=|user address|address between)/,
    'show_pte',
  ],
  [/\bInternal error: /, 'die'],
  [/\bInsufficient stack space |\b(?:ESR|FAR): 0x| stack: +\[/, 'panic_bad_stack'],
  [/\bpstate: /, 'print_pstate'],
  [/\b(?:pc|lr|sp) : |\bx\d{1,2} ?: [0-9a-f]{16}/, '__show_regs'],
  [/\bCall trace:/, 'dump_backtrace'],
  [/\bCode: /, 'dump_kernel_instr'],
  ...COMMON,
  [FRAME, 'dump_backtrace'],
];

/** @returns the line and who prints it; null for a line of somebody else */
export function printedLine(arch: OopsReport['arch'], line: string): PrintedLine | null {
  for (const [pattern, by] of arch === 'x86_64' ? X86 : ARM64) {
    const match = pattern.exec(line);
    if (match !== null) return { text: line.slice(match.index).trim(), by };
  }
  return null;
}
