// fault_info[]: what the kernel does with each of the 64 fault status codes (arch/arm64/mm/fault.c). Signals are what a
// user process would get; kernel faults use the handler and the text.

/** Handler of a fault status code, by the kernel's name. */
export type FaultHandlerName =
  | 'do_bad'
  | 'do_translation_fault'
  | 'do_page_fault'
  | 'do_sea'
  | 'do_tag_check_fault'
  | 'do_alignment_fault';

export interface FaultInfo {
  readonly fn: FaultHandlerName;
  readonly signal: 'SIGKILL' | 'SIGSEGV' | 'SIGBUS';
  readonly code: string;
  /** The kernel's text for the code, which do_bad faults also die with. */
  readonly name: string;
}

const bad = (name: string): FaultInfo => ({
  fn: 'do_bad',
  signal: 'SIGKILL',
  code: 'SI_KERNEL',
  name,
});
const mapError = (name: string): FaultInfo => ({
  fn: 'do_translation_fault',
  signal: 'SIGSEGV',
  code: 'SEGV_MAPERR',
  name,
});
const accessError = (name: string): FaultInfo => ({
  fn: 'do_page_fault',
  signal: 'SIGSEGV',
  code: 'SEGV_ACCERR',
  name,
});
const sea = (name: string): FaultInfo => ({
  fn: 'do_sea',
  signal: 'SIGKILL',
  code: 'SI_KERNEL',
  name,
});

const bus = (fn: FaultHandlerName, code: string, name: string): FaultInfo => ({
  fn,
  signal: 'SIGBUS',
  code,
  name,
});

/** `make` for levels 0 to 3. */
const levels = (make: (name: string) => FaultInfo, text: (level: number) => string): FaultInfo[] =>
  [0, 1, 2, 3].map((level) => make(text(level)));

/** Codes `from` to `to` that the architecture leaves undefined. */
const unknown = (from: number, to: number): FaultInfo[] =>
  Array.from({ length: to - from + 1 }, (_, i) => bad(`unknown ${from + i}`));

/**
 * fault_info[], by ESR_EL1.{DFSC,IFSC}.
 * @kernel fault_info arch/arm64/mm/fault.c read
 */
export const FAULT_INFO: readonly FaultInfo[] = [
  bad('ttbr address size fault'),
  bad('level 1 address size fault'),
  bad('level 2 address size fault'),
  bad('level 3 address size fault'),
  ...levels(mapError, (level) => `level ${level} translation fault`),
  ...levels(accessError, (level) => `level ${level} access flag fault`),
  ...levels(accessError, (level) => `level ${level} permission fault`),
  bus('do_sea', 'BUS_OBJERR', 'synchronous external abort'),
  {
    fn: 'do_tag_check_fault',
    signal: 'SIGSEGV',
    code: 'SEGV_MTESERR',
    name: 'synchronous tag check fault',
  },
  ...unknown(18, 18),
  sea('level -1 (translation table walk)'),
  ...levels(sea, (level) => `level ${level} (translation table walk)`),
  bus('do_sea', 'BUS_OBJERR', 'synchronous parity or ECC error'),
  ...unknown(25, 26),
  sea('level -1 synchronous parity error (translation table walk)'),
  ...levels(sea, (level) => `level ${level} synchronous parity error (translation table walk)`),
  ...unknown(32, 32),
  bus('do_alignment_fault', 'BUS_ADRALN', 'alignment fault'),
  ...unknown(34, 40),
  bad('level -1 address size fault'),
  ...unknown(42, 42),
  mapError('level -1 translation fault'),
  ...unknown(44, 47),
  bad('TLB conflict abort'),
  bad('Unsupported atomic hardware update fault'),
  ...unknown(50, 51),
  bad('implementation fault (lockdown abort)'),
  bus('do_bad', 'BUS_OBJERR', 'implementation fault (unsupported exclusive)'),
  ...unknown(54, 60),
  bad('section domain fault'),
  bad('page domain fault'),
  ...unknown(63, 63),
];

/**
 * esr_to_fault_info(). @param fsc 0 to 63
 * @kernel esr_to_fault_info arch/arm64/mm/fault.c read
 */
export const faultInfo = (fsc: number): FaultInfo => FAULT_INFO[fsc];
