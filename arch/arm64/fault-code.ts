// ESR_EL1: the syndrome of an abort built from what translation found, and any syndrome told as a tree of fields
// (DDI 0487, D24.2.40). The classes other than aborts are decoded in syndrome.ts. Left out when building: ISV and the
// fields it makes valid, which only stage 2 aborts have; SET, VNCR and ISS2, which only features beyond this model set.
import { field } from '../../emulator/bits.ts';
import { type Field, fieldOf, flagOf } from '../fields.ts';
import { decodeIss, exceptionClass } from './syndrome.ts';

/** ESR_EL1.EC of the exceptions that an access raises: from a lower exception level, or from the current one. */
export const EC_IABT_LOW = 0x20;
export const EC_IABT_CUR = 0x21;
export const EC_PC_ALIGN = 0x22;
export const EC_DABT_LOW = 0x24;
export const EC_DABT_CUR = 0x25;

/** DFSC and IFSC of level 0; the level is added. {@link faultStatus} knows level -1. */
export const FSC_ADDRESS_SIZE = 0x00;
export const FSC_TRANSLATION = 0x04;
export const FSC_ACCESS_FLAG = 0x08;
export const FSC_PERMISSION = 0x0c;
/** Synchronous External abort on the walk itself. */
export const FSC_WALK_ABORT = 0x14;
export const FSC_ALIGNMENT = 0x21;
export const FSC_TLB_CONFLICT = 0x30;

const IL = 1 << 25;
const CM = 1 << 8;
const WnR = 1 << 6;

/**
 * DFSC or IFSC of a fault at a level of the walk (EncodeLDFSC()). Level -1 has codes of its own.
 * @param kind one of the FSC_ values that take a level
 * @param level -1 to 3
 */
export function faultStatus(kind: number, level: number): number {
  if (level >= 0) return kind + level;
  if (kind === FSC_ADDRESS_SIZE) return 0x29;
  return kind === FSC_TRANSLATION ? 0x2b : 0x13;
}

/** ESR_EL1 of an Instruction Abort, 32 bits unsigned. @param lower taken from EL0 */
export const instructionAbort = (lower: boolean, ifsc: number): number =>
  (((lower ? EC_IABT_LOW : EC_IABT_CUR) << 26) | IL | ifsc) >>> 0;

/** ESR_EL1 of a Data Abort, 32 bits unsigned. @param lower taken from EL0 @param cm the access was maintenance */
export const dataAbort = (lower: boolean, dfsc: number, wnr: boolean, cm: boolean): number =>
  (((lower ? EC_DABT_LOW : EC_DABT_CUR) << 26) | IL | (cm ? CM : 0) | (wnr ? WnR : 0) | dfsc) >>> 0;

/** ESR_EL1 of a PC alignment fault. */
export const pcAlignmentFault = (): number => ((EC_PC_ALIGN << 26) | IL) >>> 0;

const SINGLE_STATUS: Readonly<Record<number, string>> = {
  16: 'synchronous External abort, not on a table walk',
  17: 'synchronous Tag Check fault',
  24: 'synchronous parity or ECC error, not on a table walk',
  33: 'alignment fault',
  40: 'granule protection fault, not on a table walk',
  48: 'TLB conflict abort',
  49: 'unsupported atomic hardware update fault',
  52: 'IMPLEMENTATION DEFINED fault (lockdown)',
  53: 'IMPLEMENTATION DEFINED fault (unsupported Exclusive or Atomic)',
  61: 'section domain fault',
  62: 'page domain fault',
};

// Codes that come in levels: the code of level 0 and, where it has them, of levels -1 and -2.
const LEVELLED: readonly [name: string, level0: number, ...below: number[]][] = [
  ['address size fault', 0x00, 0x29, 0x2c],
  ['translation fault', 0x04, 0x2b, 0x2a],
  ['access flag fault', 0x08],
  ['permission fault', 0x0c],
  ['synchronous External abort on a table walk', 0x14, 0x13, 0x12],
  ['synchronous parity or ECC error on a table walk', 0x1c, 0x1b, 0x1a],
  ['granule protection fault on a table walk', 0x24, 0x23, 0x22],
];

const STATUS_NAMES: readonly (string | undefined)[] = (() => {
  const names: string[] = [];
  for (const [code, name] of Object.entries(SINGLE_STATUS)) names[Number(code)] = name;
  for (const [name, level0, ...below] of LEVELLED) {
    for (let level = 0; level <= 3; level++) names[level0 + level] = `level ${level} ${name}`;
    below.forEach((code, index) => {
      names[code] = `level ${-1 - index} ${name}`;
    });
  }
  return names;
})();

/** DFSC or IFSC in words: "level 3 translation fault". @param fsc 0 to 0x3f */
export const faultStatusName = (fsc: number): string => STATUS_NAMES[fsc] ?? 'reserved';

/**
 * A whole ESR_ELx as fields: EC, IL, ISS with the fields of its class, ISS2.
 * @param esr 64 bits
 */
export function decodeEsr(esr: bigint): readonly Field[] {
  const ec = Number(field(esr, 31, 26));
  const fields = [
    fieldOf(esr, 'ISS2', 55, 32, '', isDataAbort(ec) ? dataAbortIss2(esr) : []),
    fieldOf(esr, 'EC', 31, 26, exceptionClass(ec)),
    flagOf(esr, 'IL', 25, '16-bit instruction trapped', '32-bit instruction, or no instruction'),
    fieldOf(esr, 'ISS', 24, 0, '', issFields(esr, ec)),
  ];
  return field(esr, 63, 56) === 0n ? fields : [fieldOf(esr, 'RES0', 63, 56), ...fields];
}

/** An ESR_EL1 in one phrase: "Data Abort from the current EL, write, level 3 translation fault". */
export function describeEsr(esr: bigint): string {
  const ec = Number(field(esr, 31, 26));
  const name = exceptionClass(ec);
  if (!isDataAbort(ec) && !isInstructionAbort(ec)) return name;
  const status = faultStatusName(Number(field(esr, 5, 0)));
  if (isInstructionAbort(ec)) return `${name}, ${status}`;
  const what = field(esr, 8, 8) ? 'cache maintenance' : field(esr, 6, 6) ? 'write' : 'read';
  return `${name}, ${what}, ${status}`;
}

const isInstructionAbort = (ec: number) => ec === EC_IABT_LOW || ec === EC_IABT_CUR;
const isDataAbort = (ec: number) => ec === EC_DABT_LOW || ec === EC_DABT_CUR;

function issFields(esr: bigint, ec: number): readonly Field[] {
  if (isInstructionAbort(ec)) return instructionAbortIss(esr);
  return isDataAbort(ec) ? dataAbortIss(esr) : decodeIss(esr, ec);
}

const setMeaning = (value: bigint) =>
  ['recoverable state', 'reserved', 'uncontainable', 'restartable state'][Number(value)];

/** SET means something for synchronous External aborts only. */
const setField = (esr: bigint) =>
  fieldOf(esr, 'SET', 12, 11, field(esr, 5, 0) === 0x10n ? setMeaning : '');

const fnv = (esr: bigint) => flagOf(esr, 'FnV', 10, 'FAR is valid', 'FAR is not valid');
const ea = (esr: bigint) => flagOf(esr, 'EA', 9, '', 'External abort type');
const s1ptw = (esr: bigint) =>
  flagOf(
    esr,
    'S1PTW',
    7,
    'not a stage 2 fault on a stage 1 walk',
    'stage 2 fault on a stage 1 walk',
  );
const status = (esr: bigint, name: string) =>
  fieldOf(esr, name, 5, 0, (value) => faultStatusName(Number(value)));

/** DDI 0487, D24.2.40, ISS encoding for an exception from an Instruction Abort. */
const instructionAbortIss = (esr: bigint): readonly Field[] => [
  setField(esr),
  fnv(esr),
  ea(esr),
  s1ptw(esr),
  status(esr, 'IFSC'),
];

/** The same for a Data Abort. Bits 23:14 describe the instruction only while ISV is set. */
function dataAbortIss(esr: bigint): readonly Field[] {
  const isv = flagOf(esr, 'ISV', 24, 'bits 23:14 not valid', 'bits 23:14 describe the instruction');
  return [
    isv,
    ...(isv.value === 1n ? instructionOfDataAbort(esr) : []),
    flagOf(esr, 'VNCR', 13, '', 'VNCR_EL2 register access'),
    setField(esr),
    fnv(esr),
    ea(esr),
    flagOf(esr, 'CM', 8, 'not cache maintenance', 'cache maintenance or address translation'),
    s1ptw(esr),
    flagOf(esr, 'WnR', 6, 'read', 'write'),
    status(esr, 'DFSC'),
  ];
}

const instructionOfDataAbort = (esr: bigint): readonly Field[] => [
  fieldOf(esr, 'SAS', 23, 22, (value) => `${1 << Number(value)}-byte access`),
  flagOf(esr, 'SSE', 21, 'zero-extended', 'sign-extended'),
  fieldOf(esr, 'SRT', 20, 16, (value) => (value === 31n ? 'zero register' : `x${value}`)),
  flagOf(esr, 'SF', 15, '32-bit register', '64-bit register'),
  flagOf(esr, 'AR', 14, '', 'acquire or release'),
];

/** DDI 0487, D24.2.40, ISS2 encoding for an exception from a Data Abort. */
const dataAbortIss2 = (esr: bigint): readonly Field[] => [
  flagOf(esr, 'HDBSSF', 43, '', 'dirty state tracking structure'),
  flagOf(esr, 'TnD', 42, '', 'allocation tag access of a tagged page'),
  flagOf(esr, 'TagAccess', 41, '', 'access to allocation tags'),
  flagOf(esr, 'GCS', 40, '', 'guarded control stack access'),
  flagOf(esr, 'AssuredOnly', 39, '', 'AssuredOnly'),
  flagOf(esr, 'Overlay', 38, '', 'overlay permissions'),
  flagOf(esr, 'DirtyBit', 37, '', 'dirty state'),
  fieldOf(esr, 'Xs', 36, 32),
];
