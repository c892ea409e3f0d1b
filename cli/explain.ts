// --explain: of every line of a report, whether a step printed it or a log holds it, the kernel function that prints it,
// and how well that function's text is known.

import type { PrintedLine } from '../arch/oops-lines.ts';
import type { Event } from '../emulator/events.ts';
import type { ArchName } from '../testbed/scenario.ts';
import { STANDINGS } from './standings.ts';

const KNOWN = {
  read: 'its text was read',
  derived: 'derived from text that was read',
  unverified: 'unverified: its text was not at hand',
} as const;

/** A reader of events that keeps what was printed. */
export class Explainer {
  private readonly arch: ArchName;
  private log: PrintedLine[] = [];
  private stderr: PrintedLine[] = [];

  constructor(arch: ArchName) {
    this.arch = arch;
  }

  read(event: Event): void {
    if (event.type === 'printk') this.log.push(event);
    else if (event.type === 'streamWrite' && !event.dropped) {
      this.stderr.push(...linesOf(event.text));
    }
  }

  /** What was said since the last call, for a document. */
  takeJson(): ExplainedLine[] {
    const said = explainedJson(this.arch, [...this.log, ...this.stderr]);
    this.log = [];
    this.stderr = [];
    return said;
  }

  /** Lines to print for what was said since the last call. */
  take(): string[] {
    const lines = [
      ...this.block('kernel log', this.log),
      ...this.block('stderr of the program', this.stderr),
    ];
    this.log = [];
    this.stderr = [];
    return lines;
  }

  private block(title: string, said: readonly PrintedLine[]): string[] {
    return said.length === 0 ? [] : [title, ...explained(this.arch, said, '  ')];
  }
}

/** The lines, each behind a bar; below the last of several that a function printed, that function. */
export function explained(arch: ArchName, said: readonly PrintedLine[], margin: string): string[] {
  return said.flatMap(({ text, by }, i) => [
    `${margin}| ${text}`.trimEnd(),
    ...(said[i + 1]?.by === by ? [] : [`${margin}    in ${describe(arch, by)}`]),
  ]);
}

/** A line in a document; `source` and `standing` are null where nothing is said of its function. */
type ExplainedLine = Record<'text' | 'function', string> &
  Record<'source' | 'standing', string | null>;

/** The same for a document. */
export const explainedJson = (arch: ArchName, said: readonly PrintedLine[]): ExplainedLine[] =>
  said.map(({ text, by }) => {
    const [source = null, standing = null] = standingOf(arch, by) ?? [];
    return { text, function: by, source, standing };
  });

const standingOf = (arch: ArchName, by: string) =>
  STANDINGS[`${arch === 'x86_64' ? 'x86' : 'arm64'} ${by}`] ?? STANDINGS[by];

function describe(arch: ArchName, by: string): string {
  const standing = standingOf(arch, by);
  if (standing === undefined) return `${by}(): nothing is said of it`;
  return `${by}(), ${standing[0]}: ${KNOWN[standing[1]]}`;
}

/** A report's head and the stack below it are one message of two functions; what a program prints has no such head. */
function linesOf(text: string): PrintedLine[] {
  const lines = text.replace(/\n$/, '').split('\n');
  if (!text.startsWith('ERROR: Arena ')) {
    return lines.map((line) => ({ text: line, by: 'bpf_stream_vprintk' }));
  }
  return lines.map((line, i) => ({
    text: line,
    by: i === 0 ? '__bpf_prog_report_arena_violation' : 'bpf_stream_stage_dump_stack',
  }));
}
