// What both architectures' struct pt_regs share: the interrupted registers, taken from the CPU at an exception entry. The
// flags are the dear part: the core keeps them in pieces and puts them together when asked, and most fault paths never
// ask. So they are read when somebody first looks.
import type { Cpu } from '../emulator/engine.ts';

export abstract class SavedRegisters {
  protected readonly saved: BigUint64Array;
  private readonly flagsName: string;
  private readonly flagsIndex: number;
  /** The CPU that still has the flags. */
  private unread: Cpu | null = null;

  /** @param general the CpuDescription's registers. @param flagsName the one among them that is read late */
  constructor(words: BigUint64Array, general: readonly string[], flagsName: string) {
    this.saved = words;
    this.flagsName = flagsName;
    this.flagsIndex = general.indexOf(flagsName);
  }

  /** All general registers in the CpuDescription's order. */
  get words(): BigUint64Array {
    const cpu = this.unread;
    if (cpu !== null) {
      this.unread = null;
      this.saved[this.flagsIndex] = cpu.readRegister(this.flagsName);
    }
    return this.saved;
  }

  /** Takes the registers of a CPU, which must not run before the last of them was looked at. */
  load(cpu: Cpu): void {
    this.unread = cpu.readIntegers(this.saved) ? null : cpu;
  }
}
