// run --explain: of every line that a step printed to the kernel log or to its program's stderr, the kernel function that
// prints it, and how well that function's text is known.
import type { Event } from '../emulator/events.ts';
import type { ArchName } from '../testbed/scenario.ts';
import { STANDINGS } from './standings.ts';

/** A line, and the function in which it was printed. */
interface Said {
  readonly text: string;
  readonly by: string;
}

const KNOWN = {
  read: 'its text was read',
  derived: 'derived from text that was read',
  unverified: 'unverified: its text was not at hand',
} as const;

/** A reader of events that keeps what was printed. */
export class Explainer {
  private readonly arch: ArchName;
  private log: Said[] = [];
  private stderr: Said[] = [];

  constructor(arch: ArchName) {
    this.arch = arch;
  }

  read(event: Event): void {
    if (event.type === 'printk') this.log.push(event);
    else if (event.type === 'streamWrite' && !event.dropped) {
      this.stderr.push(...linesOf(event.text));
    }
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

  private block(title: string, said: readonly Said[]): string[] {
    const lines: string[] = said.length === 0 ? [] : [title];
    said.forEach(({ text, by }, i) => {
      lines.push(`  | ${text}`.trimEnd());
      // A function that printed several lines is named below the last.
      if (said[i + 1]?.by !== by) lines.push(`      in ${this.describe(by)}`);
    });
    return lines;
  }

  private describe(by: string): string {
    const folder = this.arch === 'x86_64' ? 'x86' : 'arm64';
    const standing = STANDINGS[`${folder} ${by}`] ?? STANDINGS[by];
    if (standing === undefined) return `${by}(): nothing is said of it`;
    return `${by}(), ${standing[0]}: ${KNOWN[standing[1]]}`;
  }
}

/** A report's head and the stack below it are one message of two functions; what a program prints has no such head. */
function linesOf(text: string): Said[] {
  const lines = text.replace(/\n$/, '').split('\n');
  if (!text.startsWith('ERROR: Arena ')) {
    return lines.map((line) => ({ text: line, by: 'bpf_stream_vprintk' }));
  }
  return lines.map((line, i) => ({
    text: line,
    by: i === 0 ? '__bpf_prog_report_arena_violation' : 'bpf_stream_stage_dump_stack',
  }));
}
