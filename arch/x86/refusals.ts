// x86-64 instructions that do not reach the core. Encodings are written as in SDM Vol. 2A, 3.1.1.
import type { Trap } from '../../emulator/engine.ts';
import { invalid, type Refusal, refuse } from '../refusals.ts';
import type { Decoded } from './decode.ts';

/** SDM Vol. 2A, LOCK: any other instruction, or a register as destination, is invalid with the prefix. */
function isLockable(d: Decoded): boolean {
  const op = d.opcode;
  if (!d.hasModrm || d.mod === 3) return false;
  if (d.map === 0x0f) {
    if (op === 0xba) return d.reg >= 5;
    if (op === 0xc7) return d.reg === 1;
    return [0xab, 0xb3, 0xbb, 0xb0, 0xb1, 0xc0, 0xc1].includes(op);
  }
  if (d.map !== 0) return false;
  if (op < 0x38) return (op & 7) < 2;
  if (op === 0x80 || op === 0x81 || op === 0x83) return d.reg !== 7;
  if (op === 0xf6 || op === 0xf7) return d.reg === 2 || d.reg === 3;
  return op === 0x86 || op === 0x87 || (op >= 0xfe && d.reg < 2);
}

/** In one of the ranges of a one-byte opcode. */
const oneByte =
  (...ranges: readonly (readonly [from: number, to: number])[]) =>
  ({ map, opcode }: Decoded): boolean =>
    map === 0 && ranges.some(([from, to]) => opcode >= from && opcode <= to);

const twoByte =
  (matches: (d: Decoded) => boolean) =>
  (d: Decoded): boolean =>
    d.map === 0x0f && matches(d);

const isShortBranch = (d: Decoded): boolean => d.operandSize16 && !(d.rex & 8);

const isFlush = ({ opcode, mod, reg, operandSize16 }: Decoded): boolean =>
  opcode === 0xae && mod !== 3 && (reg === 7 || (reg === 6 && operandSize16));

/** The first that matches decides. */
export const X86_REFUSALS: readonly Refusal<Decoded>[] = [
  {
    name: 'LOCK where it is not allowed',
    encoding: 'F0 with a register as destination or any other opcode than SDM Vol. 2A, LOCK names',
    ...invalid('the core runs some, and the process aborts at bit strings with a register'),
    example: 'f0480fa3c8',
    matches: (d) => d.lock && !isLockable(d),
  },
  {
    name: 'AVX and AVX-512',
    encoding: 'C4, C5 (VEX), 62 (EVEX), after any prefixes',
    ...refuse('AVX (VEX and EVEX encodings) is not modelled by the engine'),
    example: 'c5f058c2',
    matches: oneByte([0xc4, 0xc5], [0x62, 0x62]),
  },
  {
    name: 'XOP',
    encoding: '8F /1 to /7',
    ...invalid('the core takes them for pop'),
    example: '8fe87892c1',
    matches: (d) => d.map === 0 && d.opcode === 0x8f && d.reg !== 0,
  },
  {
    name: 'hlt',
    encoding: 'F4',
    trap: { action: 'halt', name: 'hlt' } satisfies Trap,
    why: 'it ends a run',
    example: 'f4',
    matches: oneByte([0xf4, 0xf4]),
  },
  {
    name: 'near branches of 16 bits',
    encoding: '66 E8, 66 E9, 66 0F 80 to 66 0F 8F, without REX.W',
    ...refuse('a near branch with an operand size prefix, which CPUs take in two ways'),
    example: '66e800000000',
    matches: (d) =>
      isShortBranch(d) &&
      (oneByte([0xe8, 0xe9])(d) || (d.map === 0x0f && (d.opcode & 0xf0) === 0x80)),
  },
  {
    name: 'in, out, ins, outs',
    encoding: '6C to 6F, E4 to E7, EC to EF',
    ...refuse('I/O ports are not modelled'),
    example: 'ec',
    matches: oneByte([0x6c, 0x6f], [0xe4, 0xe7], [0xec, 0xef]),
  },
  {
    name: 'syscall, sysret, sysenter, sysexit',
    encoding: '0F 05, 0F 07, 0F 34, 0F 35',
    ...refuse('system calls are not modelled: the code runs in the kernel'),
    example: '0f05',
    matches: twoByte(({ opcode }) => [0x05, 0x07, 0x34, 0x35].includes(opcode)),
  },
  {
    name: 'movmskps, shifts by immediate, movq2dq, movdq2q with memory',
    encoding: '0F 50, 0F 71 to 0F 73, F2 or F3 0F D6, with a memory operand',
    ...invalid('the core takes them for other instructions'),
    example: '0f5007',
    matches: twoByte(
      ({ opcode, mod, repeat }) =>
        mod !== 3 &&
        (opcode === 0x50 ||
          (opcode >= 0x71 && opcode <= 0x73) ||
          (opcode === 0xd6 && repeat !== 0)),
    ),
  },
  {
    name: 'vmread, vmwrite, extrq, insertq',
    encoding: '0F 78, 0F 79, with any prefix',
    ...invalid('VMX is off and SSE4a not there; the core takes some with memory for longer ones'),
    example: 'f24f0f784ea3',
    matches: twoByte(({ opcode }) => opcode === 0x78 || opcode === 0x79),
  },
  {
    name: 'rdrand, rdseed',
    encoding: '0F C7 /6, 0F C7 /7, with a register',
    ...refuse("the host's random numbers would make runs differ"),
    example: '480fc7f8',
    matches: twoByte(({ opcode, mod, reg }) => opcode === 0xc7 && mod === 3 && reg >= 6),
  },
  {
    name: 'clflush, clflushopt, clwb',
    encoding: '0F AE /7, 66 0F AE /7, 66 0F AE /6, with a memory operand',
    trap: { action: 'touch' } satisfies Trap,
    why: 'the core makes no access, the hardware reads',
    example: '0fae3f',
    matches: twoByte(isFlush),
  },
];
