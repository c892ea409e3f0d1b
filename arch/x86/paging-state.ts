// The registers and features that x86-64 paging depends on: control-register bits by the manual's names, and the state
// of a paging unit. What they do is in arch/x86/paging.ts.

/** Control-register bits that paging reads. SDM Vol. 3A, 2.5 and 4.1.3; EFER: 2.2.1. */
export const CR0_WP = 1n << 16n;
export const CR0_PG = 1n << 31n;
export const CR4_PAE = 1n << 5n;
export const CR4_PGE = 1n << 7n;
export const CR4_LA57 = 1n << 12n;
export const CR4_PCIDE = 1n << 17n;
export const CR4_SMEP = 1n << 20n;
export const CR4_SMAP = 1n << 21n;
export const CR4_PKE = 1n << 22n;
export const CR4_PKS = 1n << 24n;
export const EFER_LMA = 1n << 10n;
export const EFER_NXE = 1n << 11n;

/** Everything the unit reads. Change what you like, then call {@link X86Paging.configure}. */
export interface X86PagingState {
  cr0: bigint;
  cr3: bigint;
  cr4: bigint;
  efer: bigint;
  /** PKRU, keys of user-mode addresses; 32 bits. */
  pkru: bigint;
  /** IA32_PKRS, keys of supervisor-mode addresses; 32 bits. */
  pkrs: bigint;
  /** Current privilege level, 0 to 3. */
  cpl: number;
  /** EFLAGS.AC. */
  ac: boolean;
  /** The access is an implicit supervisor access: to a descriptor table, the TSS or a stack during delivery. */
  implicit: boolean;
  /** CPUID.80000008H:EAX[7:0], 32 to 52. */
  maxPhysAddr: number;
  /** CPUID.80000001H:EDX.Page1GB. */
  page1g: boolean;
}

/** The state in which Linux runs kernel code, with the tables at `cr3`; PCID and the key registers are off. */
export function linuxPagingState(cr3: bigint, la57 = false): X86PagingState {
  return {
    cr0: 0x8005_0033n,
    cr3,
    cr4: CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | (la57 ? CR4_LA57 : 0n),
    efer: 0xd01n,
    pkru: 0n,
    pkrs: 0n,
    cpl: 0,
    ac: false,
    implicit: false,
    maxPhysAddr: 48,
    page1g: true,
  };
}
