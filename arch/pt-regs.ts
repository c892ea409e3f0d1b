// What both architectures' struct pt_regs share: the interrupted registers, taken from the CPU at an exception entry. The
// flags are the dear part: the core keeps them in pieces and puts them together when asked, and most fault paths never
// ask. So they are read when somebody first looks.
import { hi32, lo32 } from '../emulator/bits.ts';
import type { Cpu } from '../emulator/engine.ts';

/** Which of the general registers make a frame. */
interface FrameIndices {
  readonly ip: number;
  readonly sp: number;
  readonly fp: number;
}

export abstract class SavedRegisters {
  protected readonly saved: BigUint64Array;
  private readonly halves: Uint32Array;
  private readonly frame: FrameIndices;
  private readonly flagsName: string;
  private readonly flagsIndex: number;
  /** The CPU that still has the flags. */
  private unread: Cpu | null = null;

  /** @param general the CpuDescription's registers. @param flagsName the one among them that is read late */
  constructor(
    words: BigUint64Array,
    general: readonly string[],
    flagsName: string,
    frame: FrameIndices,
  ) {
    this.saved = words;
    this.halves = new Uint32Array(words.buffer, words.byteOffset, words.length * 2);
    this.frame = frame;
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

  /** True if the frame is at these addresses. Asked at every fault, so it makes no bigints. */
  isAt(ip: bigint, sp: bigint, fp: bigint): boolean {
    const { frame } = this;
    return this.holds(frame.ip, ip) && this.holds(frame.sp, sp) && this.holds(frame.fp, fp);
  }

  private holds(index: number, value: bigint): boolean {
    const { halves } = this;
    return halves[2 * index] === lo32(value) && halves[2 * index + 1] === hi32(value);
  }

  /** Takes the registers of a CPU, which must not run before the last of them was looked at. */
  load(cpu: Cpu): void {
    this.unread = cpu.readIntegers(this.saved) ? null : cpu;
  }
}
