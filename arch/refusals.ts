// Instructions that do not reach the core, as tables: the same rows decide, and are what `faultline doctor --engine`
// prints.
import type { Trap } from '../emulator/engine.ts';

/** A class of encodings that the core must not get. `Code` is what the architecture's rows look at. */
export interface Refusal<Code> {
  readonly name: string;
  /** Bytes or bits that make the class, for people: `0F AE /7`, `0x0e400400 under 0x9f60c400`. */
  readonly encoding: string;
  readonly why: string;
  readonly trap: Trap;
  /** One of its encodings, in hex as it lies in memory. */
  readonly example: string;
  matches(code: Code): boolean;
}

/** What happens in place of the instruction. */
export function insteadOf(trap: Trap): string {
  switch (trap.action) {
    case 'refuse':
      return 'engine';
    case 'invalid':
      return 'invalid instruction';
    case 'halt':
      return 'halted';
    case 'touch':
      return 'its accesses alone';
    case 'intercept':
      return 'modelled';
  }
}

/** The outcome `engine`, for the reason that the row gives. */
export const refuse = (why: string): { readonly trap: Trap; readonly why: string } => ({
  trap: { action: 'refuse', why },
  why,
});

/** The exception that hardware raises, though the core would do something else. */
export const invalid = (why: string): { readonly trap: Trap; readonly why: string } => ({
  trap: { action: 'invalid' },
  why,
});
