// What an arm64 kernel's handlers of traps call beside what prints: reads of code, reports of BUG(), and panic().
import { reportBug } from '../../../arch/arm64/oops.ts';
import type { Arm64PtRegs } from '../../../arch/arm64/registers.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { ERRNO } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { formatText, readText } from '../printk-format.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';
import { registersAt } from './path.ts';

/** enum bug_trap_type */
const BUG_TRAP_TYPE_BUG = 2n;
const INSN_SIZE = 4;

export function trapsArm64Callees(parts: CalleeParts): [string, Callee][] {
  const { kernel } = parts;
  const { context, memory } = kernel;
  const copy = (to: bigint, from: bigint, size: number): bigint => {
    const bytes = memory.read(virtAddr(from), size);
    return bytes !== null && memory.write(virtAddr(to), bytes) ? 0n : BigInt(ERRNO.EFAULT);
  };
  /** @param first number of the format's argument */
  const print = (argument: Argument, first: number): string => {
    let i = first + 1;
    return formatText(kernel, readText(kernel, argument(first)), () => argument(i++));
  };
  return [
    [
      // int aarch64_insn_read(void *addr, u32 *insnp)
      'aarch64_insn_read',
      plain((argument) => copy(argument(1), argument(0), INSN_SIZE)),
    ],
    [
      'copy_from_kernel_nofault',
      plain((argument) => copy(argument(0), argument(1), Math.min(Number(argument(2)), 0x1000))),
    ],
    [
      'sprintf',
      plain((argument) => {
        const text = print(argument, 1);
        const bytes = Uint8Array.from(`${text}\0`, (one) => one.charCodeAt(0));
        memory.write(virtAddr(argument(0)), bytes);
        return BigInt(text.length);
      }),
    ],
    [
      // enum bug_trap_type report_bug(unsigned long bugaddr, struct pt_regs *regs)
      'report_bug',
      plain(() => {
        context.endLine();
        reportBug(kernel.cpus[context.cpu].faultContext, 'fixup_exception');
        return BUG_TRAP_TYPE_BUG;
      }),
    ],
    [
      'arm64_skip_faulting_instruction',
      plain((argument) => {
        const { regs, giveBack } = registersAt(parts, argument(0));
        (regs as Arm64PtRegs).ip = virtAddr(regs.ip + argument(1));
        giveBack();
        return null;
      }),
    ],
  ];
}
