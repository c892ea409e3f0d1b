// The register dump of an AArch64 oops, after arch/arm64/kernel: __show_regs() with its pstate line, dump_backtrace()
// and dump_kernel_instr(). Left out: pseudo-NMI priorities (pmr), user-mode and compat registers.
import { virtAddr } from '../../emulator/address.ts';
import { bit, hex16 } from '../../emulator/bits.ts';
import type { FaultContext } from '../arch.ts';
import { compiledNow } from '../compiled-path.ts';
import { dumpStackPrintInfo } from '../oops.ts';
import type { Arm64PtRegs } from './registers.ts';
import { KunwindState, stripKernelInsnPac } from './unwind.ts';

/**
 * __show_regs()
 * @kernel __show_regs arch/arm64/kernel/process.c read
 */
export function showRegsOnly(context: FaultContext, regs: Arm64PtRegs): void {
  if (compiledNow(context, '__show_regs', regs) !== null) return;
  const print = (text: string) => context.kernel.printk(text, '__show_regs');
  dumpStackPrintInfo(context);
  context.kernel.printk(pstateLine(regs.pstate), 'print_pstate');
  print(`pc : ${context.formatSymbol(regs.ip)}`);
  print(`lr : ${context.formatSymbol(virtAddr(stripKernelInsnPac(regs.lr)))}`);
  print(`sp : ${hex16(regs.sp)}`);
  // Three to a line, from x29 down.
  for (let i = 29; i >= 0; i -= 3) {
    print(
      [i, i - 1, i - 2].map((n) => `x${String(n).padEnd(2)}: ${hex16(regs.words[n])}`).join(' '),
    );
  }
}

// PSTATE bits as SPSR_EL1 holds them. DDI 0487, C5.2.20.
const BTYPES = ['--', 'jc', '-c', 'j-'];

/** @kernel print_pstate arch/arm64/kernel/process.c read */
function pstateLine(pstate: bigint): string {
  const letter = (name: string, at: number) => (bit(pstate, at) ? name : name.toLowerCase());
  const sign = (name: string, at: number) => `${bit(pstate, at) ? '+' : '-'}${name}`;
  const nzcv = letter('N', 31) + letter('Z', 30) + letter('C', 29) + letter('V', 28);
  const daif = letter('D', 9) + letter('A', 8) + letter('I', 7) + letter('F', 6);
  const rest = [
    sign('PAN', 22),
    sign('UAO', 23),
    sign('TCO', 25),
    sign('DIT', 24),
    sign('SSBS', 12),
    `BTYPE=${BTYPES[Number((pstate >> 10n) & 3n)]}`,
  ];
  return `pstate: ${pstate.toString(16).padStart(8, '0')} (${nzcv} ${daif} ${rest.join(' ')})`;
}

/**
 * dump_backtrace(): (P) marks a program counter from an exception's registers.
 * @kernel dump_backtrace arch/arm64/kernel/stacktrace.c read
 */
export function dumpBacktrace(context: FaultContext, regs: Arm64PtRegs): void {
  if (regs.userMode) return;
  context.kernel.printk('Call trace:', 'dump_backtrace');
  const state = new KunwindState(context, regs);
  do {
    const source = state.source === 'regs_pc' ? ' (P)' : '';
    context.kernel.printk(
      ` ${context.formatSymbol(virtAddr(state.pc))}${source}`,
      'dump_backtrace',
    );
  } while (state.next());
}

/**
 * dump_kernel_instr(): the instruction in parentheses and the four before it.
 * @kernel dump_kernel_instr arch/arm64/kernel/traps.c read
 */
export function dumpKernelInstr(context: FaultContext, regs: Arm64PtRegs): void {
  if (compiledNow(context, 'dump_kernel_instr', regs.ip) !== null) return;
  if (regs.userMode) return;
  let text = '';
  for (let i = -4; i < 1; i++) {
    const bytes = context.readMemory(virtAddr(regs.ip + BigInt(i * 4)), 4);
    const word =
      bytes === null
        ? '????????'
        : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true).toString(16);
    text += i === 0 ? `(${word.padStart(8, '0')}) ` : `${word.padStart(8, '0')} `;
  }
  context.kernel.printk(`Code: ${text}`, 'dump_kernel_instr');
}
