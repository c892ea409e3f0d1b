// The text of an x86 oops: show_fault_oops() and dump_pagetable() of arch/x86/mm/fault.c, die() and oops_end() of
// arch/x86/kernel/dumpstack.c. Left out: descriptor tables after an implicit access from user mode, the RMP dump, and
// "Thread overran stack", since no end magic is kept on modelled stacks.
import type { VirtAddr } from '../../emulator/address.ts';
import { bit, hex16, lo32 } from '../../emulator/bits.ts';
import type { FaultContext, HardwareFault } from '../arch.ts';
import { compiledNow } from '../compiled-path.ts';
import { oopsExit, panic, printModules } from '../oops.ts';
import { tableEntries } from '../page-table.ts';
import { PF_I, PF_P, PF_PK, PF_RSVD, PF_U, PF_W } from './fault-code.ts';
import { CR4_SMEP } from './paging-state.ts';
import { X86PtRegs } from './registers.ts';
import { controlRegisters, showAllRegs, showRegs } from './show-regs.ts';

/** @kernel show_fault_oops arch/x86/mm/fault.c read */
export function showFaultOops(context: FaultContext, regs: X86PtRegs, fault: HardwareFault): void {
  if (compiledNow(context, 'show_fault_oops', regs, fault.code, fault.addr) !== null) return;
  const print = (text: string) => context.kernel.printk(text, 'show_fault_oops');
  const code = lo32(fault.code);
  if (code & PF_I) showFetch(context, fault.addr);
  const what =
    fault.addr < 4096n && !regs.userMode
      ? 'kernel NULL pointer dereference, address'
      : 'unable to handle page fault for address';
  print(`BUG: ${what}: ${hex16(fault.addr)}`);
  const access = code & PF_I ? 'instruction fetch' : code & PF_W ? 'write access' : 'read access';
  const privilege = code & PF_U ? 'user' : 'supervisor';
  print(`#PF: ${privilege} ${access} in ${regs.userMode ? 'user' : 'kernel'} mode`);
  print(`#PF: error_code(0x${code.toString(16).padStart(4, '0')}) - ${reason(code)}`);
  dumpPagetable(context, fault.addr);
}

/** AMD APM Vol. 2, 8.4.2: the reverse map table denied the access. */
const PF_RMP = 1 << 31;

function reason(code: number): string {
  if (!(code & PF_P)) return 'not-present page';
  if (code & PF_RSVD) return 'reserved bit violation';
  if (code & PF_PK) return 'protection keys violation';
  if (code & PF_RMP) return 'RMP violation';
  return 'permissions violation';
}

const PRESENT = 1n;
const PSE = 1n << 7n;
const USER_BIT = 2;
const NX_BIT = 63;

const present = (entry: bigint): boolean => (entry & PRESENT) !== 0n;

/** p?d_present() && !p?d_leaf(): there is a table below. PSE in the top level is reserved and no leaf. */
export const hasTable = (entry: bigint): boolean => present(entry) && (entry & PSE) === 0n;

/**
 * The lines of show_fault_oops() that tell why a fetch was refused (lookup_address_in_pgd_attr()).
 * @kernel lookup_address_in_pgd_attr arch/x86/mm/pat/set_memory.c read
 */
function showFetch(context: FaultContext, addr: VirtAddr): void {
  const entries = tableEntries(context, context.swapperPgDir, addr, hasTable).map(
    ({ value }) => value,
  );
  const leaf = entries[entries.length - 1];
  if (leaf === null || !present(leaf)) return;
  const print = (text: string) => context.kernel.printk(text, 'show_fault_oops');
  const uid = `(uid: ${context.current.uid})`;
  const nx = entries.some((entry) => entry !== null && bit(entry, NX_BIT));
  const smep = (controlRegisters(context).cr4 & CR4_SMEP) !== 0n;
  if (nx) {
    print(`kernel tried to execute NX-protected page - exploit attempt? ${uid}`);
  } else if (bit(entries[0] ?? 0n, USER_BIT) && smep) {
    print(`unable to execute userspace code (SMEP?) ${uid}`);
  }
}

const LEVEL_NAMES = ['PTE', 'PMD', 'PUD', 'P4D', 'PGD'];

/**
 * dump_pagetable(): the entries for `addr`, down to the first that names no table.
 * @kernel dump_pagetable arch/x86/mm/fault.c read
 */
export function dumpPagetable(context: FaultContext, addr: VirtAddr): void {
  if (compiledNow(context, 'dump_pagetable', addr) !== null) return;
  const entries = tableEntries(context, context.swapperPgDir, addr, hasTable);
  let line = '';
  let bad = false;
  for (const { height, value } of entries) {
    if (value === null) {
      bad = true;
      break;
    }
    const hexValue = value.toString(16);
    // With 4-level paging the P4D is folded into the PGD, and both print the same entry.
    if (height === 3 && context.pte.shifts.length === 4) line += `PGD ${hexValue} `;
    line += `${LEVEL_NAMES[height]} ${hexValue}${height === 0 ? '' : ' '}`;
  }
  if (line !== '') context.kernel.printk(line, 'dump_pagetable');
  if (bad) context.kernel.printk('BAD', 'dump_pagetable');
}

/**
 * __die() of dumpstack.c: header, registers, trace and modules. @param err only the low 16 bits are printed
 * @kernel __die arch/x86/kernel/dumpstack.c read
 */
export function die(
  context: FaultContext,
  text: string,
  regs: X86PtRegs,
  err: number,
  cr2: VirtAddr,
): void {
  const { kernel } = context;
  if (kernel.dieCounter === 0) kernel.execSummaryRegs = regs.clone();
  if (compiledNow(context, '__die', text, regs, BigInt(err)) !== null) {
    kernel.dieCounter++;
    return;
  }
  const code = (err & 0xffff).toString(16).padStart(4, '0');
  const pti = kernel.config.pti ? 'PTI' : 'NOPTI';
  kernel.printk(`Oops: ${text}: ${code} [#${kernel.dieCounter + 1}] SMP ${pti}`, '__die');
  showRegs(context, regs, cr2);
  printModules(context);
  // Counted here, since TAINT_DIE is set after the report.
  kernel.dieCounter++;
}

const SIGKILL = 9n;

/**
 * oops_end(): the end marker and the registers of the first oops once more.
 * @param inInterrupt the report was made in an interrupt or NMI-like context, which is fatal for the whole kernel
 * @kernel oops_end arch/x86/kernel/dumpstack.c read
 */
export function oopsEnd(
  context: FaultContext,
  regs: X86PtRegs,
  cr2: VirtAddr,
  inInterrupt = false,
): void {
  context.kernel.reportInInterrupt = inInterrupt;
  if (compiledNow(context, 'oops_end', 0n, regs, SIGKILL) !== null) return;
  oopsExit(context);
  // Every later oops repeats those of the first at its end.
  const first = context.kernel.execSummaryRegs;
  if (first instanceof X86PtRegs) showAllRegs(context, first, cr2);
  if (inInterrupt) panic(context, 'Fatal exception in interrupt');
}
