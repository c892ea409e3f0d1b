// Reads the events of one run and keeps what its HTML report shows of the faults: of every fault a few numbers, of some
// their whole way. Where a fault lies in time is known when its call has ended, since only then are blocks costed.
import type { Field } from '../../arch/fields.ts';
import type { VirtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { AccessKind } from '../../emulator/engine.ts';
import type { Event, FaultEvent, Resolution } from '../../emulator/events.ts';
import type { WalkReport } from '../../mm/paging.ts';
import type { CallSeen } from '../call.ts';
import type { Charge } from '../event-costs.ts';
import { told } from '../fault-steps.ts';
import type { StepRun, WorldRun } from '../run.ts';
import type { StorySource } from '../story.ts';
import { FreedPages } from './freed-pages.ts';
import type { FaultDetail } from './model.ts';
import { chargedSince, costedPath } from './path-costs.ts';
import type { FaultSite, Moment, RecordedFault, RecordedStep } from './recorded.ts';
import { FaultTally } from './tally.ts';
import { WalkTree } from './walk-tree.ts';

/** Faults told in full: the first ones, and then the first of each further instruction that faults. */
const FIRST_FULL = 24;
const MOST_FULL = 64;
/** Faults that are kept one by one beside them. */
const MOST_ROWS = 256;
/** Events of one path that are kept: a path that loops is long. */
const MOST_EVENTS = 200;

const KINDS: Readonly<Record<FaultEvent['access'], AccessKind>> = { read: 0, write: 1, fetch: 2 };

interface Pending {
  readonly event: FaultEvent;
  readonly site: FaultSite;
  readonly order: number;
  readonly move: number;
  readonly instructions: number;
  readonly events: number;
  readonly walkCycles: number | null;
  readonly charges: readonly Charge[] | null;
  readonly cyclesBefore: number;
  readonly full: Opened | null;
}

/** What of a fault told in full must be looked at when it is delivered. */
interface Opened extends Omit<FaultDetail, 'path'> {
  readonly path: Event[];
  /** Arguments told so far: the functions of a path hand the same ones on. */
  readonly args: Map<string, string>;
  leftOut: number;
}

export class Recorder {
  /** The first faults, and those told in full. */
  readonly faults: RecordedFault[] = [];
  /** All of them. */
  readonly tally: FaultTally;
  /** The walks of the first of them, put together. */
  readonly walks = new WalkTree();
  readonly steps: RecordedStep[] = [];
  readonly freed: FreedPages;
  /** End of the run's time so far. */
  time = 0;
  private readonly run: WorldRun;
  private readonly source: StorySource;
  private readonly decode: (code: bigint) => readonly Field[];
  private readonly pending = new Map<number, Pending>();
  private readonly starts = new Map<number, { instructions: number }>();
  private sites = new Map<bigint, FaultSite>();
  private readonly fullAt = new Set<string>();
  private stale: bigint | null = null;
  private order = 0;
  private full = 0;
  /** Of the step that runs, the first of {@link faults}. */
  private stepStart = 0;

  constructor(run: WorldRun, source: StorySource, decode: (code: bigint) => readonly Field[]) {
    this.run = run;
    this.source = source;
    this.decode = decode;
    this.freed = new FreedPages(run);
    this.tally = new FaultTally(run.places);
    run.kernel.events.read((event) => this.read(event), false);
    this.begin();
  }

  /** Whether several CPUs run by a schedule: time is its steps. */
  get isRace(): boolean {
    return this.run.world.form === 'cpus';
  }

  /** Faults that were delivered and have not come to an end. */
  get unfinished(): number {
    return this.pending.size;
  }

  /** A step of the schedule was made. */
  moved(): void {
    this.time++;
  }

  /** A step of a run without a schedule has ended. */
  stepDone({ step, seen }: StepRun): void {
    this.steps.push({ label: step.kind, start: this.time });
    const call = seen.kind === 'call' ? (seen as CallSeen) : null;
    const faults = this.faults.slice(this.stepStart);
    if (call !== null) {
      const { time } = this;
      const place = placing(call);
      for (const fault of faults) {
        fault.start = time + place(fault);
        fault.end = fault.start + (call.cost === null ? 0 : (fault.cycles ?? 0));
      }
      this.tally.place(place, time);
      this.time += call.cost === null ? call.instructions : call.cost.cycles;
    }
    this.begin();
  }

  private begin(): void {
    this.stepStart = this.faults.length;
    // The next step may load other code at the same place.
    this.sites = new Map();
    for (const { id, cpu } of this.run.kernel.cpus) {
      this.starts.set(id, { instructions: cpu.retired });
    }
  }

  private read(event: Event): void {
    switch (event.type) {
      case 'fault':
        this.deliver(event);
        return;
      case 'staleRefusal':
        this.stale = event.va;
        return;
      case 'retry':
        this.note(event);
        this.conclude(event.cpu, event.resolution);
        return;
      case 'oops':
        this.conclude(event.cpu, 'oops');
        return;
      case 'pteChange':
        this.freed.note(event);
    }
    this.note(event);
  }

  private deliver(event: FaultEvent): void {
    const { kernel } = this.run;
    const vcpu = kernel.cpus[event.cpu];
    const { costs, mmu } = vcpu;
    const site = this.siteOf(event.ip);
    const walkCycles = costs === null || mmu.hit ? null : costs.lastWalk;
    const wanted = this.wantsFull(site, event);
    let full: Opened | null = null;
    if (wanted || this.order < MOST_ROWS) {
      const walk = vcpu.paging.inspect(event.va, KINDS[event.access]);
      this.walks.add(walk.levels);
      if (wanted) full = this.open(event, site, walk, walkCycles);
    }
    this.stale = null;
    this.pending.set(event.cpu, {
      event,
      site,
      order: this.order++,
      move: this.time,
      instructions: vcpu.cpu.retired - this.starts.get(event.cpu)!.instructions,
      events: (costs?.cycles ?? 0) - (walkCycles ?? 0),
      walkCycles,
      cyclesBefore: costs?.cycles ?? 0,
      charges: full === null || costs === null ? null : costs.charges(),
      full,
    });
  }

  private wantsFull(site: FaultSite, { code }: FaultEvent): boolean {
    const kind = `${site.symbol} ${code}`;
    const known = this.fullAt.has(kind);
    this.fullAt.add(kind);
    if (this.full >= MOST_FULL || (known && this.full >= FIRST_FULL)) return false;
    this.full++;
    return true;
  }

  private open(
    event: FaultEvent,
    site: FaultSite,
    { levels, verdict }: WalkReport,
    walkCycles: number | null,
  ): Opened {
    const { mmu } = this.run.kernel.cpus[event.cpu];
    const isStale = this.stale !== null && this.stale >> 12n === event.va >> 12n;
    return {
      instruction: site.instruction,
      codeText: this.source.describeCode(event.code),
      fields: this.decode(event.code),
      walk: levels,
      walkVerdict: verdict,
      walkNote: isStale
        ? 'Refused by a stale TLB entry: the tables say otherwise by now.'
        : mmu.hit
          ? 'Refused by a TLB entry: no walk was made. The tables say:'
          : '',
      walkCycles,
      path: [],
      args: new Map(),
      leftOut: 0,
    };
  }

  /** An event on the way of the fault that its CPU has taken. */
  private note(event: Event): void {
    const full = this.pending.get(event.cpu)?.full;
    if (full == null) return;
    if (full.path.length >= MOST_EVENTS) {
      full.leftOut++;
      return;
    }
    if (event.type !== 'call') {
      full.path.push(event);
      return;
    }
    const news = Object.entries(event.args).filter(
      ([name, value]) => full.args.get(name) !== value,
    );
    for (const [name, value] of news) full.args.set(name, value);
    full.path.push({ ...event, args: Object.fromEntries(news) });
  }

  private conclude(cpu: number, resolution: Resolution): void {
    const pending = this.pending.get(cpu);
    // Exceptions other than aborts of translation end here too, and are no faults.
    if (pending === undefined) return;
    this.pending.delete(cpu);
    const { costs } = this.run.kernel.cpus[cpu];
    const { event, site, order, move, instructions, events, full, walkCycles } = pending;
    const path = costs === null ? null : costs.cycles - pending.cyclesBefore;
    const fault: RecordedFault = {
      cpu,
      site,
      va: event.va,
      access: event.access,
      code: event.code,
      resolution,
      order,
      move,
      endMove: this.time,
      instructions,
      events,
      cycles: path === null ? null : path + (walkCycles ?? 0),
      detail: full === null ? null : this.close(full, pending.charges, costs?.charges() ?? null),
      start: move,
      end: this.time,
    };
    this.tally.add(fault);
    if (this.faults.length < MOST_ROWS || full !== null) this.faults.push(fault);
  }

  private close(
    { path, args: _, leftOut, ...opened }: Opened,
    before: readonly Charge[] | null,
    now: readonly Charge[] | null,
  ): FaultDetail {
    const steps = [...told(path)];
    if (leftOut > 0) steps.push({ title: '', detail: `${leftOut} more events` });
    const charges = before === null || now === null ? null : chargedSince(before, now);
    return { ...opened, path: costedPath(steps, charges) };
  }

  private siteOf(ip: VirtAddr): FaultSite {
    let site = this.sites.get(ip);
    if (site === undefined) {
      site = {
        ip: hex(ip),
        symbol: this.source.formatSymbol(ip),
        instruction: this.source.instruction(ip) ?? 'not readable',
      };
      this.sites.set(ip, site);
    }
    return site;
  }
}

/**
 * Where in its call a fault lies: in instructions, or in cycles, of which those of events are known at every moment and those of
 * blocks only for the whole call; they are spread evenly over its instructions.
 */
function placing({ cost, instructions }: CallSeen): (fault: Moment) => number {
  if (cost === null) return (fault) => fault.instructions;
  const events = cost.charges.reduce((sum, { cycles }) => sum + cycles, 0);
  const each = instructions === 0 ? 0 : (cost.cycles - events) / instructions;
  return (fault) => Math.round(fault.instructions * each) + fault.events;
}
