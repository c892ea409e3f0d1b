// The code that makes a golden case's accesses on a vCPU, and where it is mapped: slot 511 of every root, which
// FORMAT.md keeps free of cases, in a page for each privilege level. Accessed flags are set, so that nothing here changes.
import type { Ram } from '../../emulator/ram.ts';
import type { X86Case } from './golden-case.ts';
import { CR4_LA57 } from './paging.ts';

/** Tables and code, outside what cases use. */
const PML4 = 0x2000_0000;
const PDPT = PML4 + 0x1000;
const PD = PDPT + 0x1000;
const PT = PD + 0x1000;
const KERNEL_PAGE = PT + 0x1000;
const USER_PAGE = KERNEL_PAGE + 0x1000;
/** Slots 511 of two levels, then 0: the same address with four and five levels. */
const VA = 0xffff_ff80_0000_0000n;
const USER_VA = VA + 0x1000n;
const SLOT = 511 * 8;

// P, RW, US and A; P, US and A; P and A.
const TABLE = 0x27n;
const USER_CODE = 0x25n;
const KERNEL_CODE = 0x21n;

/** Bytes of code for each purpose. */
const STRIDE = 32;

/** Instructions with the address in RDI, or in RBP where they go through SS; data in RAX. */
const CODE = {
  'read 1': [0x8a, 0x07],
  'read 2': [0x66, 0x8b, 0x07],
  'read 4': [0x8b, 0x07],
  'read 8': [0x48, 0x8b, 0x07],
  'read 1 ss': [0x8a, 0x45, 0x00],
  'read 2 ss': [0x66, 0x8b, 0x45, 0x00],
  'read 4 ss': [0x8b, 0x45, 0x00],
  'read 8 ss': [0x48, 0x8b, 0x45, 0x00],
  'write 1': [0x88, 0x07],
  'write 2': [0x66, 0x89, 0x07],
  'write 4': [0x89, 0x07],
  'write 8': [0x48, 0x89, 0x07],
  'write 1 ss': [0x88, 0x45, 0x00],
  'write 2 ss': [0x66, 0x89, 0x45, 0x00],
  'write 4 ss': [0x89, 0x45, 0x00],
  // push rax, with RSP 8 above the address.
  'write 8 ss': [0x50],
  // lock add [rdi], 0
  'rmw 1': [0xf0, 0x80, 0x07, 0x00],
  'rmw 2': [0xf0, 0x66, 0x83, 0x07, 0x00],
  'rmw 4': [0xf0, 0x83, 0x07, 0x00],
  'rmw 8': [0xf0, 0x48, 0x83, 0x07, 0x00],
  'rmw 1 ss': [0xf0, 0x80, 0x45, 0x00, 0x00],
  'rmw 2 ss': [0xf0, 0x66, 0x83, 0x45, 0x00, 0x00],
  'rmw 4 ss': [0xf0, 0x83, 0x45, 0x00, 0x00],
  'rmw 8 ss': [0xf0, 0x48, 0x83, 0x45, 0x00, 0x00],
  // jmp rdi
  'fetch 2': [0xff, 0xe7],
  invlpg: [0x0f, 0x01, 0x3f],
  mov_cr3: [0x0f, 0x22, 0xd8],
  mov_cr4: [0x0f, 0x22, 0xe0],
  wrpkru: [0x0f, 0x01, 0xef],
} as const;

export type Purpose = keyof typeof CODE;

export const isPurpose = (name: string): name is Purpose => Object.hasOwn(CODE, name);

const PURPOSES = Object.keys(CODE) as Purpose[];

/** Address of the code for a purpose at CPL 0 or 3. */
export const codeAt = (purpose: Purpose, cpl: number): bigint =>
  (cpl === 3 ? USER_VA : VA) + BigInt(PURPOSES.indexOf(purpose) * STRIDE);

/** Address behind the instruction of a purpose. */
export const codeEnd = (purpose: Purpose, cpl: number): bigint =>
  codeAt(purpose, cpl) + BigInt(CODE[purpose].length);

/** Lays code and tables down, the slots of the roots aside. */
export function layHarness(ram: Ram): void {
  for (const page of [KERNEL_PAGE, USER_PAGE]) {
    for (const [at, purpose] of PURPOSES.entries()) {
      ram.write(page + at * STRIDE, Uint8Array.from(CODE[purpose]));
    }
  }
  ram.write64(PML4 + SLOT, BigInt(PDPT) | TABLE);
  ram.write64(PDPT, BigInt(PD) | TABLE);
  ram.write64(PD, BigInt(PT) | TABLE);
  ram.write64(PT, BigInt(KERNEL_PAGE) | KERNEL_CODE);
  ram.write64(PT + 8, BigInt(USER_PAGE) | USER_CODE);
}

/** Fills slot 511 of every root that a case loads into CR3. @returns the addresses of these entries */
export function mapHarness(ram: Ram, golden: X86Case): Set<number> {
  const top = BigInt(golden.cr4) & CR4_LA57 ? PML4 : PDPT;
  const loaded = (golden.steps_before ?? []).flatMap((step) =>
    step.op === 'mov_cr3' ? [step.value] : [],
  );
  const slots = new Set<number>();
  for (const value of [golden.cr3, ...loaded]) {
    const slot = Number(BigInt(value) & 0xf_ffff_ffff_f000n) + SLOT;
    if (!ram.contains(slot, 8)) continue;
    ram.write64(slot, BigInt(top) | TABLE);
    slots.add(slot);
  }
  return slots;
}
