// struct pt_regs in memory, laid out as the object's debugging data says: on the task's stack, where an exception's entry
// pushes it. Compiled code has it for as long as it runs; whenever the model goes on, it takes over what has changed.
import type { PtRegs } from '../../arch/arch.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import type { Structures } from './structures.ts';

/** Below the interrupted stack pointer; EXCEPTION_FRAME of testbed/vcpu.ts leaves room for it. */
const LARGEST = 0x1f0;

export class PtRegsMemory {
  private readonly kernel: Kernel;
  readonly layout: StructLayout;

  /** @returns null for an object that does not define it @throws CallError for a layout that no kernel has */
  static of(kernel: Kernel, structures: Structures, path: string): PtRegsMemory | null {
    const layout = structures.optional('pt_regs');
    return layout === null ? null : new PtRegsMemory(kernel, layout, path);
  }

  private constructor(kernel: Kernel, layout: StructLayout, path: string) {
    this.kernel = kernel;
    this.layout = layout;
    const { members, size } = this.layout;
    const { ptRegsMembers } = kernel.arch;
    for (const [name, registers] of Object.entries(ptRegsMembers)) {
      if (members.get(name)?.size === registers.length * 8 && size <= LARGEST) continue;
      throw new CallError(
        `${path}: struct pt_regs is not that of ${kernel.arch.name}: ${name}`,
        'compile it with the headers of the kernel',
      );
    }
  }

  /** Where the registers of an exception lie. */
  place(regs: PtRegs): VirtAddr {
    return virtAddr((regs.sp & ~0xfn) - BigInt(this.layout.size));
  }

  /** Lays all of them down. @returns their address; nothing is written where the stack is full */
  write(regs: PtRegs, at = this.place(regs)): VirtAddr {
    const { members, size } = this.layout;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    const { ptRegsMembers, ptRegsRest } = this.kernel.arch;
    for (const [name, registers] of Object.entries(ptRegsMembers)) {
      const { offset } = members.get(name)!;
      registers.forEach((register, i) => {
        view.setBigUint64(offset + 8 * i, regs.get(register), true);
      });
    }
    for (const [name, value] of Object.entries(ptRegsRest(regs))) {
      const member = members.get(name);
      if (member?.size === 8) view.setBigUint64(member.offset, BigInt.asUintN(64, value), true);
      if (member?.size === 4)
        view.setUint32(member.offset, Number(BigInt.asUintN(32, value)), true);
      if (member?.size === 2)
        view.setUint16(member.offset, Number(BigInt.asUintN(16, value)), true);
    }
    this.kernel.memory.write(at, bytes);
    return at;
  }

  /** Takes over the registers that differ. @returns false where nothing is mapped */
  read(regs: PtRegs, at: VirtAddr): boolean {
    const { members, size } = this.layout;
    const bytes = this.kernel.memory.read(at, size);
    if (bytes === null) return false;
    const view = new DataView(bytes.buffer);
    const { ptRegsMembers, ptRegsRest } = this.kernel.arch;
    const told = ptRegsRest(regs);
    for (const [name, registers] of Object.entries(ptRegsMembers)) {
      const { offset } = members.get(name)!;
      registers.forEach((register, i) => {
        const value = view.getBigUint64(offset + 8 * i, true);
        if (value !== (told[name] ?? regs.get(register))) regs.set(register, value);
      });
    }
    return true;
  }
}
