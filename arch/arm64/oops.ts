// The text of an AArch64 oops: die_kernel_fault(), mem_abort_decode() and show_pte() of arch/arm64/mm/fault.c, die() and
// panic_bad_stack() of arch/arm64/kernel/traps.c. Left out: the KASAN hook, and the addresses of the interrupt and
// overflow stacks, which are not modelled.
import type { PhysAddr, VirtAddr } from '../../emulator/address.ts';
import { bit, field, hex, hex16, lo32 } from '../../emulator/bits.ts';
import type { Activity } from '../../mm/context.ts';
import type { FaultContext, FaultOutcome, FaultPath } from '../arch.ts';
import { compiledNow, compiledText } from '../compiled-path.ts';
import { dumpStackPrintInfo, oops, oopsExit, panic, printModules } from '../oops.ts';
import { tableEntries } from '../page-table.ts';
import { SPURIOUS } from '../path.ts';
import { isTtbr0Addr, isTtbr1Addr, vaBits } from './address-ranges.ts';
import { esrEc, esrFsc, esrGetClassString, isDataAbort } from './esr.ts';
import { faultInfo } from './fault-info.ts';
import type { Arm64Paging } from './paging.ts';
import type { Arm64PtRegs } from './registers.ts';
import { dumpBacktrace, dumpKernelInstr, showRegsOnly } from './show-regs.ts';

/**
 * die_kernel_fault(): the whole report of a fault that nobody could handle.
 * @kernel die_kernel_fault arch/arm64/mm/fault.c read
 */
export function dieKernelFault(
  context: FaultContext,
  message: string,
  addr: VirtAddr,
  esr: bigint,
  regs: Arm64PtRegs,
): FaultPath {
  const { kernel } = context;
  if (kernel.events.on) kernel.enter('die_kernel_fault', { msg: message, addr: hex16(addr) });
  const compiled = context.compiled?.calls.die_kernel_fault;
  if (compiled !== undefined) return returning(compiled(message, addr, esr, regs));
  return oops(context, () => {
    kernel.printk(
      `Unable to handle kernel ${message} at virtual address ${hex16(addr)}`,
      'die_kernel_fault',
    );
    memAbortDecode(context, esr);
    showPte(context, addr);
    die(context, 'Oops', regs, esr);
  });
}

/** A function that the kernel does not come back from; if compiled code does, the instruction is run again. */
function* returning(call: Activity<bigint>): Activity<FaultOutcome> {
  yield* call;
  return SPURIOUS;
}

/** @kernel mem_abort_decode arch/arm64/mm/fault.c read */
export function memAbortDecode(context: FaultContext, esr: bigint): void {
  if (compiledNow(context, 'mem_abort_decode', esr) !== null) return;
  const print = (text: string) => context.kernel.printk(text, 'mem_abort_decode');
  const b = (at: number) => (bit(esr, at) ? 1 : 0);
  const hex2 = (value: number) => `0x${value.toString(16).padStart(2, '0')}`;
  print('Mem abort info:');
  print(`  ESR = 0x${hex16(esr)}`);
  const low = lo32(esr);
  const il = bit(esr, 25) ? 32 : 16;
  print(`  EC = ${hex2(esrEc(low))}: ${className(context, esr)}, IL = ${il} bits`);
  print(`  SET = ${field(esr, 12, 11)}, FnV = ${b(10)}`);
  print(`  EA = ${b(9)}, S1PTW = ${b(7)}`);
  print(`  FSC = ${hex2(esrFsc(low))}: ${faultInfo(esrFsc(low)).name}`);
  if (isDataAbort(low)) dataAbortDecode(context, esr);
}

/** What esr_get_class_string() calls the class. @param esr ESR_EL1 */
export const className = (context: FaultContext, esr: bigint): string =>
  compiledText(context, 'esr_get_class_string', esr) ?? esrGetClassString(lo32(esr));

/**
 * data_abort_decode(). ISS2 is ESR_EL1[55:32].
 * @kernel data_abort_decode arch/arm64/mm/fault.c read
 */
export function dataAbortDecode(context: FaultContext, esr: bigint): void {
  if (compiledNow(context, 'data_abort_decode', esr) !== null) return;
  const print = (text: string) => context.kernel.printk(text, 'data_abort_decode');
  const b = (at: number) => (bit(esr, at) ? 1 : 0);
  const hex8 = (value: bigint) => `0x${value.toString(16).padStart(8, '0')}`;
  print('Data abort info:');
  if (bit(esr, 24)) {
    print(`  Access size = ${1 << Number(field(esr, 23, 22))} byte(s)`);
    print(`  SSE = ${b(21)}, SRT = ${field(esr, 20, 16)}`);
    print(`  SF = ${b(15)}, AR = ${b(14)}`);
  } else {
    print(`  ISV = 0, ISS = ${hex8(field(esr, 24, 0))}, ISS2 = ${hex8(field(esr, 55, 32))}`);
  }
  print(`  CM = ${b(8)}, WnR = ${b(6)}, TnD = ${b(42)}, TagAccess = ${b(41)}`);
  const rest = `DirtyBit = ${b(37)}, Xs = ${field(esr, 36, 32)}`;
  print(`  GCS = ${b(40)}, Overlay = ${b(38)}, ${rest}`);
}

/**
 * show_pte(): the entries for `addr` in the tables of the mm that translates it.
 * @kernel show_pte arch/arm64/mm/fault.c read
 */
export function showPte(context: FaultContext, addr: VirtAddr): void {
  if (compiledNow(context, 'show_pte', addr) !== null) return;
  const print = (text: string) => context.kernel.printk(text, 'show_pte');
  const user = isTtbr0Addr(context, addr);
  if (user && !context.current.hasMm) {
    print(`[${hex16(addr)}] user address but active_mm is swapper`);
    return;
  }
  if (!user && !isTtbr1Addr(context, addr)) {
    print(`[${hex16(addr)}] address between user and kernel address ranges`);
    return;
  }
  const mm = user ? 'user' : 'swapper';
  const pgd = user ? userPgd(context) : context.swapperPgDir;
  const pages = `${2 ** (context.pte.pageShift - 10)}k pages, ${vaBits(context)}-bit VAs`;
  print(`${mm} pgtable: ${pages}, pgdp=${hex16(BigInt(pgd ?? 0))}`);
  print(`[${hex16(addr)}] ${entriesLine(context, pgd, addr)}`);
}

/** TCR_EL1.EPD0: no walks through TTBR0_EL1, which models an mm that maps nothing. */
const TCR_EPD0 = 1n << 7n;

/** The table of the task's mm, TTBR0_EL1.BADDR; null for one that maps nothing. */
function userPgd(context: FaultContext): PhysAddr | null {
  const { tcr, ttbr0 } = (context.paging as Arm64Paging).state;
  return tcr & TCR_EPD0 ? null : (Number(ttbr0 & 0xffff_ffff_fffen) as PhysAddr);
}

const LEVEL_NAMES = ['pte', 'pmd', 'pud', 'p4d', 'pgd'];

/** "pgd=..., p4d=..., ...": levels that are folded into the top one print its entry again. */
function entriesLine(context: FaultContext, pgd: PhysAddr | null, addr: VirtAddr): string {
  const { pte } = context;
  const hasTable = (entry: bigint) =>
    !pte.tableNone(entry) && !pte.tableLeaf(entry) && !pte.tableBad(entry);
  const entries =
    pgd === null
      ? [{ height: pte.shifts.length - 1, value: 0n }]
      : tableEntries(context, pgd, addr, hasTable);
  const words: string[] = [];
  for (const { height, value } of entries) {
    const names = words.length === 0 ? LEVEL_NAMES.slice(height) : [LEVEL_NAMES[height]];
    // The kernel would fault on a table outside RAM; it prints as none.
    words.push(...names.reverse().map((name) => `${name}=${hex16(value ?? 0n)}`));
  }
  return words.join(', ');
}

/**
 * die(): header, modules, registers, trace and code.
 * @kernel die arch/arm64/kernel/traps.c read
 */
export function die(context: FaultContext, text: string, regs: Arm64PtRegs, err: bigint): void {
  if (compiledNow(context, 'die', text, regs, err) !== null) return;
  const { kernel } = context;
  kernel.printk(`Internal error: ${text}: ${hex16(err)} [#${kernel.dieCounter + 1}]  SMP`, 'die');
  printModules(context);
  showRegsOnly(context, regs);
  dumpBacktrace(context, regs);
  dumpKernelInstr(context, regs);
  // Counted here, since TAINT_DIE is set after the report.
  kernel.dieCounter++;
  oopsExit(context);
}

/** ESR_EL1 of the BRK instruction that BUG() is: EC 0x3c, IL, BUG_BRK_IMM 0x800. */
const ESR_BUG = 0xf200_0800n;

/**
 * BUG() in the kernel's own code.
 * @kernel bug_brk_handler arch/arm64/kernel/traps.c read
 */
export function bug(context: FaultContext, fn: string, regs: Arm64PtRegs): FaultOutcome {
  return oops(context, () => {
    if (compiledNow(context, 'bug_brk_handler', regs, ESR_BUG) !== null) return;
    reportBug(context, fn);
    die(context, 'Oops - BUG', regs, ESR_BUG);
  });
}

/** The lines that report_bug() of lib/bug.c prints for a BUG() in `fn`. */
export function reportBug({ kernel }: FaultContext, fn: string): void {
  kernel.printk('------------[ cut here ]------------', 'bug_brk_handler');
  kernel.printk(`Kernel BUG at ${fn} [verbose debug info unavailable]`, 'bug_brk_handler');
}

/**
 * panic_bad_stack(): the entry code found no room on the stack for the registers.
 * @kernel panic_bad_stack arch/arm64/kernel/traps.c read
 */
export function panicBadStack(
  context: FaultContext,
  regs: Arm64PtRegs,
  esr: bigint,
  far: VirtAddr,
): FaultOutcome {
  const { kernel, current, compiled } = context;
  if (kernel.events.on) kernel.enter('panic_bad_stack', { esr: hex(esr), far: hex(far) });
  // Compiled code has no overflow stack to run on.
  context.compiled = null;
  const dead = oops(context, () => {
    kernel.printk('Insufficient stack space to handle exception!', 'panic_bad_stack');
    kernel.printk(`ESR: 0x${hex16(esr)} -- ${className(context, esr)}`, 'panic_bad_stack');
    kernel.printk(`FAR: 0x${hex16(far)}`, 'panic_bad_stack');
    kernel.printk(
      `Task stack:     [0x${hex16(current.stack)}..0x${hex16(current.stackEnd)}]`,
      'panic_bad_stack',
    );
    showRegsOnly(context, regs);
    panic(context, 'kernel stack overflow', () => {
      dumpStackPrintInfo(context);
      dumpBacktrace(context, regs);
    });
  });
  context.compiled = compiled;
  return dead;
}
