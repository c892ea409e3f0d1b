// The two cost models as one sees them from outside: a decoder of instructions and a core.
// The cost models of both architectures: the core that blocks are costed on, presets for everything else, and which
// instructions are costed as events, since they change how addresses are translated.
import type { CostedInstruction } from '../emulator/cost/instruction.ts';
import type { CostPreset, KnobName } from '../emulator/cost/knobs.ts';
import type { CoreModel } from '../emulator/cost/run.ts';
import { neoverseN1, neoverseN1FrontEnd } from './arm64/cost-core.ts';
import { decodeArm64Cost } from './arm64/cost-decode.ts';
import { ARM64_PRESETS } from './arm64/costs.ts';
import { goldenCove, goldenCoveFrontEnd } from './x86/cost-core.ts';
import { decodeX86Cost } from './x86/cost-decode.ts';
import { X86_PRESETS } from './x86/costs.ts';

/** An instruction as the disassembler gives it. */
interface Disassembled {
  readonly bytes: Uint8Array;
  readonly mnemonic: string;
  readonly operands: string;
}

/** An instruction that is charged as an event beside its block. */
export interface Maintenance {
  readonly knob: KnobName;
  /** It reaches the other CPUs too. */
  readonly broadcast: boolean;
}

export interface ArchitectureCosts {
  readonly model: CoreModel;
  /** The first is the default. */
  readonly presets: readonly CostPreset[];
  decode(insn: Disassembled): CostedInstruction;
  /** False: no instruction of this code is one of {@link maintenance}. */
  mayMaintain(code: Uint8Array): boolean;
  maintenance(insn: Disassembled): Maintenance | null;
}

const own = (knob: KnobName): Maintenance => ({ knob, broadcast: false });

function x86Maintenance({ mnemonic, operands }: Disassembled): Maintenance | null {
  if (mnemonic === 'invlpg') return own('invalidatePage');
  if (mnemonic === 'invpcid') return own('invalidateAll');
  return mnemonic === 'mov' && /^cr[34],/.test(operands) ? own('rootWrite') : null;
}

function arm64Maintenance({ mnemonic, operands }: Disassembled): Maintenance | null {
  if (mnemonic === 'tlbi') {
    const [operation] = operands.split(',');
    const knob = operation.startsWith('va') ? 'invalidatePage' : 'invalidateAll';
    return { knob, broadcast: /[io]s$/.test(operation) };
  }
  if (mnemonic === 'dsb') return own('barrier');
  return mnemonic === 'msr' && operands.startsWith('ttbr') ? own('rootWrite') : null;
}

export const x86Costs: ArchitectureCosts = {
  model: { core: goldenCove, frontEnd: goldenCoveFrontEnd },
  presets: X86_PRESETS,
  decode: decodeX86Cost,
  // INVLPG and MOV to control registers are two-byte opcodes 01 and 22, INVPCID 38 82.
  mayMaintain: (code) =>
    code.some((byte, at) => byte === 0x0f && [0x01, 0x22, 0x38].includes(code[at + 1])),
  maintenance: x86Maintenance,
};

export const arm64Costs: ArchitectureCosts = {
  model: { core: neoverseN1, frontEnd: neoverseN1FrontEnd },
  presets: ARM64_PRESETS,
  decode: decodeArm64Cost,
  // System instructions have d5 as their last byte.
  mayMaintain: (code) => code.some((byte, at) => at % 4 === 3 && byte === 0xd5),
  maintenance: arm64Maintenance,
};
