// Events told to a person: one paragraph a fault, from the access through the walk and the kernel's path to the retry.
// Of what kfuncs and workers do between calls, only how entries that were there give way to others.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { Event, FaultEvent, WalkStepEvent } from '../emulator/events.ts';

/** What the story asks of the run it tells. */
export interface StorySource {
  /** Instruction at an address, as text; null if it cannot be read. */
  instruction(ip: VirtAddr): string | null;
  formatSymbol(ip: VirtAddr): string;
  /** "page 1 of the arena", "outside every arena". */
  place(va: VirtAddr): string;
  /** A fault's code in one line: "error code 0x2: supervisor write, not-present page". */
  describeCode(code: bigint): string;
  /** Register that holds the address: CR2, FAR_EL1. */
  readonly faultAddressRegister: string;
}

/** What is told beyond one line a fault. */
export interface StoryParts {
  /** Faults told in full; of the others only the first line is told, and of most nothing. */
  readonly full: number;
  /** Every walk, not only those that end in a fault. */
  readonly walks: boolean;
  readonly insns: boolean;
}

/** Width of a kernel function's name, so that what it did stands in a column. */
const LABEL = 28;
/** Faults beyond the full ones that get a line each. */
const BRIEF = 20;
/** Lines about entries that a step between calls changes: it may free a million. */
const MOST_CHANGES = 8;

/** A reader of events that turns them into lines. */
export class Story {
  private faults = 0;
  /** Steps of the walk that is being made. */
  private walk: WalkStepEvent[] = [];
  /** The last line opened a list of kernel functions. */
  private inPath = false;
  /** Whose line was told last. */
  private label = '';
  /** Arguments of the kernel's path so far. */
  private readonly told = new Map<string, string>();
  private inFault = false;
  /** Lines of the kernel log since the last other step: an oops shows its whole report elsewhere. */
  private printed: string[] = [];
  private untold = 0;
  /** In a fault of which no path is told. */
  private inUntold = false;
  /** Where an entry gave way last, between calls, and how many lines that has made since the last step. */
  private replaced: bigint | null = null;
  private changes = 0;
  private readonly source: StorySource;
  private readonly parts: StoryParts;
  private readonly write: (line: string) => void;

  /** Where a stale entry refused an access whose fault is still to come. */
  private refusedAt: VirtAddr | null = null;

  /** @param write is handed each line, without a newline */
  constructor(source: StorySource, parts: StoryParts, write: (line: string) => void) {
    this.source = source;
    this.parts = parts;
    this.write = write;
  }

  /** A step has ended. @returns how many of its faults were not told, not even briefly */
  takeUntold(): number {
    const { untold } = this;
    this.untold = 0;
    this.replaced = null;
    this.changes = 0;
    this.inPath = false;
    this.label = '';
    return untold;
  }

  read(event: Event): void {
    switch (event.type) {
      case 'walkStep':
        this.walkStep(event);
        return;
      case 'fault':
        this.fault(event);
        return;
      case 'insn':
        if (this.parts.insns) this.write(this.instructionLine(event.ip));
        return;
      case 'oops':
        if (this.inFault) this.write('  oops: the kernel cannot go on');
        this.inFault = false;
        this.inUntold = false;
        return;
      case 'retry':
        this.retry(event.resolution, event.ip);
        return;
      case 'staleRefusal':
        // No walk was made for it.
        this.walk = [];
        this.refusedAt = event.va;
        return;
      default:
        if (this.inFault) this.kernelStep(event);
        else if (!this.inUntold) this.change(event);
    }
  }

  /** An entry that was there changes; then what else happens to it, and the flushes. */
  private change(event: Event): void {
    if (event.type === 'pteChange' && (event.before !== 0n || event.va === this.replaced)) {
      this.replaced = event.va;
    } else if (event.type !== 'tlb' || this.replaced === null) return;
    this.changes++;
    if (this.changes < MOST_CHANGES) this.kernelStep(event);
    else if (this.changes === MOST_CHANGES) this.pathLine('...', '');
  }

  private fault(event: FaultEvent): void {
    this.faults++;
    this.inPath = false;
    this.told.clear();
    this.label = '';
    this.printed = [];
    this.inFault = this.faults <= this.parts.full;
    this.inUntold = !this.inFault;
    const stale = this.refusedAt !== null && samePage(this.refusedAt, event.va);
    this.refusedAt = null;
    const head = `fault ${this.faults}: ${event.access} at ${hex(event.va)}, ${this.source.place(event.va)}`;
    if (!this.inFault) {
      if (this.faults > this.parts.full + BRIEF) this.untold++;
      else this.write(`${head}, by ${this.source.formatSymbol(event.ip)}`);
      return;
    }
    this.write(head);
    this.write(`  ${this.instructionLine(event.ip)}`);
    if (this.walk.length > 0 && !samePage(this.walk[0].va, event.va)) this.walk = [];
    if (!this.parts.walks) this.tellWalk();
    if (stale) this.write('  refused by a stale TLB entry: the tables say otherwise by now');
    const { describeCode, faultAddressRegister } = this.source;
    this.write(`  ${describeCode(event.code)}; ${faultAddressRegister} ${hex(event.va)}`);
  }

  private walkStep(event: WalkStepEvent): void {
    if (this.walk.length > 0 && this.walk[0].va !== event.va) this.walk = [];
    if (this.walk.some(({ level }) => level === event.level)) this.walk = [];
    this.walk.push(event);
    if (this.parts.walks) this.tellLevel(event);
  }

  private tellWalk(): void {
    if (this.walk.length > 0) this.write(`  page-table walk of ${hex(this.walk[0].va)}`);
    for (const step of this.walk) this.tellLevel(step);
    this.walk = [];
  }

  private tellLevel({ level, index, table, entry, bits, verdict }: WalkStepEvent): void {
    const place = `${level.padEnd(4)} ${hex(table)}[${index}]`;
    const what = bits === '' ? verdict : `${verdict} (${bits})`;
    this.write(`    ${place.padEnd(LABEL)}  ${hex(entry).padEnd(18)}  ${what}`);
  }

  private retry(resolution: string, ip: VirtAddr): void {
    this.inUntold = false;
    if (!this.inFault) return;
    this.tellPrinted();
    this.inFault = false;
    const at = this.source.formatSymbol(ip);
    this.write(
      resolution === 'extable'
        ? `  fixed up by the exception table: goes on at ${at}`
        : `  ${resolution}: ${at} runs again`,
    );
  }

  private kernelStep(
    event: Exclude<
      Event,
      { type: 'fault' | 'walkStep' | 'insn' | 'oops' | 'retry' | 'staleRefusal' }
    >,
  ): void {
    if (event.type === 'printk') {
      this.printed.push(event.text);
      return;
    }
    this.tellPrinted();
    switch (event.type) {
      case 'call':
        this.pathLine(event.fn, this.newArguments(event.args));
        return;
      case 'decision':
        this.pathLine(event.fn, event.text);
        return;
      case 'pteChange':
        this.pathLine(
          event.by,
          `PTE of ${hex(event.va)}: ${hex(event.before)} -> ${hex(event.after)}`,
        );
        return;
      case 'tlb':
        this.pathLine(event.op, event.start === null ? '' : hex(event.start));
        return;
      case 'lock':
        this.pathLine(event.lock, event.op);
        return;
      case 'page':
        this.pathLine(`${event.op} page`, `pfn ${hex(event.pfn)} (${event.purpose})`);
        return;
      case 'streamWrite':
        this.pathLine(
          'report',
          `${event.stream} of ${event.prog}${event.dropped ? ': dropped, it is full' : ''}`,
        );
        return;
      default:
        event satisfies never;
    }
  }

  private tellPrinted(): void {
    for (const text of this.printed) this.pathLine('printk', text);
    this.printed = [];
  }

  private pathLine(label: string, text: string): void {
    if (!this.inPath) this.write("  the kernel's path");
    this.inPath = true;
    // What a function decided stands below its name.
    const name = label === this.label ? '' : label;
    this.label = label;
    this.write(`    ${`${name.padEnd(LABEL)}  ${text}`.trimEnd()}`);
  }

  private instructionLine(ip: VirtAddr): string {
    return `${this.source.formatSymbol(ip)}: ${this.source.instruction(ip) ?? 'not readable'}`;
  }

  /** Arguments that no earlier function of this path had with the same value: the others only repeat. */
  private newArguments(args: Readonly<Record<string, string>>): string {
    const told = Object.entries(args).filter(([name, value]) => this.told.get(name) !== value);
    for (const [name, value] of told) this.told.set(name, value);
    return told.map(([name, value]) => `${name}=${value}`).join(' ');
  }
}

const samePage = (one: bigint, other: bigint): boolean => one >> 12n === other >> 12n;
