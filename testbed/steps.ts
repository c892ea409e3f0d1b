// The steps of a scenario other than calls: what the arena's kfuncs, user space, the deferred worker and a raw hand on
// the page tables do.
import {
  arenaMapAlloc,
  arenaMapFree,
  BPF_F_MMAPABLE,
  BPF_F_NO_USER_CONV,
  BPF_F_SEGV_ON_FAULT,
  BpfArena,
} from '../bpf/arena.ts';
import { flushFreeWork } from '../bpf/arena-free.ts';
import { arenaMmap, arenaMunmap, userAccess } from '../bpf/arena-mmap.ts';
import { streamRead, vprintk } from '../bpf/compiled-streams.ts';
import { bpfArenaAllocPages, bpfArenaFreePages, bpfArenaReservePages } from '../bpf/kfuncs.ts';
import type { BpfProg } from '../bpf/prog.ts';
import { rawResSpinLock, unlock } from '../bpf/rqspinlock.ts';
import { BPF_STDERR, byteLength } from '../bpf/stream.ts';
import { UserMm } from '../bpf/user-mm.ts';
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex, u64 } from '../emulator/bits.ts';
import { type Activity, CHANGED, finish, LOOKED } from '../mm/context.ts';
import { type Ptep, setPteAt } from '../mm/pte.ts';
import { CallError } from './call.ts';
import type { PteKind } from './expect-model.ts';
import type { Kernel } from './kernel.ts';
import type { Observed, StepObserved } from './observed.ts';
import type { ArenaFlag } from './scenario-model.ts';
import type { CallStep, CreateStep, DestroyStep, PteStep, Step, UserStep } from './step-model.ts';

/** Any step but a call. */
export type PlainStep = Exclude<Step, CallStep>;

type Seen = StepObserved extends infer T
  ? T extends { kind: 'call' }
    ? never
    : Omit<T, keyof Observed>
  : never;

const FLAG_BITS: Readonly<Record<ArenaFlag, number>> = {
  SEGV_ON_FAULT: BPF_F_SEGV_ON_FAULT,
  NO_USER_CONV: BPF_F_NO_USER_CONV,
};

/** map_flags of an arena with these flags. */
export const mapFlags = (flags: readonly ArenaFlag[]): number =>
  flags.reduce((bits, flag) => bits | FLAG_BITS[flag], BPF_F_MMAPABLE);

export class Steps {
  private readonly kernel: Kernel;
  /** The program whose stderr stream a step without a name means. */
  private readonly program: (name: string | null) => BpfProg;
  /** Arenas that are no more, and the lines of the steps that destroyed them. */
  private readonly destroyed = new Map<string, { arena: BpfArena; line: number }>();
  /** The address space from which user space reaches each arena. */
  private readonly mms = new Map<BpfArena, UserMm>();

  constructor(kernel: Kernel, program: (name: string | null) => BpfProg) {
    this.kernel = kernel;
    this.program = program;
  }

  /** Does one step, to its end. */
  run(step: PlainStep): Seen {
    return finish(this.activity(step));
  }

  /** One step, which can be stopped wherever another CPU could see what it does next. */
  *activity(step: PlainStep): Activity<Seen> {
    const { context } = this.kernel;
    switch (step.kind) {
      case 'alloc': {
        const arena = this.arena(step.arena);
        const hint = step.page === null ? 0n : this.userAddress(arena, step.page);
        const { count, sleepable } = step;
        const at = yield* bpfArenaAllocPages(arena, hint, count, -1, 0n, sleepable);
        return { kind: 'alloc', page: at === 0n ? null : this.userPage(arena, at) };
      }
      case 'free': {
        const arena = this.arena(step.arena);
        const at = this.userAddress(arena, step.page);
        const freed = yield* counted(
          arena,
          bpfArenaFreePages(arena, at, step.count, step.sleepable),
        );
        return { kind: 'free', freed };
      }
      case 'reserve': {
        const arena = this.arena(step.arena);
        const at = this.userAddress(arena, step.page);
        return { kind: 'reserve', result: yield* bpfArenaReservePages(arena, at, step.count) };
      }
      case 'user':
        return yield* this.user(step);
      case 'worker': {
        const arena = this.arena(step.arena);
        return { kind: 'worker', freed: yield* counted(arena, flushFreeWork(arena)) };
      }
      case 'destroy':
        return yield* this.destroy(step);
      case 'pte':
        if (context.stepping) {
          yield {
            kind: 'pte',
            what: `${step.set === null ? 'read' : 'set'} PTE of page ${step.page}`,
          };
        }
        return this.pte(step);
      case 'lock': {
        const { spinlock } = this.arena(step.arena);
        return { kind: 'lock', result: yield* rawResSpinLock(context, spinlock) };
      }
      case 'unlock': {
        const { spinlock } = this.arena(step.arena);
        if (spinlock.holder !== context.cpu) {
          const why = `CPU ${context.cpu} does not hold ${spinlock.name}`;
          throw new CallError(why, 'take it with a step `lock` first', step.line);
        }
        if (context.stepping) yield { kind: 'lock', what: `release ${spinlock.name}` };
        unlock(context, spinlock);
        return { kind: 'unlock' };
      }
      case 'create':
        return { kind: 'create', result: this.create(step) };
      case 'streamRead': {
        const prog = this.program(step.prog);
        if (context.stepping) yield { kind: 'report', what: `read stderr of ${prog.name}` };
        const read = streamRead(this.kernel.bpf, prog, BPF_STDERR, step.length);
        return typeof read === 'number'
          ? { kind: 'streamRead', result: read, bytes: 0 }
          : { kind: 'streamRead', result: 0, bytes: read.length };
      }
      case 'streamPrint': {
        const prog = this.program(step.prog);
        let result = 0;
        let bytes = 0;
        for (let i = 0; i < step.count && result === 0; i++) {
          if (context.stepping) yield { kind: 'report', what: `print to stderr of ${prog.name}` };
          result = vprintk(this.kernel.bpf, prog, BPF_STDERR, step.text);
          if (result === 0) bytes += byteLength(step.text);
        }
        return { kind: 'streamPrint', result, bytes };
      }
    }
  }

  /**
   * Refuses a program on the stack whose arena is destroyed: a loaded program holds its map.
   * @throws CallError
   */
  checkAlive(arena: string): void {
    const gone = this.destroyed.get(arena);
    if (gone === undefined) return;
    throw new CallError(
      `arena ${arena} was destroyed by the step at line ${gone.line}`,
      'destroy it last; a call that needs no arena can have `caller: kernel`',
    );
  }

  private *user(step: UserStep): Activity<Seen> {
    const arena = this.arena(step.arena);
    const at = this.userAddress(arena, step.page) + BigInt(step.offset);
    const value = step.access === 'write' ? step.value : null;
    const mm = this.mmOf(arena);
    const { context } = this.kernel;
    if (context.stepping) yield { kind: 'pte', what: `user access to ${hex(at)}` };
    context.access?.object(mm, LOOKED);
    const seen = yield* userAccess(mm, at, 8, value);
    const done = seen.result === 'ok' ? (seen.value ?? value) : null;
    return { kind: 'user', result: seen.result, value: done };
  }

  /**
   * The address space that has the arena mapped, at its user_vm_start. Arenas at the same user addresses are mapped by
   * processes of their own.
   */
  mmOf(arena: BpfArena): UserMm {
    const known = this.mms.get(arena);
    if (known !== undefined) return known;
    const request = { addr: arena.userVmStart, len: arena.userVmEnd - arena.userVmStart };
    let mm = this.kernel.userMm;
    if (!mm.isFree(request.addr, request.len)) mm = new UserMm(`mm of ${arena.name}`);
    finish(arenaMmap(arena, mm, request));
    this.mms.set(arena, mm);
    return mm;
  }

  /** The last reference to a map goes with its last mapping, so whatever maps the arena is unmapped first. */
  private *destroy(step: DestroyStep): Activity<Seen> {
    const arena = this.arena(step.arena);
    const held = arena.dataPages.outstanding;
    for (const { vma } of [...arena.vmaList]) yield* arenaMunmap(vma);
    const { leaked } = yield* arenaMapFree(arena);
    this.destroyed.set(step.arena, { arena, line: step.line });
    this.kernel.arenas.delete(step.arena);
    return { kind: 'destroy', freed: held - arena.dataPages.outstanding, leaked };
  }

  private pte(step: PteStep): Seen {
    const { context, mm, ram, pageSize } = this.kernel;
    // Where an arena was, the tables still stand.
    const arena = this.destroyed.get(step.arena)?.arena ?? this.arena(step.arena);
    const addr = virtAddr(arena.kernVmStart + BigInt(step.page) * BigInt(pageSize));
    if (step.set !== null) {
      const ptep = mm.ptepAlloc(addr);
      if (ptep > 0) setPteAt(context, ram, addr, ptep as Ptep, u64(step.set));
    }
    const ptep = mm.ptepOffset(addr);
    if (ptep !== null) context.access?.word(ptep, step.set === null ? LOOKED : LOOKED | CHANGED);
    const value = ptep === null ? 0n : ram.read64(ptep);
    return { kind: 'pte', value, pteKind: pteKindOf(this.kernel, arena, value) };
  }

  private create(step: CreateStep): number {
    const { bpf } = this.kernel;
    const attr = {
      keySize: step.keySize,
      valueSize: step.valueSize,
      maxEntries: step.pages,
      mapFlags: typeof step.flags === 'number' ? step.flags : mapFlags(step.flags),
      mapExtra: step.userVmStart,
    };
    const made = arenaMapAlloc(bpf, attr);
    if (!(made instanceof BpfArena)) return made;
    // Nobody names it again: its last reference is dropped at once.
    finish(arenaMapFree(made));
    return 0;
  }

  private arena(name: string): BpfArena {
    this.checkAlive(name);
    const arena = this.kernel.arenas.get(name);
    if (arena === undefined) throw new RangeError(`no arena ${name}`);
    return arena;
  }

  private userAddress(arena: BpfArena, page: number): VirtAddr {
    return virtAddr(arena.userVmStart + BigInt(page) * BigInt(this.kernel.pageSize));
  }

  private userPage(arena: BpfArena, at: bigint): number {
    return Number((at - arena.userVmStart) / BigInt(this.kernel.pageSize));
  }
}

/** What an entry of an arena's pages maps. */
export function pteKindOf({ mm, pages }: Kernel, arena: BpfArena, value: bigint): PteKind {
  if (value === 0n) return 'none';
  if (!mm.format.ptePresent(value)) return 'other';
  const pfn = mm.format.ptePfn(value);
  if (pfn === arena.scratchPage) return 'scratch';
  return pages.pageRefCount(pfn) > 0 ? 'page' : 'other';
}

/** Data pages that an action gives back. */
function* counted(arena: BpfArena, action: Activity<void>): Activity<number> {
  let freed = 0;
  for (;;) {
    // Between two of its steps other CPUs may give pages back, or take some.
    const before = arena.dataPages.outstanding;
    const next = action.next();
    freed += before - arena.dataPages.outstanding;
    if (next.done) return freed;
    yield next.value;
  }
}
