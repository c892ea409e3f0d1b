// A race told to a person: one column for each CPU, one row for each step, and below a step what it did that others see.
import { hex } from '../emulator/bits.ts';
import type { Event } from '../emulator/events.ts';
import type { Kernel } from './kernel.ts';
import type { ArenaPlace } from './places.ts';
import { pageAt } from './places.ts';
import type { Race } from './race.ts';

/** Columns of a terminal that a story fills. */
const WIDTH = 118;
const NUMBER = 5;

export class Columns {
  private readonly race: Race;
  private readonly width: number;
  private readonly write: (line: string) => void;
  private steps = 0;
  private effects: string[] = [];

  /** @param write is handed each line, without a newline */
  constructor(race: Race, write: (line: string) => void) {
    this.race = race;
    this.write = write;
    const { cpus, events } = race.run.kernel;
    this.width = Math.floor((WIDTH - NUMBER) / cpus.length) - 2;
    events.read((event) => {
      const text = this.effectOf(event);
      if (text !== null) this.effects.push(text);
    }, false);
    this.row(
      'step',
      cpus.map(({ id }) => `CPU ${id}`),
    );
  }

  /** A CPU is about to move. */
  before(cpu: number): void {
    this.effects = [];
    this.steps++;
    const { cpuCount } = this.race;
    const text = cpu < cpuCount ? this.stepText(cpu) : this.extraText(cpu - cpuCount);
    this.tell(cpu % cpuCount, String(this.steps), text);
  }

  /** It has moved. @param results what its scenario steps came to that ended with it */
  after(cpu: number, results: readonly string[]): void {
    const column = cpu % this.race.cpuCount;
    for (const effect of this.effects) this.tell(column, '', `  ${effect}`);
    for (const result of results) this.tell(column, '', `= ${result}`);
  }

  private stepText(cpu: number): string {
    const { kernel } = this.race.run;
    const step = this.race.pending(cpu)!;
    if (step.kind !== 'insn') return this.inPages(step.what);
    return kernel.instructionAt(BigInt(step.what) as never)?.text ?? step.what;
  }

  /** Of a store buffer or a walker. */
  private extraText(cpu: number): string {
    const { walks } = this.race;
    return walks === null ? 'a store leaves the buffer' : this.inPages(walks.nextText(cpu));
  }

  /** Addresses of arena pages by their numbers. */
  private inPages(text: string): string {
    return text.replace(/0x[0-9a-f]{9,16}/g, (address) => {
      const page = pageAt(BigInt(address), this.race.run.places);
      return page === null ? address : `page ${page}`;
    });
  }

  private effectOf(event: Event): string | null {
    const { kernel, places } = this.race.run;
    switch (event.type) {
      case 'fault':
        return `fault: ${event.access} of ${placeOf(event.va, places)}`;
      case 'pteChange':
        return `PTE of ${placeOf(event.va, places)}: ${entryText(kernel, event.before)} -> ${entryText(kernel, event.after)}`;
      case 'page':
        return `${event.op === 'alloc' ? 'takes' : 'gives back'} frame ${hex(event.pfn)}`;
      case 'streamWrite':
        return event.dropped
          ? 'stderr is full: dropped'
          : `stderr: ${event.text.split('\n', 1)[0].replace(/ at unmapped.*/, '')}`;
      case 'retry':
        return `${event.resolution}: ${event.resolution === 'extable' ? 'goes on behind it' : 'runs it again'}`;
      case 'decision':
        return /^(bpf_arena_handle|check_deadlock|is_spurious)/.test(event.fn) ? event.text : null;
      case 'printk':
        return event.by === '__do_kernel_fault' ? null : event.text;
      case 'oops':
        return 'oops: the kernel cannot go on here';
      default:
        return null;
    }
  }

  private tell(cpu: number, number: string, text: string): void {
    const cells = this.race.run.kernel.cpus.map(({ id }) => (id === cpu ? text : ''));
    const lines = wrap(text, this.width);
    for (const [i, line] of lines.entries()) {
      cells[cpu] = line;
      this.row(i === 0 ? number : '', cells);
    }
  }

  private row(number: string, cells: readonly string[]): void {
    const text = cells.map((cell) => cell.padEnd(this.width)).join('  ');
    this.write(`${number.padStart(NUMBER - 1)} ${text}`.trimEnd());
  }
}

const placeOf = (va: bigint, places: readonly ArenaPlace[]): string => {
  const page = pageAt(va, places);
  return page === null ? hex(va) : `page ${page}`;
};

/** What a leaf entry maps. */
function entryText({ mm, arenas }: Kernel, entry: bigint): string {
  if (entry === 0n) return 'none';
  if (!mm.format.ptePresent(entry)) return hex(entry);
  const pfn = mm.format.ptePfn(entry);
  const isScratch = [...arenas.values()].some(({ scratchPage }) => scratchPage === pfn);
  return isScratch ? 'scratch' : `frame ${hex(pfn)}`;
}

/** Lines of at most `width` characters, broken at blanks where there are any; later ones are indented. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  const indent = `${/^ */.exec(text)![0]}  `;
  let rest = text;
  while (rest.length > width) {
    const at = rest.lastIndexOf(' ', width);
    const cut = at > indent.length ? at : width;
    lines.push(rest.slice(0, cut));
    rest = indent + rest.slice(cut).trimStart();
  }
  return [...lines, rest];
}
