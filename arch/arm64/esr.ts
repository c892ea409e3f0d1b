// What the kernel's fault path asks of ESR_EL1: asm/esr.h and the predicates at the head of arch/arm64/mm/fault.c. A
// syndrome is decoded whole, as fields with their meaning, in arch/arm64/fault-code.ts.
import { lo32 } from '../../emulator/bits.ts';

// Exception classes, ESR_EL1[31:26]. DDI 0487, D24.2.40.
export const EC_IABT_LOW = 0x20;
export const EC_IABT_CUR = 0x21;
export const EC_DABT_LOW = 0x24;
export const EC_DABT_CUR = 0x25;

/** ISS bits of an abort. DDI 0487, D24.2.40, ISS encoding for an exception from a Data Abort. */
export const ESR_WNR = 1 << 6;
export const ESR_CM = 1 << 8;

/** DFSC of a synchronous tag check fault. */
const FSC_MTE = 0x11;

export const esrEc = (esr: bigint): number => lo32(esr) >>> 26;
export const esrFsc = (esr: bigint): number => lo32(esr) & 0x3f;
/** WnR as it stands: cache maintenance (CM) sets it too. */
export const esrWnr = (esr: bigint): boolean => (lo32(esr) & ESR_WNR) !== 0;

/** esr_fsc_is_translation_fault(), of levels -1 to 3 */
export const isTranslationFault = (fsc: number): boolean =>
  fsc === 0x2b || (fsc >= 0x04 && fsc <= 0x07);

/** esr_fsc_is_permission_fault(), of levels 0 to 3 */
export const isPermissionFault = (fsc: number): boolean => fsc >= 0x0c && fsc <= 0x0f;

/** esr_is_data_abort() */
export const isDataAbort = (esr: bigint): boolean =>
  esrEc(esr) === EC_DABT_CUR || esrEc(esr) === EC_DABT_LOW;

export const isEl1DataAbort = (esr: bigint): boolean => esrEc(esr) === EC_DABT_CUR;
export const isEl1InstructionAbort = (esr: bigint): boolean => esrEc(esr) === EC_IABT_CUR;

/** is_el1_mte_sync_tag_check_fault() */
export const isEl1TagCheckFault = (esr: bigint): boolean =>
  isEl1DataAbort(esr) && esrFsc(esr) === FSC_MTE;

const CLASS_NAMES: Readonly<Record<number, string>> = {
  0: 'Unknown/Uncategorized',
  14: 'PSTATE.IL',
  32: 'IABT (lower EL)',
  33: 'IABT (current EL)',
  34: 'PC Alignment',
  36: 'DABT (lower EL)',
  37: 'DABT (current EL)',
  38: 'SP Alignment',
  60: 'BRK (AArch64)',
};

/** esr_get_class_string(), of the classes that this model raises */
export const esrGetClassString = (esr: bigint): string =>
  CLASS_NAMES[esrEc(esr)] ?? 'UNRECOGNIZED EC';
