// The face of AArch64: what the testbed puts together with a machine.
import { hex, lo32 } from '../../emulator/bits.ts';
import type { Architecture, ExtableLine, PtRegs } from '../arch.ts';
import { arm64Costs } from '../cost-models.ts';
import { esrFsc, isTranslationFault } from './esr.ts';
import {
  type Arm64ExTypeName,
  type Arm64ExtableSource,
  buildArm64Extable,
  searchArm64Extable,
} from './extable.ts';
import { ARM64_PATH, el1Abort } from './fault.ts';
import { describeEsr, EC_PC_ALIGN } from './fault-code.ts';
import { arm64Layout } from './layout.ts';
import { Arm64Paging, linuxPagingState } from './paging.ts';
import { Arm64Processor } from './processor.ts';
import { arm64PteFormat } from './pte.ts';
import { ARM64_PT_REGS, Arm64PtRegs, arm64Description } from './registers.ts';
import { NEOVERSE_N1_L2TLB } from './tlb.ts';
import { archBpfStackWalk } from './unwind.ts';

const register = (number: number) => (number === 31 ? 'xzr' : `x${number}`);

/** The data halfword of asm/asm-extable.h: two register numbers, or the direction of a copy. */
function sourceOf(line: ExtableLine): Arm64ExtableSource {
  const { insn, fixup, dst, arenaReg, offset, data } = line;
  const type = line.type as Arm64ExTypeName;
  switch (type) {
    case 'bpf':
      return { insn, fixup, type, dst, arenaReg, offset };
    case 'default':
      return { insn, fixup, type };
    case 'uaccess_cpy':
      return { insn, fixup, type, write: (data & 1) !== 0 };
    case 'load_unaligned_zeropad':
      return { insn, fixup, type, data: register(data & 31), addr: register((data >> 5) & 31) };
    default:
      return { insn, fixup, type, err: register(data & 31), zero: register((data >> 5) & 31) };
  }
}

const own = (regs: PtRegs) => regs as Arm64PtRegs;

export const arm64: Architecture = {
  name: 'arm64',
  description: arm64Description,
  costs: arm64Costs,
  argumentRegisters: ['x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7'],
  returnRegister: 'x0',
  framePointer: 'x29',
  linkRegister: 'x30',
  arenaBaseRegister: 'x28',
  faultAddressRegister: 'FAR_EL1',
  tlb: NEOVERSE_N1_L2TLB,
  layout: arm64Layout,
  pteFormat: arm64PteFormat,
  createPaging: (ram, config, root) => new Arm64Paging(ram, linuxPagingState(root, config)),
  createProcessor: (parts) => new Arm64Processor(parts),
  createRegs: () => new Arm64PtRegs(),
  deliverFault: (context, regs, fault) => el1Abort(context, own(regs), fault),
  path: ARM64_PATH,
  ptRegsMembers: ARM64_PT_REGS,
  ptRegsRest: (regs) => ({ orig_x0: regs.get('x0'), syscallno: -1n }),
  fixupException: () => null,
  isTranslationAbort: (vector) => vector !== EC_PC_ALIGN,
  exceptionName: () => 'PC alignment fault',
  buildExtable: (lines, at) => buildArm64Extable(lines.map(sourceOf), at),
  searchExtable: searchArm64Extable,
  archBpfStackWalk: (context, regs, consume) => archBpfStackWalk(context, own(regs), consume),
  isAbsence: (code) => isTranslationFault(esrFsc(lo32(code))),
  describeCode: (code) => `ESR_EL1 ${hex(code)}: ${describeEsr(code)}`,
};
