// What is known of a fault while its run goes on, before it is written down.
import type { VirtAddr } from '../../emulator/address.ts';
import type { AccessName, Resolution } from '../../emulator/events.ts';
import type { FaultDetail } from './model.ts';

/** An instruction that faulted, named while its symbols are there. */
export interface FaultSite {
  readonly ip: string;
  readonly symbol: string;
  readonly instruction: string;
}

/** How far its call had come when a fault was delivered. */
export interface Moment {
  readonly instructions: number;
  /** Cycles of events. */
  readonly events: number;
}

/** A fault that has come to its end. */
export interface RecordedFault extends Moment {
  readonly cpu: number;
  readonly site: FaultSite;
  readonly va: VirtAddr;
  readonly access: AccessName;
  readonly code: bigint;
  readonly resolution: Resolution;
  /** Order in which faults were delivered. */
  readonly order: number;
  /** Moves of the schedule so far, of several CPUs. */
  readonly move: number;
  readonly endMove: number;
  /** With the walk; null: not counted. */
  readonly cycles: number | null;
  readonly detail: FaultDetail | null;
  /** Set when its call has ended: the place in the unit of the run's time. */
  start: number;
  end: number;
}

/** A step of a run whose steps follow each other, and where it begins. */
export interface RecordedStep {
  readonly label: string;
  readonly start: number;
}
