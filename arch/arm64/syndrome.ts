// The exception classes of ESR_ELx and the ISS of those that are not aborts, as fields (DDI 0487, D24.2.40). For
// `faultline decode esr`; the model itself raises none of them. Classes whose ISS has no field are RES0. Left out: the
// second syndrome word of FEAT_LS64 stores and the registers that TSTART and GPC exceptions name.
import { field } from '../../emulator/bits.ts';
import { type Field, fieldOf, flagOf } from '../fields.ts';

type IssDecoder = (esr: bigint) => readonly Field[];

const none: IssDecoder = () => [];
const immediate: IssDecoder = (esr) => [fieldOf(esr, 'imm16', 15, 0)];
const comment: IssDecoder = (esr) => [fieldOf(esr, 'Comment', 15, 0, brkMeaning)];

/** Immediates of BRK that Linux uses (asm/brk-imm.h). */
const BRK_IMMEDIATES: readonly [from: number, to: number, name: string][] = [
  [0x004, 0x004, 'kprobe'],
  [0x005, 0x005, 'uprobe'],
  [0x006, 0x006, 'kprobe single step'],
  [0x007, 0x007, 'kretprobe'],
  [0x100, 0x100, 'fault'],
  [0x400, 0x400, 'KGDB, dynamic'],
  [0x401, 0x401, 'KGDB, compiled'],
  [0x800, 0x800, 'BUG() or WARN()'],
  [0x900, 0x9ff, 'software KASAN'],
  [0x5500, 0x55ff, 'undefined behaviour sanitizer'],
  [0x8000, 0x83ff, 'control-flow integrity'],
];

function brkMeaning(value: bigint): string {
  const known = BRK_IMMEDIATES.find(([from, to]) => value >= from && value <= to);
  return known ? `Linux: ${known[2]}` : '';
}

const condition = (esr: bigint): readonly Field[] => [
  flagOf(esr, 'CV', 24, 'COND is not valid', 'COND is valid'),
  fieldOf(esr, 'COND', 23, 20),
];
const direction = (esr: bigint, write: string, read: string) =>
  flagOf(esr, 'Direction', 0, write, read);
const register = (value: bigint) => (value === 31n ? 'zero register' : `x${value}`);

const wfx: IssDecoder = (esr) => [
  ...condition(esr),
  fieldOf(esr, 'RN', 9, 5, register),
  flagOf(esr, 'RV', 2, 'RN is not valid', 'RN is valid'),
  fieldOf(esr, 'TI', 1, 0, (value) => ['WFI', 'WFE', 'WFIT', 'WFET'][Number(value)]),
];

const mcr: IssDecoder = (esr) => [
  ...condition(esr),
  fieldOf(esr, 'Opc2', 19, 17),
  fieldOf(esr, 'Opc1', 16, 14),
  fieldOf(esr, 'CRn', 13, 10),
  fieldOf(esr, 'Rt', 9, 5),
  fieldOf(esr, 'CRm', 4, 1),
  direction(esr, 'MCR', 'MRC or VMRS'),
];

const mcrr: IssDecoder = (esr) => [
  ...condition(esr),
  fieldOf(esr, 'Opc1', 19, 16),
  fieldOf(esr, 'Rt2', 14, 10),
  fieldOf(esr, 'Rt', 9, 5),
  fieldOf(esr, 'CRm', 4, 1),
  direction(esr, 'MCRR', 'MRRC'),
];

const ldc: IssDecoder = (esr) => [
  ...condition(esr),
  fieldOf(esr, 'imm8', 19, 12),
  fieldOf(esr, 'Rn', 9, 5),
  flagOf(esr, 'Offset', 4, 'subtracted', 'added'),
  fieldOf(esr, 'AM', 3, 1),
  direction(esr, 'STC', 'LDC'),
];

/** System register or instruction named as `S<op0>_<op1>_C<n>_C<m>_<op2>`, or by its name if it is a common one. */
const SYSTEM_NAMES: Readonly<Record<string, string>> = {
  S3_0_C1_C0_0: 'SCTLR_EL1',
  S3_0_C2_C0_0: 'TTBR0_EL1',
  S3_0_C2_C0_1: 'TTBR1_EL1',
  S3_0_C2_C0_2: 'TCR_EL1',
  S3_0_C4_C2_2: 'CurrentEL',
  S3_0_C5_C2_0: 'ESR_EL1',
  S3_0_C6_C0_0: 'FAR_EL1',
  S3_0_C7_C4_0: 'PAR_EL1',
  S3_0_C10_C2_0: 'MAIR_EL1',
  S3_3_C0_C0_1: 'CTR_EL0',
  S3_3_C0_C0_7: 'DCZID_EL0',
  S3_3_C13_C0_2: 'TPIDR_EL0',
  S3_3_C14_C0_1: 'CNTPCT_EL0',
  S3_3_C14_C0_2: 'CNTVCT_EL0',
  S1_3_C7_C4_1: 'DC ZVA',
  S1_3_C7_C5_1: 'IC IVAU',
  S1_3_C7_C10_1: 'DC CVAC',
  S1_3_C7_C11_1: 'DC CVAU',
  S1_3_C7_C12_1: 'DC CVAP',
  S1_3_C7_C14_1: 'DC CIVAC',
};

function systemName(esr: bigint): string {
  const at = (high: number, low: number) => field(esr, high, low);
  const name = `S${at(21, 20)}_${at(16, 14)}_C${at(13, 10)}_C${at(4, 1)}_${at(19, 17)}`;
  return SYSTEM_NAMES[name] ?? name;
}

const msr: IssDecoder = (esr) => [
  fieldOf(esr, 'Op0', 21, 20, systemName(esr)),
  fieldOf(esr, 'Op2', 19, 17),
  fieldOf(esr, 'Op1', 16, 14),
  fieldOf(esr, 'CRn', 13, 10),
  fieldOf(esr, 'Rt', 9, 5, register),
  fieldOf(esr, 'CRm', 4, 1),
  direction(esr, 'write or system instruction', 'read'),
];

const msrr: IssDecoder = (esr) => [
  fieldOf(esr, 'Op0', 21, 20, systemName(esr)),
  fieldOf(esr, 'Op2', 19, 17),
  fieldOf(esr, 'Op1', 16, 14),
  fieldOf(esr, 'CRn', 13, 10),
  fieldOf(esr, 'Rt', 9, 6, (value) => `x${value * 2n} and x${value * 2n + 1n}`),
  fieldOf(esr, 'CRm', 4, 1),
  direction(esr, 'MSRR or SYSP', 'MRRS'),
];

const fpAccess: IssDecoder = (esr) => condition(esr);

const ld64b: IssDecoder = (esr) => [
  fieldOf(
    esr,
    'ISS',
    24,
    0,
    (value) => ['ST64BV', 'ST64BV0', 'LD64B or ST64B'][Number(value)] ?? '',
  ),
];

const bti: IssDecoder = (esr) => [fieldOf(esr, 'BTYPE', 1, 0)];

const smc32: IssDecoder = (esr) => [
  ...condition(esr),
  flagOf(esr, 'CCKNOWNPASS', 19, 'unconditional', 'conditional, condition passed'),
];

const eret: IssDecoder = (esr) => [
  flagOf(esr, 'ERET', 1, 'ERET', 'ERETAA or ERETAB'),
  flagOf(esr, 'ERETA', 0, 'key A', 'key B'),
];

const pacFail: IssDecoder = (esr) => [
  flagOf(esr, 'PAC key', 1, 'instruction key', 'data key'),
  flagOf(esr, 'B', 0, 'key A', 'key B'),
];

const sme: IssDecoder = (esr) => [
  fieldOf(
    esr,
    'SMTC',
    2,
    0,
    (value) =>
      [
        'access to SME functionality trapped',
        'Advanced SIMD, SVE or SVE2 instruction in streaming mode',
        'SME instruction outside streaming mode',
        'SME instruction while ZA is disabled',
        'access to ZT0',
      ][Number(value)] ?? 'reserved',
  ),
];

const mops: IssDecoder = (esr) => [
  flagOf(esr, 'MemInst', 24, 'CPY*', 'SET*'),
  flagOf(esr, 'isSETG', 23, '', 'SETG*'),
  fieldOf(esr, 'options', 22, 19),
  flagOf(esr, 'FromEpilogue', 18, 'main', 'epilogue'),
  flagOf(esr, 'WrongOption', 17, '', 'PSTATE.C not as the CPU expects'),
  flagOf(esr, 'OptionA', 16, 'option B', 'option A'),
  fieldOf(esr, 'destreg', 14, 10, register),
  fieldOf(esr, 'srcreg', 9, 5, register),
  fieldOf(esr, 'sizereg', 4, 0, register),
];

const fpException: IssDecoder = (esr) => [
  flagOf(esr, 'TFV', 23, 'the other bits are not valid', 'the other bits are valid'),
  fieldOf(esr, 'VECITR', 10, 8),
  flagOf(esr, 'IDF', 7, '', 'input denormal'),
  flagOf(esr, 'IXF', 4, '', 'inexact'),
  flagOf(esr, 'UFF', 3, '', 'underflow'),
  flagOf(esr, 'OFF', 2, '', 'overflow'),
  flagOf(esr, 'DZF', 1, '', 'division by zero'),
  flagOf(esr, 'IOF', 0, '', 'invalid operation'),
];

const gcs: IssDecoder = (esr) => [
  fieldOf(
    esr,
    'ExType',
    23,
    20,
    (value) => ['data check', 'EXLOCK', 'GCSSTR or GCSSTTR trapped'][Number(value)] ?? 'reserved',
  ),
  fieldOf(esr, 'Raddr', 14, 10, register),
  fieldOf(esr, 'Rvalue or Rn', 9, 5, register),
  fieldOf(esr, 'IT', 4, 0),
];

const AET_NAMES = [
  'uncontainable',
  'unrecoverable state',
  'restartable state',
  'recoverable state',
  'reserved',
  'reserved',
  'corrected',
  'reserved',
];

function serror(esr: bigint): readonly Field[] {
  const ids = flagOf(esr, 'IDS', 24, 'architected syndrome', 'IMPLEMENTATION DEFINED syndrome');
  if (ids.value === 1n) return [ids, fieldOf(esr, 'IMPLEMENTATION DEFINED', 23, 0)];
  return [
    ids,
    flagOf(esr, 'IESB', 13, '', 'synchronised by the implicit error barrier'),
    fieldOf(esr, 'AET', 12, 10, (value) => AET_NAMES[Number(value)]),
    flagOf(esr, 'EA', 9, '', 'External abort type'),
    fieldOf(esr, 'DFSC', 5, 0, (value) =>
      value === 0x11n ? 'asynchronous SError' : value === 0n ? 'uncategorised' : 'reserved',
    ),
  ];
}

const debugStatus = (esr: bigint) =>
  fieldOf(esr, 'IFSC', 5, 0, (value) => (value === 0x22n ? 'debug exception' : 'reserved'));
const breakpoint: IssDecoder = (esr) => [debugStatus(esr)];
const softwareStep: IssDecoder = (esr) => [
  flagOf(esr, 'ISV', 24, 'EX is not valid', 'EX is valid'),
  flagOf(esr, 'EX', 6, 'not a Load-Exclusive', 'a Load-Exclusive was stepped'),
  debugStatus(esr),
];
const watchpoint: IssDecoder = (esr) => [
  fieldOf(esr, 'WPT', 23, 18),
  flagOf(esr, 'WPTV', 17, 'WPT is not valid', 'WPT is valid'),
  flagOf(esr, 'WPF', 16, '', 'may be a false positive'),
  flagOf(esr, 'FnP', 15, 'FAR is precise', 'FAR is not precise'),
  flagOf(esr, 'VNCR', 13, '', 'VNCR_EL2 register access'),
  flagOf(esr, 'FnV', 10, 'FAR is valid', 'FAR is not valid'),
  flagOf(esr, 'CM', 8, '', 'cache maintenance'),
  flagOf(esr, 'WnR', 6, 'read', 'write'),
  fieldOf(esr, 'DFSC', 5, 0, (value) => (value === 0x22n ? 'debug exception' : 'reserved')),
];

/** Name and ISS of every allocated exception class: DDI 0487, D24.2.40, table of EC values. */
const CLASSES: Readonly<Record<number, readonly [name: string, iss: IssDecoder]>> = {
  0: ['Unknown reason', none],
  1: ['Trapped WFI, WFE, WFIT or WFET', wfx],
  3: ['Trapped MCR or MRC access, coproc 0b1111', mcr],
  4: ['Trapped MCRR or MRRC access, coproc 0b1111', mcrr],
  5: ['Trapped MCR or MRC access, coproc 0b1110', mcr],
  6: ['Trapped LDC or STC access', ldc],
  7: ['Trapped SVE, SIMD or floating point access', fpAccess],
  8: ['Trapped VMRS access, from ID group trap', mcr],
  9: ['Trapped pointer authentication instruction', none],
  10: ['Trapped LD64B, ST64B, ST64BV or ST64BV0', ld64b],
  12: ['Trapped MRRC access, coproc 0b1110', mcrr],
  13: ['Branch Target exception', bti],
  14: ['Illegal Execution state', none],
  17: ['SVC, AArch32', immediate],
  18: ['HVC, AArch32', immediate],
  19: ['SMC, AArch32', smc32],
  20: ['Trapped MSRR, MRRS or SYSP', msrr],
  21: ['SVC, AArch64', immediate],
  22: ['HVC, AArch64', immediate],
  23: ['SMC, AArch64', immediate],
  24: ['Trapped MSR, MRS or System instruction', msr],
  25: ['Trapped SVE access', none],
  26: ['Trapped ERET, ERETAA or ERETAB', eret],
  27: ['Trapped TSTART access', (esr) => [fieldOf(esr, 'Rd', 9, 5, register)]],
  28: ['Pointer authentication failure', pacFail],
  29: ['Trapped SME access', sme],
  30: ['Granule Protection Check exception', none],
  31: ['IMPLEMENTATION DEFINED exception to EL3', none],
  32: ['Instruction Abort from a lower EL', none],
  33: ['Instruction Abort from the current EL', none],
  34: ['PC alignment fault', none],
  36: ['Data Abort from a lower EL', none],
  37: ['Data Abort from the current EL', none],
  38: ['SP alignment fault', none],
  39: ['Memory Operation exception', mops],
  40: ['Trapped floating-point exception, AArch32', fpException],
  44: ['Trapped floating-point exception, AArch64', fpException],
  45: ['Guarded Control Stack exception', gcs],
  47: ['SError interrupt', serror],
  48: ['Breakpoint from a lower EL', breakpoint],
  49: ['Breakpoint from the current EL', breakpoint],
  50: ['Software Step from a lower EL', softwareStep],
  51: ['Software Step from the current EL', softwareStep],
  52: ['Watchpoint from a lower EL', watchpoint],
  53: ['Watchpoint from the current EL', watchpoint],
  56: ['BKPT, AArch32', comment],
  58: ['Vector Catch, AArch32', breakpoint],
  60: ['BRK, AArch64', comment],
  61: ['Profiling exception', none],
};

/** Name of an exception class. @param ec 0 to 0x3f */
export const exceptionClass = (ec: number): string => CLASSES[ec]?.[0] ?? 'reserved';

/** Fields of the ISS of a class that is not an abort. */
export const decodeIss = (esr: bigint, ec: number): readonly Field[] =>
  (CLASSES[ec]?.[1] ?? none)(esr);
