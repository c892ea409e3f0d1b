// What must come of the steps of a loaded scenario. A field that is undefined was left out of the file and is not
// compared.
import type { AccessName, Resolution } from '../emulator/events.ts';
import type { TextPattern } from './match.ts';
import type { ArenaOffset, Contents, KernelPage, UserPage, Value } from './scenario-model.ts';

/** What every step may expect of the innermost program's stderr: of what the step itself added. */
export interface Expect {
  readonly stderr?: TextPattern;
  readonly stderrBytes?: NumberRange;
}

/** What a step other than a call may expect. */
export interface PlainExpect extends Expect {
  /** Filled in. `budget`: the kernel never comes out of the step. */
  readonly outcome: 'returned' | 'budget';
}

export type Outcome = 'returned' | 'oops' | 'budget' | 'halted' | 'engine';

export interface CallExpect extends Expect {
  /** Filled in: `oops` where report lines are expected and nothing else is said, otherwise `returned`. */
  readonly outcome: Outcome;
  readonly ret?: Value;
  readonly faults?: readonly FaultExpectation[];
  readonly memory: readonly MemoryExpectation[];
  readonly buffers: readonly BufferExpectation[];
  readonly registers: ReadonlyMap<string, Value>;
  /** null: there must be no report. */
  readonly oops?: readonly TextPattern[] | null;
  readonly instructions?: NumberRange;
  readonly cycles?: NumberRange;
}

/** Inclusive. */
export interface NumberRange {
  readonly min: number;
  readonly max: number;
}

export interface FaultExpectation {
  /** null: outside every arena. */
  readonly page?: KernelPage | null;
  readonly access?: AccessName;
  readonly resolution?: Resolution;
  readonly addr?: Value;
  readonly ip?: Value;
  readonly code?: bigint;
  /** So many faults in a row, */
  readonly count: number;
  /** each this many pages beyond the one before. */
  readonly step: number;
}

/** What a stretch of memory must hold. */
export type Wanted = Contents | { readonly kind: 'sha256'; readonly sha256: string };

export interface MemoryExpectation {
  readonly arena: string;
  readonly offset: ArenaOffset;
  /** Bytes. */
  readonly length: number;
  readonly wanted: Wanted;
}

export interface BufferExpectation {
  /** Index into the call's arguments, from 0. */
  readonly arg: number;
  readonly length: number;
  readonly wanted: Exclude<Wanted, { kind: 'pointer' }>;
}

export interface AllocExpect extends PlainExpect {
  /** null: NULL is returned. */
  readonly result?: { readonly page: UserPage } | null;
}

export interface ResultExpect extends PlainExpect {
  /** 0, or a negative errno. */
  readonly result?: number;
}

export interface FreedExpect extends PlainExpect {
  /** Data pages given back. */
  readonly freed?: number;
}

export interface DestroyExpect extends FreedExpect {
  readonly leaked?: number;
}

export type UserResult = 'ok' | 'SIGSEGV' | 'SIGBUS' | 'RETRY';

export interface UserExpect extends PlainExpect {
  readonly result?: UserResult;
  readonly value?: bigint;
}

export type PteKind = 'none' | 'scratch' | 'page' | 'other';

export interface PteExpect extends PlainExpect {
  readonly value?: bigint;
  readonly kind?: PteKind;
}

export interface StreamExpect extends ResultExpect {
  readonly bytes?: number;
}
