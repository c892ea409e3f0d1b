// What a guard and its worker say to each other, and the note that outlives the worker.
import { virtAddr } from '../emulator/address.ts';
import type { Condemned } from '../emulator/condemn.ts';
import type { Place } from '../testbed/careful.ts';
import type { RunDocument } from '../testbed/document.ts';
import type { Failure } from '../testbed/expect.ts';
import type { ArchName } from '../testbed/scenario.ts';
import type { CostOptions } from './cost.ts';
import type { ProgramOptions } from './program.ts';
import type { RaceOptions } from './run-race.ts';

/** A file as a command line names it: a scenario, assembly or an object. */
export interface Job {
  readonly file: string;
  readonly options: ProgramOptions & CostOptions & RaceOptions;
}

export interface Task extends Job {
  /** World to run; null: say which there are. */
  readonly arch: ArchName | null;
  readonly condemned: readonly Condemned[];
  /** As {@link driveCarefully} has it; null: no notes are taken. */
  readonly notesFrom: number | null;
  readonly notesFd: number;
}

/** A world that ran to its end. */
export interface Ran {
  readonly document: RunDocument;
  readonly failures: readonly (Failure & { readonly line: number })[];
  readonly pass: boolean;
}

export type Answer =
  | { readonly kind: 'ready' }
  /** No engine is to be had. */
  | { readonly kind: 'unusable'; readonly message: string; readonly remedy: string }
  | { readonly kind: 'read'; readonly name: string; readonly archs: readonly ArchName[] }
  | { readonly kind: 'ran'; readonly ran: Ran }
  /** The user's error. */
  | { readonly kind: 'refused'; readonly message: string; readonly remedy: string }
  /** Ours. */
  | { readonly kind: 'fault'; readonly stack: string };

export const NOTE_SIZE = 40;
const CODE = 24;

/** The note as bytes: whether the core runs, length of the code, retired, ip, code. */
export function writePlace({ inCore, retired, ip, code }: Place): Uint8Array {
  const note = Buffer.alloc(NOTE_SIZE);
  note[0] = inCore ? 1 : 0;
  note[1] = code.length;
  note.writeDoubleLE(retired, 8);
  note.writeBigUInt64LE(BigInt.asUintN(64, ip), 16);
  note.set(code, CODE);
  return note;
}

/** @returns null for a note that was never written */
export function readPlace(note: Buffer): Place | null {
  if (note.every((byte) => byte === 0)) return null;
  return {
    inCore: note[0] === 1,
    retired: note.readDoubleLE(8),
    ip: virtAddr(note.readBigUInt64LE(16)),
    code: Uint8Array.from(note.subarray(CODE, CODE + note[1])),
  };
}
