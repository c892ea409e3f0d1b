// What an exception's entry leaves on the stack for whoever walks it: struct pt_regs, and on arm64 the record in it that
// x29 then points to (kernel_entry of arch/arm64/kernel/entry.S).
import { virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';
import type { Vcpu } from '../vcpu.ts';
import type { PtRegsMemory } from './pt-regs.ts';

/** sizeof(struct frame_record_meta): {0, 0, type}, of 6.13 and later. Before there was a record {x29, pc}. */
const META_SIZE = 24;
const FRAME_META_TYPE_PT_REGS = 2n;

export class ExceptionFrame {
  private readonly kernel: Kernel;
  private ptRegs: PtRegsMemory | null = null;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** An object may know struct pt_regs. One that does is enough: there is one kernel. */
  learn(ptRegs: PtRegsMemory | null): void {
    if (this.ptRegs !== null || ptRegs === null) return;
    this.ptRegs = ptRegs;
    const { members, size } = ptRegs.layout;
    const record = members.get('stackframe');
    // task_pt_regs(): the registers of the entry from user space end the stack, and a walk.
    if (record !== undefined) this.kernel.finalRecord = BigInt(size - record.offset);
  }

  /**
   * Lays down the frame of the exception that a CPU works on, if an object knows what it is like.
   * @returns the frame pointer that its handlers begin with; null: the CPU's own
   */
  lay({ regs, exception, inCallee }: Vcpu): bigint | null {
    const { memory, arch } = this.kernel;
    if (inCallee || this.ptRegs === null) return null;
    const isArm64 = arch.linkRegister !== null;
    if (exception === null) return isArm64 ? 0n : null;
    const at = this.ptRegs.write(regs);
    const record = this.ptRegs.layout.members.get('stackframe');
    if (!isArm64 || record === undefined) return null;
    const frame = virtAddr(at + BigInt(record.offset));
    const [fp, lr] = record.size === META_SIZE ? [0n, 0n] : [regs.fp, regs.ip];
    memory.writeWord(frame, fp);
    memory.writeWord(virtAddr(frame + 8n), lr);
    if (record.size === META_SIZE) memory.writeWord(virtAddr(frame + 16n), FRAME_META_TYPE_PT_REGS);
    return frame;
  }
}
