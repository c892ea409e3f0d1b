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
  private words = new Uint32Array(16);
  private held = new Uint32Array(16);
  private noted = 0;

  constructor(arch: Architecture, ram: Ram) {
    this.arch = arch;
    this.ram = ram;
  }

  /** Notes that a walk read the 8 bytes at `pa`. Whoever reads memory for an unwinder calls it. */
  note(pa: number): void {
    if (!this.noting) return;
    const index = this.ram.wordIndex(pa);
    if (this.noted + 2 > this.words.length) this.grow();
    for (const word of [index, index + 1]) {
      this.words[this.noted] = word;
      this.held[this.noted++] = this.ram.word(word);
    }
  }

  private grow(): void {
    const { words, held } = this;
    this.words = new Uint32Array(words.length * 2);
    this.held = new Uint32Array(words.length * 2);
    this.words.set(words);
    this.held.set(held);
  }

  /**
   * arch_bpf_stack_walk() at the exception that saved `regs`.
   * @returns what it offers, innermost first: the very same array as before if nothing has changed
   */
  walk(context: FaultContext, regs: PtRegs): readonly VirtAddr[] {
    return this.unchanged(regs) ?? this.walkAnew(context, regs);
  }

  /** Code was loaded or moved: unwinding data may differ. */
  forget(): void {
    this.last = null;
  }

  private unchanged(regs: PtRegs): readonly VirtAddr[] | null {
    const { last, words, held, noted, ram } = this;
    if (last === null || !regs.isAt(last.ip, last.sp, last.fp)) return null;
    for (let i = 0; i < noted; i++) if (ram.word(words[i]) !== held[i]) return null;
    return last.found;
  }

  private walkAnew(context: FaultContext, regs: PtRegs): readonly VirtAddr[] {
    const found: VirtAddr[] = [];
    this.noted = 0;
    this.noting = true;
    this.arch.archBpfStackWalk(context, regs, (ip) => {
      found.push(ip);
      return true;
    });
    this.noting = false;
    this.last = { ip: regs.ip, sp: regs.sp, fp: regs.fp, found };
    return found;
  }
}
