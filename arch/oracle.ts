// What a runner of golden walk cases answers, on either architecture. `arch/x86/oracle.ts` and `arch/arm64/oracle.ts`
// each export `createOracle(): Oracle`; `scripts/oracle.ts` and the tests read files and call them.

/** One line of a golden file, as JSON.parse gives it. */
export type GoldenCase = { readonly id: string } & Readonly<Record<string, unknown>>;

/** What we answer, in the golden file's own shape; an `--answers` file has one of these a line. */
interface OracleAnswer {
  readonly id: string;
  /** Outcome of the access (of a case of several steps: of the last access). */
  readonly expect: unknown;
  /** Entries that differ at the end, in the order of address; empty if none does. */
  readonly tables_after: readonly unknown[];
  /** Cases of several steps: the case's own list of steps, with our outcome as `expect` of each access. */
  readonly steps_before?: readonly unknown[];
  readonly steps?: readonly unknown[];
}

export interface OracleResult {
  readonly id: string;
  /** null for a case that was skipped, or ended unexpectedly. */
  readonly answer: OracleAnswer | null;
  /** What binds and is not as expected, one sentence each; empty if the case agrees. */
  readonly differences: readonly string[];
  /** Why the case cannot be run, or null. */
  readonly skipped: string | null;
}

/** Why a case is skipped whose line has no outcome to compare with; it is made and answered all the same. */
export const NOTHING_EXPECTED = 'the line expects nothing';

/** Runs cases one after another, each from empty tables and an empty TLB. */
export interface Oracle {
  readonly arch: 'x86_64' | 'arm64';
  /** @throws TypeError if the line lacks a field that its format prescribes */
  run(line: GoldenCase): OracleResult;
}

/** A case cannot be made on the machine that is asked to: it is skipped, with this reason, which names no case. */
export class Unreachable extends Error {}

/** The vCPU did what no outcome of a case is: the case differs. */
export class UnexpectedStop extends Error {}

/**
 * The result of a case that ended in an {@link Unreachable} or an {@link UnexpectedStop}.
 * @throws any other error again
 */
export function resultOfError(id: string, error: unknown): OracleResult {
  const result = { id, answer: null, differences: [], skipped: null };
  if (error instanceof Unreachable) return { ...result, skipped: error.message };
  if (error instanceof UnexpectedStop) return { ...result, differences: [error.message] };
  throw error;
}
