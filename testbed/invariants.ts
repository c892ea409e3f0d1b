// What must hold whatever the schedule: the invariants of the scenario format, checked over the stream of events, the
// accesses of instructions and the state of the model, after every step and at the end. docs/races.md has them in words.
// A run ends with the first one that is broken.
import type { BpfArena } from '../bpf/arena.ts';
import type { Pfn, VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { WRITE } from '../emulator/engine.ts';
import type { Event, FaultEvent, PageEvent, PteChangeEvent, TlbEvent } from '../emulator/events.ts';
import { CHANGED, LOOKED, type Shared } from '../mm/context.ts';
import type { PageAccess } from './insn-access.ts';
import { type ArenaPlace, arenaAt, arenaNamed, pageAt } from './places.ts';
import type { Race } from './race.ts';
import type { Invariant } from './scenario-model.ts';

/** Something that must not happen did. `expect` and `deadlock` cannot be left out. */
export interface Violation {
  readonly invariant: Invariant | 'expect' | 'deadlock';
  /** CPU whose step broke it; null at the end. */
  readonly cpu: number | null;
  readonly what: string;
}

/** A fault that the kernel answered with "run it again". */
interface Retried {
  readonly ip: VirtAddr;
  readonly va: VirtAddr;
  /** Nobody has changed the page's entry since. */
  undisturbed: boolean;
  resolved: boolean;
  /** It is the one re-fault that the policy `tlb.negative` allows. */
  readonly kept: boolean;
}

/** DFSC. */
const TLB_CONFLICT = 0x30n;

const HANDLER = 'bpf_arena_handle_page_fault';
const WALK = 'apply_to_page_range';

export class Invariants {
  private readonly race: Race;
  private found: Violation | null = null;
  /** Data frames that kernel PTEs map, by page address. */
  private mapped = new Map<bigint, number>();
  /** Pages whose allocation has returned and whose free has not begun, by kernel address. */
  private allocated = new Set<bigint>();
  /** The same as something that steps look at and change: who checks depends on the order as well. */
  private readonly claims: Shared = {
    label: 'allocated pages',
    fingerprint: () => [...this.allocated].sort().join(' '),
  };
  /** Entries that were valid and whose translations no flush has named since: what they mapped. */
  private broken = new Map<bigint, bigint>();
  /** Pages of the entries that the kernel has changed, by where these lie. */
  private readonly entries = new Map<number, bigint>();
  /** TLB entries, as `cpu page frame`, whose frame was freed under them. */
  private stale = new Set<string>();
  private retried: (Retried | null)[] = [];
  /** The TLB of each CPU has just refused an access that the tables would serve. */
  private refusedByTlb: boolean[] = [];
  private lastFault: (FaultEvent | null)[] = [];
  /** Of a handler that runs on each CPU: reports so far, and whether the page was seen mapped before the first. */
  private handling: ({ reports: number; mapped: boolean; early: boolean } | null)[] = [];
  private stepsDone: number[] = [];
  private bugs = 0;
  private readonly startMapped = new Map<bigint, number>();

  constructor(race: Race) {
    this.race = race;
    const { kernel, world, places } = race.run;
    for (const [i, { alloc }] of world.arenas.entries()) {
      for (const { page, count } of alloc) {
        for (let p = page as number; p < page + count; p++) {
          const va = kernelPage(places[i], p);
          this.startMapped.set(va, kernel.mm.vmallocToPage(va as VirtAddr));
        }
      }
    }
    kernel.events.read((event) => this.read(event), false);
    this.restart();
  }

  restart(): void {
    const { kernel } = this.race.run;
    this.found = null;
    this.mapped = new Map(this.startMapped);
    this.allocated = new Set(this.startMapped.keys());
    this.broken.clear();
    this.stale.clear();
    this.bugs = kernel.pages.bugs.length;
    for (const { id } of kernel.cpus) {
      this.retried[id] = null;
      this.refusedByTlb[id] = false;
      this.lastFault[id] = null;
      this.handling[id] = null;
      this.stepsDone[id] = 0;
    }
  }

  /** A CPU is about to move. @param accesses of the instruction that it runs; empty for a step of a kernel path */
  before(cpu: number, accesses: readonly PageAccess[]): void {
    const step = this.race.current(cpu);
    if (step?.kind === 'free' || step?.kind === 'destroy') this.claimsChange();
    if (step?.kind === 'free') {
      const place = arenaNamed(step.arena, this.race.run.places);
      for (let p = step.page as number; p < step.page + step.count; p++) {
        this.allocated.delete(kernelPage(place, p));
      }
    } else if (step?.kind === 'destroy') this.allocated.clear();
    for (const access of accesses) this.access(cpu, access);
  }

  /** A CPU has moved. @returns what its step broke */
  after(cpu: number): Violation | null {
    const done = this.race.done[cpu];
    while (this.stepsDone[cpu] < done.length) this.stepEnded(cpu, done[this.stepsDone[cpu]++]);
    const { bugs } = this.race.run.kernel.pages;
    if (bugs.length > this.bugs) {
      const bug = bugs[this.bugs++];
      this.breaks(
        this.isScratch(bug.pfn) ? 'scratch' : 'pages',
        cpu,
        `frame ${hex(bug.pfn)} is ${bug.what}`,
      );
    }
    return this.found;
  }

  /** No CPU can move any more. */
  atEnd(): Violation | null {
    const { race } = this;
    const waiting = race.unfinished();
    if (waiting.length > 0) {
      const who = waiting.map((cpu) => `CPU ${cpu}: ${race.pending(cpu)!.what}`).join('; ');
      this.found ??= { invariant: 'deadlock', cpu: null, what: `nobody can move: ${who}` };
      return this.found;
    }
    const died = race.done.some((steps) =>
      steps.some(({ seen }) => seen.kind === 'call' && seen.outcome !== 'returned'),
    );
    if (!died) this.checkLeaks();
    return this.found;
  }

  private checkLeaks(): void {
    const { kernel } = this.race.run;
    for (const arena of kernel.arenas.values()) {
      const frames = new Set<number>();
      for (const [va, pfn] of this.mapped) {
        if (va >= arena.kernVmStart && va < arena.recoveryEnd) frames.add(pfn);
      }
      for (const { vma } of arena.vmaList) for (const pfn of vma.ptes.values()) frames.add(pfn);
      const lost = arena.dataPages.outstanding - frames.size;
      if (lost > 0) this.breaks('pages', null, `${lost} data page${lost === 1 ? '' : 's'} leaked`);
      if (arena.scratchPages.outstanding !== 1) {
        this.breaks(
          'scratch',
          null,
          `the scratch page of ${arena.name} is gone and its arena is not`,
        );
      }
    }
  }

  // ---- Steps of the scenario ----

  private stepEnded(cpu: number, { step, seen, failures }: Race['done'][number][number]): void {
    const { places } = this.race.run;
    if (seen.kind === 'alloc' && step.kind === 'alloc' && seen.page !== null) {
      this.claimsChange();
      const place = arenaNamed(step.arena, places);
      for (let p = seen.page; p < seen.page + step.count; p++)
        this.allocated.add(kernelPage(place, p));
    }
    if (seen.kind === 'call' && seen.outcome === 'budget') {
      this.breaks('progress', cpu, 'the call never returns');
    }
    if (seen.kind === 'stuck') this.breaks('progress', cpu, seen.why);
    if (seen.kind === 'destroy' && seen.leaked !== 0) {
      this.breaks('pages', cpu, `arena_map_free() leaves ${seen.leaked} pages behind`);
    }
    if (
      seen.kind === 'user' &&
      step.kind === 'user' &&
      step.access === 'write' &&
      seen.result === 'ok'
    ) {
      this.userWrote(cpu, kernelPage(arenaNamed(step.arena, places), step.page));
    }
    // What was compared may have been all of memory.
    const { stderr, stderrBytes } = step.expect;
    const compares = step.kind === 'call' && step.expect.memory.length > 0;
    if (compares || stderr !== undefined || stderrBytes !== undefined) {
      this.race.run.kernel.context.access?.everything();
    }
    for (const { expect, wanted, got } of failures) {
      this.breaks(
        'expect',
        cpu,
        `${step.kind} at line ${step.line}: ${expect}: wanted ${wanted}, got ${got}`,
      );
    }
  }

  private userWrote(cpu: number, va: bigint): void {
    if (!this.allocated.has(va)) return;
    const arena = this.arenaOf(va);
    const vma = arena?.vmaList[0]?.vma;
    if (!arena || !vma) return;
    const { pageSize } = this.race.run.kernel;
    const offset = va - arena.kernVmStart + (arena.userVmStart & ~0xffff_ffffn);
    const frame = vma.ptes.get(Number(offset - vma.start) / pageSize);
    if (frame !== undefined && this.mapped.get(va) !== frame) {
      this.breaks(
        'writes',
        cpu,
        `user space writes to frame ${hex(frame)}, which is no longer ${this.page(va)}`,
      );
    }
  }

  private claimsChange(): void {
    this.race.run.kernel.context.access?.object(this.claims, LOOKED | CHANGED);
  }

  // ---- Accesses of instructions ----

  private access(cpu: number, { va, kind, pa, hit }: PageAccess): void {
    if (pa === null || !hit) return;
    const { pageSize, context, pages } = this.race.run.kernel;
    if (arenaAt(va, this.race.run.places) === null) return;
    if (kind === WRITE) context.access?.object(this.claims, LOOKED);
    // Whether the frame was freed meanwhile is asked here.
    pages.pageRefCount(Math.floor(pa / 4096) as Pfn);
    const page = va - (va % BigInt(pageSize));
    const frame = Math.floor(pa / 4096);
    if (this.stale.has(`${cpu} ${va & ~0xfffn} ${frame}`)) {
      this.breaks(
        'stale',
        cpu,
        `access to ${this.page(page)} through a stale translation to the freed frame ${hex(frame)}`,
      );
    }
    if (kind !== WRITE || !this.allocated.has(page)) return;
    const now = this.mapped.get(page);
    const firstFrame = frame - (frame % (pageSize / 4096));
    if (now === undefined || now === firstFrame) return;
    const where = this.isScratch(firstFrame) ? 'the scratch page' : `frame ${hex(firstFrame)}`;
    this.breaks(
      'writes',
      cpu,
      `a store to the allocated ${this.page(page)} (frame ${hex(now)}) goes to ${where} through a stale translation and is lost`,
    );
  }

  // ---- Events ----

  private read(event: Event): void {
    switch (event.type) {
      case 'pteChange':
        this.pteChanged(event);
        return;
      case 'page':
        this.pageMoved(event);
        return;
      case 'tlb':
        this.flushed(event);
        return;
      case 'staleRefusal':
        this.refusedByTlb[event.cpu] = true;
        return;
      case 'fault':
        this.faulted(event);
        return;
      case 'retry': {
        const retried = this.retried[event.cpu];
        // What AT found, the access need not find where walks may be late: it was not handled then.
        const late = this.race.walks !== null && event.resolution === 'spurious';
        if (retried) retried.resolved = event.resolution !== 'extable' && !late;
        return;
      }
      case 'oops':
        this.oopsed(event.cpu);
        return;
      case 'call':
        if (event.fn === HANDLER) {
          this.handling[event.cpu] = { reports: 0, mapped: false, early: false };
        }
        return;
      case 'decision':
        this.decided(event.cpu, event.fn, event.text);
        return;
      case 'streamWrite': {
        const handling = this.handling[event.cpu];
        if (handling === null) return;
        handling.reports++;
        if (!handling.mapped) handling.early = true;
        return;
      }
    }
  }

  private pteChanged({ cpu, va, before, after }: PteChangeEvent): void {
    const { kernel } = this.race.run;
    const { format } = kernel.mm;
    if (this.race.walks !== null) this.entries.set(kernel.mm.ptepOffset(va) ?? -1, va);
    const was = format.ptePresent(before) ? format.ptePfn(before) : -1;
    const is = format.ptePresent(after) ? format.ptePfn(after) : -1;
    for (const [other, retried] of this.retried.entries()) {
      if (retried && other !== cpu && kernel.mm.pageStart(retried.va) === va)
        retried.undisturbed = false;
    }
    if (kernel.arch.name === 'arm64') this.breakBeforeMake(cpu, va, before, after);
    if (this.allocated.has(va) && was >= 0 && is !== was && !this.isScratch(was)) {
      this.breaks(
        'writes',
        cpu,
        `the entry of the allocated ${this.page(va)} is taken away, and what was written to it is lost`,
      );
    }
    if (is >= 0 && !this.isScratch(is)) this.mapped.set(va, is);
    else this.mapped.delete(va);
  }

  private breakBeforeMake(cpu: number, va: VirtAddr, before: bigint, after: bigint): void {
    const { ptePresent } = this.race.run.kernel.mm.format;
    if (ptePresent(after)) {
      const old = ptePresent(before) ? before : this.broken.get(va);
      this.broken.delete(va);
      if (old === undefined || old === after) return;
      const how = ptePresent(before)
        ? 'replaces a valid entry'
        : 'is made before the old translation is invalidated';
      this.breaks('bbm', cpu, `the entry of ${this.page(va)} ${how}: ${hex(old)} -> ${hex(after)}`);
    } else if (ptePresent(before)) this.broken.set(va, before);
  }

  private flushed({ op, start, end }: TlbEvent): void {
    if (op === 'zap_vma_range') return;
    for (const va of this.broken.keys()) {
      if (start === null || (va >= start && va < (end === start ? start! + 1n : end!)))
        this.broken.delete(va);
    }
  }

  private pageMoved({ cpu, op, pfn }: PageEvent): void {
    if (op === 'alloc') {
      if (this.isScratch(pfn)) this.breaks('scratch', cpu, 'the scratch page is handed out');
      return;
    }
    if (this.isScratch(pfn) && this.race.current(cpu)?.kind !== 'destroy') {
      this.breaks('scratch', cpu, 'the scratch page is freed and its arena is not');
      return;
    }
    for (const [va, frame] of this.mapped) {
      if (frame !== pfn) continue;
      this.breaks(
        'pages',
        cpu,
        `frame ${hex(pfn)} is freed while the entry of ${this.page(va)} maps it`,
      );
    }
    for (const { id, mmu } of this.race.run.kernel.cpus) {
      for (const va of mmu.tlb.pagesOf(pfn * 4096)) this.freedUnder(cpu, pfn, id, va, 'maps');
    }
    this.freedUnderOlder(cpu, pfn);
  }

  /** A page is freed that a TLB maps. */
  private freedUnder(cpu: number, pfn: number, id: number, va: bigint, maps: string): void {
    this.stale.add(`${id} ${va} ${pfn}`);
    this.breaks(
      'pages',
      cpu,
      `frame ${hex(pfn)} is freed while the TLB of CPU ${id} ${maps} ${this.page(va)} to it`,
    );
  }

  /** The same of TLBs that may have taken an entry without being asked, which no TLBI has named since. */
  private freedUnderOlder(cpu: number, pfn: number): void {
    const { walks, run } = this.race;
    if (walks === null) return;
    const { format } = run.kernel.mm;
    for (const { ptep, cpu: id, value } of walks.history.holders()) {
      if (format.ptePfn(value) !== pfn) continue;
      const va = this.entries.get(ptep);
      if (va !== undefined) this.freedUnder(cpu, pfn, id, va, 'may map');
    }
  }

  private faulted(event: FaultEvent): void {
    const { cpu, ip, va } = event;
    this.lastFault[cpu] = event;
    const last = this.retried[cpu];
    const again = last?.resolved && last.undisturbed && last.ip === ip && last.va === va;
    const { negative } = this.race.run.world.kernel.tlb;
    const kept = negative === 'on' && this.refusedByTlb[cpu] && !last?.kept;
    this.refusedByTlb[cpu] = false;
    // A TLB conflict abort is not the fault that was handled.
    const conflict = this.race.walks !== null && (event.code & 0x3fn) === TLB_CONFLICT;
    if (again && !kept && !conflict) {
      this.breaks(
        'progress',
        cpu,
        `the access to ${hex(va)} faults again, though the fault was handled and nobody has touched the page since`,
      );
    }
    this.retried[cpu] = { ip, va, undisturbed: true, resolved: false, kept };
  }

  private decided(cpu: number, fn: string, text: string): void {
    const handling = this.handling[cpu];
    if (handling === null) return;
    // A compiled handler says only that it has walked there.
    if (fn === HANDLER || fn === WALK) handling.mapped = true;
    if (!text.startsWith(`${HANDLER}(): `)) return;
    this.handling[cpu] = null;
    if (!text.endsWith('true')) return;
    if (handling.reports !== 1) {
      this.breaks('report', cpu, `${HANDLER}() returns true after ${handling.reports} reports`);
    } else if (handling.early) {
      this.breaks('report', cpu, `${HANDLER}() reports before the page can be mapped`);
    }
  }

  private oopsed(cpu: number): void {
    const fault = this.lastFault[cpu];
    const step = this.race.current(cpu);
    if (fault === null || fault.access === 'fetch' || step?.kind !== 'call') return;
    const owner = step.caller.frames[0]?.arena ?? null;
    const place = arenaAt(fault.va, this.race.run.places);
    const { arch } = this.race.run.kernel;
    // x86: P of the error code. arm64: DFSC 4 to 7 are translation faults.
    const code = Number(fault.code & 0x3fn);
    const absent = arch.name === 'x86_64' ? (code & 1) === 0 : code >= 4 && code <= 7;
    if (owner === null || place?.name !== owner || !absent) return;
    this.breaks(
      'no-oops',
      cpu,
      `oops for the ${fault.access} of ${this.page(fault.va)}, which the running program's arena holds`,
    );
  }

  // ----

  private breaks(invariant: Violation['invariant'], cpu: number | null, what: string): void {
    const { without } = this.race.run.world;
    if (this.found !== null || without.some((name) => name === invariant)) return;
    this.found = { invariant, cpu, what };
  }

  private isScratch(pfn: number): boolean {
    for (const arena of this.race.run.kernel.arenas.values())
      if (arena.scratchPage === pfn) return true;
    return false;
  }

  private arenaOf(va: bigint): BpfArena | null {
    for (const arena of this.race.run.kernel.arenas.values()) {
      if (va >= arena.kernVmStart && va < arena.recoveryEnd) return arena;
    }
    return null;
  }

  private page(va: bigint): string {
    const { places } = this.race.run;
    const page = pageAt(va, places);
    return page === null ? hex(va) : `page ${page}`;
  }
}

/** Kernel address of a page that the kfuncs count from user_vm_start. */
function kernelPage({ kbase, userVmStart, pageSize }: ArenaPlace, page: number): bigint {
  const offset = (userVmStart + BigInt(page) * BigInt(pageSize)) & 0xffff_ffffn;
  return kbase + offset;
}
