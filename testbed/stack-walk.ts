// Stack walks remembered. A loop that faults again and again is walked from the same registers over the same words, and
// the walk's result depends on nothing else: as long as every word that it read is unchanged, so is its result. Which
// words those are is noted while the architecture's unwinder runs.
import type { Architecture, FaultContext, PtRegs } from '../arch/arch.ts';
import type { VirtAddr } from '../emulator/address.ts';
import type { Ram } from '../emulator/ram.ts';

/** What a walk depends on, and what it found. */
interface Remembered {
  readonly ip: bigint;
  readonly sp: bigint;
  readonly fp: bigint;
  readonly found: readonly VirtAddr[];
}

export class StackWalker {
  private readonly arch: Architecture;
  private readonly ram: Ram;
  private last: Remembered | null = null;
  private noting = false;
  // 32-bit words of RAM that the last walk read, and what they held.
  private readonly words: number[] = [];
  private readonly held: number[] = [];

  constructor(arch: Architecture, ram: Ram) {
    this.arch = arch;
    this.ram = ram;
  }

  /** Notes that a walk read the 8 bytes at `pa`. Whoever reads memory for an unwinder calls it. */
  note(pa: number): void {
    if (!this.noting) return;
    const index = this.ram.wordIndex(pa);
    for (const word of [index, index + 1]) {
      this.words.push(word);
      this.held.push(this.ram.word(word));
    }
  }

  /** arch_bpf_stack_walk() at the exception that saved `regs`. */
  walk(context: FaultContext, regs: PtRegs, callback: (ip: VirtAddr) => boolean): void {
    const found = this.unchanged(regs) ?? this.walkAnew(context, regs);
    for (const ip of found) if (!callback(ip)) return;
  }

  /** Code was loaded or moved: unwinding data may differ. */
  forget(): void {
    this.last = null;
  }

  private unchanged(regs: PtRegs): readonly VirtAddr[] | null {
    const { last, words, held, ram } = this;
    if (last === null || last.ip !== regs.ip || last.sp !== regs.sp) return null;
    if (last.fp !== regs.get(this.arch.framePointer)) return null;
    for (let i = 0; i < words.length; i++) if (ram.word(words[i]) !== held[i]) return null;
    return last.found;
  }

  private walkAnew(context: FaultContext, regs: PtRegs): readonly VirtAddr[] {
    const found: VirtAddr[] = [];
    this.words.length = 0;
    this.held.length = 0;
    this.noting = true;
    this.arch.archBpfStackWalk(context, regs, (ip) => {
      found.push(ip);
      return true;
    });
    this.noting = false;
    this.last = { ip: regs.ip, sp: regs.sp, fp: regs.get(this.arch.framePointer), found };
    return found;
  }
}
