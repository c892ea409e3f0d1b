// What the steps of a run did, as far as a scenario can expect anything of it. `run.ts` fills it in, `expect.ts` compares.
import type { Outcome, PteKind, UserResult } from './expect-model.ts';
import type { FaultRecord } from './fault-log.ts';

/** Faults of one call; a run may take a million. */
export interface FaultsSeen {
  readonly length: number;
  /** @param index 0 to length - 1 */
  at(index: number): FaultRecord;
}

/** What every step did to the stderr of the innermost program. */
export interface Observed {
  /** Text that the step added. */
  readonly stderr: string;
  /** Bytes that nobody has read yet. */
  readonly stderrBytes: number;
}

/** What a call did. */
export interface CallObserved extends Observed {
  readonly kind: 'call';
  readonly outcome: Outcome;
  /** null if the code did not return. */
  readonly ret: bigint | null;
  readonly faults: FaultsSeen;
  /** Lines of the report; null without one. */
  readonly oops: readonly string[] | null;
  readonly instructions: number;
  /** null if the run counted none. */
  readonly cycles: number | null;
  readRegister(name: string): bigint;
  /** Arena memory as the kernel would read it, through the PTEs; null where none maps it. */
  readArena(arena: string, offset: bigint, length: number): Uint8Array | null;
  /** A buffer argument's memory. */
  readBuffer(arg: number, length: number): Uint8Array | null;
}

/** What a step did, under the kind of the step; `stuck` if the kernel never comes out of it. */
export type StepObserved =
  | CallObserved
  | (Observed &
      (
        | { readonly kind: 'stuck'; readonly why: string }
        | { readonly kind: 'alloc'; readonly page: number | null }
        | { readonly kind: 'free' | 'worker'; readonly freed: number }
        | { readonly kind: 'destroy'; readonly freed: number; readonly leaked: number }
        | { readonly kind: 'reserve' | 'create' | 'lock'; readonly result: number }
        | { readonly kind: 'unlock' }
        | { readonly kind: 'user'; readonly result: UserResult; readonly value: bigint | null }
        | {
            readonly kind: 'pte';
            readonly value: bigint;
            readonly pteKind: PteKind;
          }
        | {
            readonly kind: 'streamRead' | 'streamPrint';
            readonly result: number;
            readonly bytes: number;
          }
      ));
