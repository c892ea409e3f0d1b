// What the engine's user can do something about: no library, no Python, a folder that cannot be written.

/** Trouble with the native library. `message` says what is wrong, `remedy` what to do about it. */
export class EngineError extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.name = 'EngineError';
    this.remedy = remedy;
  }
}
