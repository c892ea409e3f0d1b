// Time of the repeated string instructions of the Golden Cove family by the bytes they move: measured on one core with
// everything in the L1 cache and aligned, straight lines between the measured points. Approximate: it leaves out
// overlap, misalignment and what lies beyond 4 KiB, where the last line goes on.
import type { Repeat } from '../../emulator/cost/instruction.ts';
import { RCX } from './cost-operands.ts';

type Curve = readonly (readonly [bytes: number, cycles: number])[];

/** Up to here the core's fast short copies apply (CPUID FSRM, FZRM, FSRCS). */
const FAST_SHORT = 128;

const MOVE_BYTES: Curve = [
  [1, 9],
  [FAST_SHORT, 9],
  [FAST_SHORT + 1, 27],
  [192, 27.7],
  [512, 36.6],
  [2048, 48.4],
  [3072, 56.7],
  [4096, 70],
];
const STORE_BYTES: Curve = [
  [1, 8],
  [FAST_SHORT, 8],
  [FAST_SHORT + 1, 26.5],
  [512, 35.6],
  [2048, 47.5],
  [3072, 56],
  [4096, 69.9],
];
/** Wider elements always take the start-up of the long form. */
const WIDE: Curve = [
  [1, 31],
  [256, 31],
  [512, 41],
  [2048, 53],
  [4096, 69.9],
];
/** Nothing is done, but the core has to find that out. */
const EMPTY = 111;
const LOAD_START = 54;
const LOAD_STEP = 2;
const COMPARE_SHORT = 20;
/** Beyond the fast short form: an estimate, not measured. */
const COMPARE_STEP = 2;
/** Back from microcode to the micro-op cache: a cycle, more after the long forms. */
const RETURN = { short: 1, long: 2.5 } as const;
const WIDTH = 6;
/** The measured blocks set rcx, rdi and rsi, which is in their time. */
const SET_UP = 3;

function along(curve: Curve, bytes: number): number {
  let [left, from] = curve[0];
  for (const [right, to] of curve) {
    if (bytes <= right) {
      return right === left ? to : from + ((to - from) * (bytes - left)) / (right - left);
    }
    if (right === curve[curve.length - 1][0]) break;
    left = right;
    from = to;
  }
  const [[x0, y0], [x1, y1]] = curve.slice(-2);
  return y1 + ((y1 - y0) * (bytes - x1)) / (x1 - x0);
}

function cycles(operation: string, width: number, count: number): number {
  if (operation === 'lods') return LOAD_START + LOAD_STEP * count;
  if (operation === 'scas' || operation === 'cmps') {
    const beyond = Math.max(0, count * width - FAST_SHORT);
    return COMPARE_SHORT + COMPARE_STEP * beyond;
  }
  if (count === 0) return EMPTY;
  const bytes = count * width;
  if (width > 1) return along(WIDE, bytes);
  return along(operation === 'movs' ? MOVE_BYTES : STORE_BYTES, bytes);
}

/**
 * @param operation lods, stos, movs, scas, cmps
 * @param width bytes of an element
 * @returns how many slots of the renamer a repetition takes: all of them for its time
 */
export function repeatOf(operation: string, width: number): Repeat {
  return {
    counter: RCX,
    slots(count, loop) {
      const time = cycles(operation, width, count);
      const back = count * width > FAST_SHORT || width > 1 ? RETURN.long : RETURN.short;
      return Math.max(WIDTH, Math.round((time + (loop ? back : 0)) * WIDTH) - SET_UP);
    },
  };
}
