// The two cost models as one sees them from outside: a decoder of instructions and a core.
import type { CostedInstruction } from '../emulator/cost/instruction.ts';
import type { CoreModel } from '../emulator/cost/run.ts';
import { neoverseN1, neoverseN1FrontEnd } from './arm64/cost-core.ts';
import { decodeArm64Cost } from './arm64/cost-decode.ts';
import { goldenCove, goldenCoveFrontEnd } from './x86/cost-core.ts';
import { decodeX86Cost } from './x86/cost-decode.ts';

/** An instruction as the disassembler gives it. */
interface Disassembled {
  readonly bytes: Uint8Array;
  readonly mnemonic: string;
  readonly operands: string;
}

export interface ArchitectureCosts {
  readonly model: CoreModel;
  decode(insn: Disassembled): CostedInstruction;
}

export const x86Costs: ArchitectureCosts = {
  model: { core: goldenCove, frontEnd: goldenCoveFrontEnd },
  decode: decodeX86Cost,
};

export const arm64Costs: ArchitectureCosts = {
  model: { core: neoverseN1, frontEnd: neoverseN1FrontEnd },
  decode: decodeArm64Cost,
};
