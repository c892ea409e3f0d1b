// Bad input that only shows when a scenario's world is made or its code is loaded.

export class CallError extends Error {
  readonly remedy: string;
  /** Line of the scenario file; null where it is the step's. */
  readonly line: number | null;

  constructor(message: string, remedy: string, line: number | null = null) {
    super(message);
    this.name = 'CallError';
    this.remedy = remedy;
    this.line = line;
  }
}
