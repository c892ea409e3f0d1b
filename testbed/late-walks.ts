// The nondeterminism of AArch64's translation as steps of a schedule. What a CPU's next step finds for a page is not given:
// its walker may have run ahead of a store to the table, its TLB may hold an older entry, may have dropped what it held,
// or may hold two entries at once (mm/table-history.ts has the rules). Without more, the step finds what its TLB
// holds, and otherwise what memory holds. With n CPUs, number n + i of a schedule is the walker and TLB of CPU i:
// each of its steps takes the next of the other answers, and CPU i must move right behind it.
import type { VirtAddr } from '../emulator/address.ts';
import { hex, hi32, lo32 } from '../emulator/bits.ts';
import { type AccessKind, READ } from '../emulator/engine.ts';
import { type Restore, SAVE } from '../emulator/snapshot.ts';
import { CHANGED, LOOKED } from '../mm/context.ts';
import { RIGHTS_DIRTY } from '../mm/paging.ts';
import { type Named, TableHistory } from '../mm/table-history.ts';
import { MISS } from '../mm/tlb.ts';
import type { CpuStep } from './cpu-way.ts';
import type { InsnAccesses } from './insn-access.ts';
import type { Kernel } from './kernel.ts';

/**
 * Times that a TLB drops one page's entry by itself at most. Hardware has no such bound, and a CPU whose AT always
 * finds what its access does not would never get on.
 */
const MOST_DROPS = 2;

/** Bits of a descriptor: DDI 0487, D8.3.1. */
const VALID = 1n << 0n;
const AF = 1n << 10n;

/** Another answer for one page. */
interface Answer {
  readonly va: VirtAddr;
  readonly kind: AccessKind;
  readonly ptep: number;
  /** The entry that is taken; null: two at once, a TLB conflict abort. */
  readonly value: bigint | null;
  readonly current: bigint;
}

/** Answers for the pages of one step, each page at most once. */
type Choice = readonly Answer[];

export interface LateWalksParts {
  readonly kernel: Kernel;
  readonly accesses: InsnAccesses;
  readonly ets2: boolean;
  /** What a CPU does next; null if it has ended. */
  pending(cpu: number): CpuStep | null;
}

export class LateWalks {
  readonly history: TableHistory;
  private readonly parts: LateWalksParts;
  /** How often each CPU's TLB has dropped an entry by itself. */
  private readonly drops = new Map<string, number>();
  /** By CPU: the other answers for its next step; null until somebody asks. */
  private readonly choices: (readonly Choice[] | null)[] = [];
  /** CPU whose walker has moved, and how often. */
  private moved: {
    readonly cpu: number;
    times: number;
    taken: Choice;
    readonly undo: Restore;
  } | null = null;

  constructor(parts: LateWalksParts) {
    this.parts = parts;
    const { kernel, ets2 } = parts;
    this.history = new TableHistory({
      context: kernel.context,
      cpus: kernel.cpus.length,
      ets2,
      cacheable: (entry) => (entry & VALID) !== 0n && (entry & AF) !== 0n,
      ptepOf: (va) => kernel.mm.ptepOffset(va),
      drop: (cpu, named) => dropPages(kernel, cpu, named),
    });
  }

  restart(): void {
    this.history.restart();
    this.drops.clear();
    this.stepped();
  }

  /** A CPU has moved. */
  stepped(): void {
    this.moved = null;
    this.choices.length = 0;
  }

  /** CPU that must move next, because its walker has. */
  get bound(): number | null {
    return this.moved?.cpu ?? null;
  }

  /** True if there is an answer that the walker has not offered yet. */
  isReady(cpu: number): boolean {
    return (this.moved?.times ?? 0) < this.choicesOf(cpu).length;
  }

  /** The walker takes its next answer. */
  move(cpu: number): void {
    const choices = this.choicesOf(cpu);
    const { mmu } = this.parts.kernel.cpus[cpu];
    if (this.moved === null) {
      this.moved = { cpu, times: 0, taken: [], undo: mmu.tlb[SAVE]() };
    } else this.moved.undo();
    mmu.rightsChanged();
    this.moved.taken = choices[this.moved.times++];
    for (const answer of this.moved.taken) this.take(cpu, answer);
  }

  /** What {@link move} would do, and why it may. */
  nextText(cpu: number): string {
    const choice = this.choicesOf(cpu)[this.moved?.times ?? 0] ?? [];
    return choice.map((answer) => answerText(answer)).join('; ');
  }

  /** Tells who asks that the next step depends on what its walks may find, and the history what they find. */
  note(cpu: number): void {
    const { kernel, accesses, pending } = this.parts;
    const asks = pending(cpu)?.kind !== 'insn';
    for (const { va } of this.pagesOf(cpu)) {
      const ptep = kernel.mm.ptepOffset(va);
      if (ptep === null) continue;
      if (asks)
        kernel.context.access?.object(accesses.entryOf(kernel.cpus[cpu], va), LOOKED | CHANGED);
      this.history.olderValues(cpu, ptep, kernel.ram.read64(ptep));
      const taken = this.moved?.taken.find((answer) => answer.ptep === ptep);
      if (taken !== undefined) this.noteTaken(cpu, taken);
      else if (this.heldSlot(cpu, va) === MISS) this.history.walked(ptep, null);
    }
  }

  private noteTaken(cpu: number, { ptep, value, current }: Answer): void {
    if (value === null) return;
    this.history.walked(ptep, value === current ? null : value);
    if (value === current) this.drops.set(`${cpu} ${ptep}`, this.dropsOf(cpu, ptep) + 1);
  }

  private take(cpu: number, { va, kind, ptep, value, current }: Answer): void {
    const { kernel, accesses } = this.parts;
    const vcpu = kernel.cpus[cpu];
    const { access } = kernel.context;
    access?.word(ptep, LOOKED);
    access?.object(accesses.entryOf(vcpu, va), CHANGED);
    this.history.olderValues(cpu, ptep, current);
    const { mmu, paging } = vcpu;
    if (value === null) mmu.hold(va, kind, paging.conflictRights);
    else if (value === current) mmu.forget(va);
    else this.over(ptep, value, () => mmu.hold(va, kind));
  }

  private choicesOf(cpu: number): readonly Choice[] {
    const known = this.choices[cpu];
    if (known !== undefined && known !== null) return known;
    const choices: Choice[] = [];
    for (const { va, kind, conflicts } of this.pagesOf(cpu)) {
      const before = choices.slice();
      for (const answer of this.answersFor(cpu, va, kind, conflicts)) {
        choices.push([answer], ...before.map((other) => [...other, answer]));
      }
    }
    this.choices[cpu] = choices;
    return choices;
  }

  /** Pages that the next step of a CPU translates. */
  private pagesOf(cpu: number): { va: VirtAddr; kind: AccessKind; conflicts: boolean }[] {
    const step = this.parts.pending(cpu);
    if (step === null || (step.ready !== undefined && !step.ready())) return [];
    if (step.kind !== 'insn') {
      const va = step.translates;
      return va === undefined ? [] : [{ va, kind: READ, conflicts: false }];
    }
    const { kernel, accesses } = this.parts;
    const pages = new Map<bigint, { va: VirtAddr; kind: AccessKind; conflicts: boolean }>();
    for (const { va, kind } of accesses.next(kernel.cpus[cpu]) ?? []) {
      const page = kernel.mm.pageStart(va);
      if (!pages.has(page)) pages.set(page, { va, kind, conflicts: true });
    }
    return [...pages.values()];
  }

  private answersFor(cpu: number, va: VirtAddr, kind: AccessKind, conflicts: boolean): Answer[] {
    const { kernel } = this.parts;
    const ptep = kernel.mm.ptepOffset(va);
    if (ptep === null) return [];
    const current = kernel.ram.read64(ptep);
    const { access } = kernel.context;
    kernel.context.access = null;
    const olds = this.history.olderValues(cpu, ptep, current);
    kernel.context.access = access;
    if (olds.length === 0) return [];
    const answer = (value: bigint | null): Answer => ({ va, kind, ptep, value, current });
    const held = this.heldSlot(cpu, va) !== MISS;
    const drops = held && this.dropsOf(cpu, ptep) < MOST_DROPS;
    const values = drops ? [current, ...olds] : olds;
    const answers = values
      .filter((value) => !held || !this.isHeld(cpu, va, ptep, value))
      .map(answer);
    const valid = [current, ...olds].filter(
      (value) => (value & VALID) !== 0n && (value & AF) !== 0n,
    );
    if (conflicts && valid.length > 1) answers.push(answer(null));
    return answers;
  }

  private dropsOf(cpu: number, ptep: number): number {
    return this.drops.get(`${cpu} ${ptep}`) ?? 0;
  }

  private heldSlot(cpu: number, va: VirtAddr): number {
    const { mmu, paging } = this.parts.kernel.cpus[cpu];
    return mmu.tlb.lookup(paging.untag(hi32(va), READ), lo32(va), paging.space);
  }

  /** True if the TLB's entry is what a walk would find if the table's entry were `value`. */
  private isHeld(cpu: number, va: VirtAddr, ptep: number, value: bigint): boolean {
    const { mmu, paging } = this.parts.kernel.cpus[cpu];
    const slot = this.heldSlot(cpu, va);
    return this.over(ptep, value, () => {
      paging.walk(hi32(va), lo32(va), READ, false);
      if (!paging.found) return false;
      const page = paging.pa - (paging.pa % 2 ** paging.pageShift);
      const rights = (mmu.tlb.rights(slot) ^ paging.rights) & ~RIGHTS_DIRTY;
      return mmu.tlb.pageAddr(slot) === page && rights === 0;
    });
  }

  /** Looks at the tables as if an entry were `value`. */
  private over<T>(ptep: number, value: bigint, look: () => T): T {
    const { ram } = this.parts.kernel;
    const current = ram.read64(ptep);
    ram.write64(ptep, value);
    const seen = look();
    ram.write64(ptep, current);
    return seen;
  }
}

function dropPages({ cpus, context, pageSize }: Kernel, cpu: number, { start, end }: Named): void {
  const { mmu } = cpus[cpu];
  if (start === null || end === null) {
    context.access?.everything();
    mmu.tlb.invalidateAll();
    return;
  }
  context.access?.flush(start, end);
  for (let va: bigint = start; va < end; va += BigInt(pageSize)) mmu.forget(va as VirtAddr);
}

function answerText({ va, value, current }: Answer): string {
  const of = `the entry of ${hex(va)}`;
  if (value === null) return `the TLB holds two entries of ${hex(va)}: no TLBI came between them`;
  if (value === current) return `the TLB has dropped ${of}`;
  return (value & VALID) === 0n
    ? `the walker reads ${of} as it was: nothing puts the store before the walk`
    : `the TLB holds ${of} as it was: no TLBI for it is complete`;
}
