// The one error of the assembler. It is the user's to mend, so it says where and how.

/**
 * Text that cannot be assembled. `line` and `column` count from 1 in the text that was handed in; `message` begins with
 * `line:column: `, so that a caller need only put the file's name and a colon before it.
 */
export class AssemblyError extends Error {
  readonly line: number;
  readonly column: number;
  /** What is wrong, without the place. */
  readonly reason: string;
  readonly remedy: string;

  constructor(place: { line: number; column: number }, reason: string, remedy: string) {
    super(`${place.line}:${place.column}: ${reason}`);
    this.name = 'AssemblyError';
    this.line = place.line;
    this.column = place.column;
    this.reason = reason;
    this.remedy = remedy;
  }
}
