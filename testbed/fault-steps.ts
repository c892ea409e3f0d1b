// The stops on the way of one fault, as a debugger shows them: what each event of the kernel's path is in a line.
import { hex } from '../emulator/bits.ts';
import type { Event } from '../emulator/events.ts';

/** One stop on the way of a fault. */
export interface FaultStep {
  /** access, walk, fault, a kernel function, retry ... */
  readonly title: string;
  readonly detail: string;
}

/** Events since the last look, one stop each; lines of the kernel log in a row are one. */
export function* told(events: Event[]): Generator<FaultStep, void, void> {
  let printed: string[] = [];
  for (let event = events.shift(); event !== undefined; event = events.shift()) {
    if (event.type === 'printk') {
      printed.push(event.text);
      continue;
    }
    if (printed.length > 0) yield tellPrinted(printed);
    printed = [];
    const step = tellEvent(event);
    if (step !== null) yield step;
  }
  if (printed.length > 0) yield tellPrinted(printed);
}

const tellPrinted = ([first, ...more]: readonly string[]): FaultStep => ({
  title: 'printk',
  detail: more.length === 0 ? first : `${first} (and ${more.length} more lines)`,
});

function tellEvent(event: Exclude<Event, { type: 'printk' }>): FaultStep | null {
  switch (event.type) {
    case 'call': {
      const args = Object.entries(event.args).map(([name, value]) => `${name}=${value}`);
      return { title: event.fn, detail: args.join(' ') };
    }
    case 'decision':
      return { title: event.fn, detail: event.text };
    case 'pteChange':
      return {
        title: event.by,
        detail: `PTE of ${hex(event.va)}: ${hex(event.before)} -> ${hex(event.after)}`,
      };
    case 'streamWrite':
      return {
        title: 'report',
        detail: `${event.stream} of ${event.prog}: ${event.dropped ? 'dropped' : event.text.split('\n', 1)[0]}`,
      };
    case 'tlb':
      return { title: event.op, detail: event.start === null ? '' : hex(event.start) };
    case 'retry':
      return { title: 'retry', detail: `${event.resolution}: goes on at ${hex(event.ip)}` };
    case 'oops':
      return { title: 'oops', detail: event.lines[0] ?? '' };
    // The access and its walk were told before; locks and pages are not on this path.
    case 'fault':
    case 'walkStep':
    case 'staleRefusal':
    case 'insn':
    case 'lock':
    case 'page':
      return null;
  }
}
