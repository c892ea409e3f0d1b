// A vCPU as its architecture completes it: the core that executes, the MMU that translates for it, and between them what
// the core leaves out or must not do alone. Control registers and TLB instructions of the running program reach paging
// unit and TLB here, and what stopped the core is told as the fault that hardware would deliver.
// `arch/x86/processor.ts` and `arch/arm64/processor.ts` fulfil it.
import type { VirtAddr } from '../emulator/address.ts';
import type { AccessKind, Cpu, Stop, Translator } from '../emulator/engine.ts';
import type { Ram } from '../emulator/ram.ts';
import type { Mmu } from '../mm/mmu.ts';

/** A fault as the CPU took it, before the kernel has seen it. */
export interface TakenFault {
  readonly ip: VirtAddr;
  /** CR2 or FAR_EL1; of an x86 exception that leaves CR2 alone, where the access was to go. */
  readonly va: VirtAddr;
  readonly kind: AccessKind;
  /** x86 vector, or arm64 exception class. */
  readonly vector: number;
  /** x86 error code, or ESR_EL1. */
  readonly code: bigint;
}

export interface ProcessorParts {
  readonly ram: Ram;
  /** Its paging unit must be of this architecture. */
  readonly mmu: Mmu;
  /** The MMUs of all CPUs, for TLB instructions that are broadcast. */
  readonly all: () => Iterable<Mmu>;
}

export interface Processor {
  readonly mmu: Mmu;
  /** What the core has to ask about addresses. */
  readonly translator: Translator;
  /** Takes charge of a core, which must have been given {@link translator}. Its control registers become the paging unit's. */
  attach(cpu: Cpu): void;
  /** Tells the core what was changed in the paging unit's state behind its back. */
  refresh(): void;
  /** The fault that the engine's `fault` stands for, in a stop or in its question during a run. */
  taken(va: VirtAddr, kind: AccessKind, ip: VirtAddr): TakenFault;
  /** The fault that an exception of the core stands for; null if it is what it says. */
  takenException(stop: Extract<Stop, { reason: 'exception' }>): TakenFault | null;
}
