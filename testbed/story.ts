// Events told to a person: one paragraph a fault, from the access through the walk and the kernel's path to the retry.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { Event, FaultEvent } from '../emulator/events.ts';

/** What the story asks of the run it tells. */
export interface StorySource {
  /** Instruction at an address, as text; null if it cannot be read. */
  instruction(ip: VirtAddr): string | null;
  formatSymbol(ip: VirtAddr): string;
  /** "page 1 of the arena", "outside every arena". */
  place(va: VirtAddr): string;
  /** A fault's code in one line: "error code 0x2 (W)". */
  describeCode(code: bigint): string;
}

/** Which optional parts to tell. */
export interface StoryParts {
  readonly walks: boolean;
  readonly path: boolean;
  readonly insns: boolean;
}

const LABEL = 26;

/** A reader of events that turns them into lines. */
export class Story {
  private faults = 0;
  private inWalk = false;
  private inPath = false;
  private readonly source: StorySource;
  private readonly parts: StoryParts;
  private readonly write: (line: string) => void;

  /** @param write is handed each line, without a newline */
  constructor(source: StorySource, parts: StoryParts, write: (line: string) => void) {
    this.source = source;
    this.parts = parts;
    this.write = write;
  }

  read(event: Event): void {
    switch (event.type) {
      case 'fault':
        this.fault(event);
        return;
      case 'walkStep':
        if (!this.parts.walks) return;
        if (!this.inWalk) this.write('  page-table walk');
        this.inWalk = true;
        this.write(
          `    ${event.level.padEnd(5)}[${String(event.index).padStart(4)}]  table ${hex(event.table)}  entry ${hex(event.entry).padEnd(18)}  ${event.bits === '' ? '' : `${event.bits}: `}${event.verdict}`,
        );
        return;
      case 'call':
        this.pathLine(event.fn, argumentText(event.args));
        return;
      case 'decision':
        this.pathLine('', event.text);
        return;
      case 'pteChange':
        this.pathLine(
          event.by,
          `PTE of ${hex(event.va)}: ${hex(event.before)} -> ${hex(event.after)}`,
        );
        return;
      case 'tlb':
        this.pathLine(
          event.op,
          event.start === null ? 'all' : `${hex(event.start)} to ${hex(event.end ?? event.start)}`,
        );
        return;
      case 'lock':
        this.pathLine(`${event.lock} ${event.op}`, '');
        return;
      case 'page':
        this.pathLine(`${event.op} page`, `pfn ${hex(event.pfn)} (${event.purpose})`);
        return;
      case 'streamWrite':
        this.pathLine(
          'report',
          `${event.stream} of ${event.prog}${event.dropped ? ', dropped: the stream is full' : ''}`,
        );
        return;
      case 'retry':
        this.inPath = false;
        this.write(
          event.resolution === 'extable'
            ? `  fixed up: goes on at ${this.source.formatSymbol(event.ip)}`
            : `  retry (${event.resolution}): ${this.source.formatSymbol(event.ip)} runs again`,
        );
        return;
      case 'printk':
        this.pathLine('printk', event.text);
        return;
      case 'oops':
        this.inPath = false;
        this.write('  the kernel oopsed');
        return;
      case 'insn':
        if (this.parts.insns) {
          this.write(
            `${this.source.formatSymbol(event.ip)}: ${this.source.instruction(event.ip) ?? '?'}`,
          );
        }
        return;
      default:
        event satisfies never;
    }
  }

  private fault(event: FaultEvent): void {
    this.faults++;
    this.inWalk = false;
    this.inPath = false;
    const where = this.source.formatSymbol(event.ip);
    this.write(
      `fault ${this.faults}: ${where}: ${this.source.instruction(event.ip) ?? 'not readable'}`,
    );
    this.write(`  ${event.access} at ${hex(event.va)}, ${this.source.place(event.va)}`);
    this.write(`  ${this.source.describeCode(event.code)}`);
  }

  private pathLine(label: string, text: string): void {
    if (!this.parts.path) return;
    if (!this.inPath) this.write("  the kernel's path");
    this.inPath = true;
    this.write(`    ${text === '' ? label : `${label.padEnd(LABEL)}  ${text}`}`);
  }
}

const argumentText = (args: Readonly<Record<string, string>>): string =>
  Object.entries(args)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
