// The face of x86-64: what the testbed puts together with a machine.
import { hex, lo32 } from '../../emulator/bits.ts';
import type { Architecture, ExtableLine, PtRegs } from '../arch.ts';
import { x86Costs } from '../cost-models.ts';
import {
  buildX86Extable,
  fixupException,
  searchX86Extable,
  type X86ExTypeName,
  type X86ExtableSource,
} from './extable.ts';
import { deliverPageFault, X86_PATH } from './fault.ts';
import { describePfErrorCode, PF_P, VECTOR_GP, VECTOR_PF } from './fault-code.ts';
import { x86Layout } from './layout.ts';
import { linuxPagingState, X86Paging } from './paging.ts';
import { X86Processor } from './processor.ts';
import { x86PteFormat } from './pte.ts';
import { X86_PT_REGS, X86PtRegs, x86Description } from './registers.ts';
import { GOLDEN_COVE_STLB } from './tlb.ts';
import { archBpfStackWalk } from './unwind.ts';

/** Registers by their number in an instruction's encoding, as the data word of an entry names them. */
const NUMBERED = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];

/** The data word of asm/extable_fixup_types.h: register 11:8, flags 15:12, immediate 31:16. */
function sourceOf(line: ExtableLine): X86ExtableSource {
  const { insn, fixup, dst, arenaReg, offset, data } = line;
  const type = line.type as X86ExTypeName;
  if (type === 'bpf') return { insn, fixup, type, dst, arenaReg, offset };
  return {
    insn,
    fixup,
    type,
    reg: NUMBERED[(data >> 8) & 15],
    imm: data >> 16,
    clearAx: (data & (1 << 12)) !== 0,
    clearDx: (data & (1 << 13)) !== 0,
  };
}

const own = (regs: PtRegs) => regs as X86PtRegs;

export const x86: Architecture = {
  name: 'x86_64',
  description: x86Description,
  costs: x86Costs,
  argumentRegisters: ['rdi', 'rsi', 'rdx', 'rcx', 'r8', 'r9'],
  returnRegister: 'rax',
  framePointer: 'rbp',
  linkRegister: null,
  arenaBaseRegister: 'r12',
  faultAddressRegister: 'CR2',
  tlb: GOLDEN_COVE_STLB,
  layout: x86Layout,
  pteFormat: x86PteFormat,
  createPaging: (ram, config, root) =>
    new X86Paging(ram, linuxPagingState(BigInt(root), config.la57)),
  createProcessor: (parts) => new X86Processor(parts),
  createRegs: () => new X86PtRegs(),
  deliverFault: (context, regs, fault) => deliverPageFault(context, own(regs), fault),
  path: X86_PATH,
  ptRegsMembers: X86_PT_REGS,
  ptRegsRest(regs) {
    const { flags, cs, ss } = own(regs);
    return { orig_ax: -1n, flags, cs: BigInt(cs), ss: BigInt(ss) };
  },
  fixupException: (context, regs, vector, addr) => fixupException(context, own(regs), vector, addr),
  isTranslationAbort: (vector) => vector === VECTOR_PF,
  exceptionName: (vector) => (vector === VECTOR_GP ? '#GP' : '#SS'),
  buildExtable: (lines, at) => buildX86Extable(lines.map(sourceOf), at),
  searchExtable: searchX86Extable,
  archBpfStackWalk: (context, regs, consume) => archBpfStackWalk(context, own(regs), consume),
  isAbsence: (code) => (lo32(code) & PF_P) === 0,
  describeCode: (code) => `error code ${hex(code)}: ${describePfErrorCode(code)}`,
};
