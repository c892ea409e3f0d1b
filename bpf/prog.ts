// Programs as the fault path sees them: images, symbols, and who owns which arena (kernel/bpf/core.c). Left out: the
// verifier beyond its check of arenas, the JIT, links, reference counts; bytecode is nowhere.
import type { ExtableEntry } from '../arch/arch.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { ERRNO, finish } from '../mm/context.ts';
import type { BpfArena } from './arena.ts';
import type { CompiledSymbols } from './compiled-symbols.ts';
import { BpfStream } from './stream.ts';

/** Where an instruction of a program comes from: bpf_prog_get_file_line(). */
export interface LineInfo {
  /** Source text, without leading blanks. */
  readonly line: string;
  readonly file: string;
  readonly num: number;
}

/** struct bpf_ksym of a JITed image. Its end is the first address behind the image. */
export interface BpfKsym {
  readonly name: string;
  readonly start: VirtAddr;
  readonly end: VirtAddr;
  /** The program, or null for trampolines, dispatchers and struct_ops stubs, which are no programs. */
  readonly prog: BpfProg | null;
}

/** struct bpf_prog with the part of its aux that the fault path reads. */
export class BpfProg {
  readonly name: string;
  /** aux->arena: the one arena the program uses. */
  arena: BpfArena | null;
  /** aux->main_prog_aux->prog: the program itself, or the one that a subprogram belongs to. */
  readonly mainProg: BpfProg;
  /** aux->stream: BPF_STDOUT and BPF_STDERR. Only those of main programs are used. */
  readonly streams: readonly [BpfStream, BpfStream];
  /** aux->extable, by instruction address. */
  extable: readonly ExtableEntry[] = [];
  /** The same as bytes that will lie at an address. */
  extableAt: (at: VirtAddr) => Uint8Array = () => new Uint8Array();
  /** bpf_prog_get_file_line(); null where the program has no line information for `ip`. */
  lineInfo: (ip: VirtAddr) => LineInfo | null = () => null;

  /** @param main the program that this is a subprogram of; it hands down its arena (jit_subprogs()) */
  constructor(name: string, arena: BpfArena | null, main?: BpfProg) {
    this.name = name;
    this.arena = main ? main.arena : arena;
    this.mainProg = main ?? this;
    this.streams = [new BpfStream(`stdout of ${name}`), new BpfStream(`stderr of ${name}`)];
  }
}

/** The latch tree of JITed images. */
export class BpfKsyms {
  /** Counts changes, for those who remember the text of a symbol. */
  generation = 0;
  /** Compiled code in the place of functions of this file; null: there is none. */
  compiled: CompiledSymbols | null = null;
  /** By start. */
  private ksyms: BpfKsym[] = [];
  /** Every image lies in [lowest, highest]. */
  private lowest = 0n;
  private highest = -1n;

  /**
   * bpf_ksym_add(). @throws RangeError for an image that overlaps another, or is empty
   * @kernel bpf_ksym_add kernel/bpf/core.c read
   */
  add(ksym: BpfKsym): void {
    if (ksym.start >= ksym.end) throw new RangeError(`BPF image ${ksym.name} is empty`);
    const other = this.ksyms.find((k) => k.start < ksym.end && ksym.start < k.end);
    if (other) throw new RangeError(`BPF image ${ksym.name} overlaps ${other.name}`);
    if (this.compiled?.bpfKsymAdd) this.ksyms = this.compiled.bpfKsymAdd(ksym);
    else {
      this.ksyms.push(ksym);
      this.ksyms.sort((a, b) => (a.start < b.start ? -1 : 1));
    }
    this.changed();
  }

  /** All of them, by start. */
  all(): readonly BpfKsym[] {
    return this.ksyms;
  }

  /** @kernel bpf_ksym_del kernel/bpf/core.c read */
  remove(ksym: BpfKsym): void {
    const at = this.ksyms.indexOf(ksym);
    if (at >= 0 && this.compiled?.bpfKsymDel) this.ksyms = this.compiled.bpfKsymDel(ksym);
    else if (at >= 0) this.ksyms.splice(at, 1);
    this.changed();
  }

  /**
   * bpf_ksym_find(): start <= ip <= end. The end counts, so that the address behind a call that ends the image still
   * belongs to it. Where one image ends at another's start, the earlier one answers.
   * @kernel bpf_ksym_find kernel/bpf/core.c read
   */
  find(ip: VirtAddr): BpfKsym | null {
    if (this.compiled?.bpfKsymFind) return this.compiled.bpfKsymFind(ip);
    return this.lookUp(ip);
  }

  /** The same for whoever is no part of the kernel: compiled code is not asked. */
  lookUp(ip: VirtAddr): BpfKsym | null {
    if (ip < this.lowest || ip > this.highest) return null;
    for (const ksym of this.ksyms) if (ip <= ksym.end) return ip >= ksym.start ? ksym : null;
    return null;
  }

  /**
   * bpf_prog_ksym_find(): the same, for programs only.
   * @kernel bpf_prog_ksym_find kernel/bpf/core.c read
   */
  findProg(ip: VirtAddr): BpfProg | null {
    if (this.compiled?.bpfProgKsymFind) return this.compiled.bpfProgKsymFind(ip);
    return this.find(ip)?.prog ?? null;
  }

  /**
   * search_bpf_extables(): the entry of the instruction at `ip` in its program's table.
   * @kernel search_bpf_extables kernel/bpf/core.c read
   */
  searchExtables(ip: VirtAddr): ExtableEntry | null {
    if (this.compiled?.searchBpfExtables) return this.compiled.searchBpfExtables(ip);
    return this.findProg(ip)?.extable.find((entry) => entry.insn === ip) ?? null;
  }

  /** Gives a program its exception table. @param at its bytes, sorted, that will lie at an address */
  setExtable(prog: BpfProg, entries: BpfProg['extable'], at: BpfProg['extableAt']): void {
    prog.extable = entries;
    prog.extableAt = at;
    this.generation++;
  }

  private changed(): void {
    this.generation++;
    this.lowest = this.ksyms[0]?.start ?? 0n;
    this.highest = this.ksyms.at(-1)?.end ?? -1n;
  }
}

/** What loading a program asks of the system, for {@link resolveArena}. */
export interface LoadRights {
  /** CAP_BPF and CAP_PERFMON. */
  readonly capable: boolean;
  readonly jitRequested: boolean;
  /** bpf_jit_supports_arena() */
  readonly jitSupportsArena: boolean;
}

const ALL_RIGHTS: LoadRights = { capable: true, jitRequested: true, jitSupportsArena: true };

/**
 * The verifier's check when a program refers to an arena (resolve_pseudo_ldimm64() and below); on success the program
 * has the arena.
 * @returns errno 0, or why the program is refused, with the verifier's message
 * @kernel resolve_pseudo_ldimm64 kernel/bpf/verifier.c read - its check of arenas
 */
export function resolveArena(
  prog: BpfProg,
  arena: BpfArena,
  rights: LoadRights = ALL_RIGHTS,
): { readonly errno: number; readonly message: string } {
  const refuse = (errno: number, message: string) => ({ errno, message });
  if (prog.arena && prog.arena !== arena) {
    return refuse(ERRNO.EBUSY, 'Only one arena per program');
  }
  if (!rights.capable) {
    return refuse(ERRNO.EPERM, 'CAP_BPF and CAP_PERFMON are required to use arena');
  }
  if (!rights.jitRequested) return refuse(ERRNO.EOPNOTSUPP, 'JIT is required to use arena');
  if (!rights.jitSupportsArena) return refuse(ERRNO.EOPNOTSUPP, "JIT doesn't support arena");
  const { compiled } = arena.bpf;
  const userVmStart = compiled?.bpfArenaGetUserVmStart
    ? finish(compiled.bpfArenaGetUserVmStart(arena))
    : arena.userVmStart;
  if (userVmStart === 0n) {
    return refuse(ERRNO.EINVAL, "arena's user address must be set via map_extra or mmap()");
  }
  prog.arena = arena;
  return refuse(0, '');
}
