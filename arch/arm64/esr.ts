// What the kernel's fault path asks of ESR_EL1: asm/esr.h and the predicates at the head of arch/arm64/mm/fault.c. A
// syndrome is decoded whole, as fields with their meaning, in arch/arm64/fault-code.ts.
import {
  EC_DABT_CUR,
  EC_DABT_LOW,
  EC_IABT_CUR,
  FSC_PERMISSION,
  FSC_TRANSLATION,
} from './fault-code.ts';

// Everything here takes ESR_EL1[31:0] as an unsigned number: ISS2 plays no part in the decisions.

const WNR = 1 << 6;

/** DFSC of a synchronous tag check fault. */
const FSC_MTE = 0x11;

export const esrEc = (esr: number): number => esr >>> 26;
export const esrFsc = (esr: number): number => esr & 0x3f;
/** WnR as it stands: cache maintenance (CM) sets it too. */
export const esrWnr = (esr: number): boolean => (esr & WNR) !== 0;

/**
 * esr_fsc_is_translation_fault(), of levels -1 to 3
 * @kernel esr_fsc_is_translation_fault arch/arm64/include/asm/esr.h read
 */
export const isTranslationFault = (fsc: number): boolean =>
  fsc === 0x2b || (fsc & ~3) === FSC_TRANSLATION;

/**
 * esr_fsc_is_permission_fault(), of levels 0 to 3
 * @kernel esr_fsc_is_permission_fault arch/arm64/include/asm/esr.h read
 */
const isPermissionFault = (fsc: number): boolean => (fsc & ~3) === FSC_PERMISSION;

/** @kernel esr_is_data_abort arch/arm64/include/asm/esr.h read */
export const isDataAbort = (esr: number): boolean =>
  esrEc(esr) === EC_DABT_CUR || esrEc(esr) === EC_DABT_LOW;

export const isEl1DataAbort = (esr: number): boolean => esrEc(esr) === EC_DABT_CUR;
export const isEl1InstructionAbort = (esr: number): boolean => esrEc(esr) === EC_IABT_CUR;

/**
 * is_el1_permission_fault(), with the CPU's own PAN
 * @kernel is_el1_permission_fault arch/arm64/mm/fault.c read
 */
export const isEl1PermissionFault = (esr: number): boolean =>
  (isEl1DataAbort(esr) || isEl1InstructionAbort(esr)) && isPermissionFault(esrFsc(esr));

/** @kernel is_el1_mte_sync_tag_check_fault arch/arm64/mm/fault.c read */
export const isEl1TagCheckFault = (esr: number): boolean =>
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

/**
 * esr_get_class_string(), of the classes that this model raises
 * @kernel esr_get_class_string arch/arm64/kernel/traps.c read
 */
export const esrGetClassString = (esr: number): string =>
  CLASS_NAMES[esrEc(esr)] ?? 'UNRECOGNIZED EC';
