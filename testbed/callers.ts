// Who is on the stack when the code under test is called: an outermost kernel function, BPF programs, and by default one
// kernel C function between the innermost program and the code. The frames are laid down in emulated memory as the
// compilers and the JITs do it, so that the unwinder finds them the way the kernel's would.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';

/** A function that has called another: where its call returns to. */
export interface CallerFunction {
  readonly returnAddress: VirtAddr;
}

/** Frames to lay down, outermost first. */
export interface CallerStack {
  /** The outermost kernel function. */
  readonly entry: CallerFunction;
  /** BPF programs, outermost first. */
  readonly programs: readonly CallerFunction[];
  /** The kernel C function that calls the code; null if the innermost program calls it itself. */
  readonly kernelFrame: CallerFunction | null;
  /** Words of arguments that the code finds on the stack. */
  readonly stackArguments: number;
  /** arm64: distance of the final record from the end of the stack. */
  readonly finalRecord?: bigint;
}

const FINAL_RECORD = 0x20n;

/** Registers with which the code under test is entered. */
export interface EntryState {
  readonly sp: VirtAddr;
  readonly fp: VirtAddr;
  /** Where the code returns to: on the stack (x86), in the link register (arm64). */
  readonly returnAddress: VirtAddr;
  /** Where the arguments on the stack lie, 16-byte aligned. */
  readonly arguments: VirtAddr;
}

/** Locals that each caller keeps below its frame, in bytes; a multiple of 16. */
const LOCALS = 32n;

/** FRAME_META_TYPE_FINAL of arm64's metadata frame records (asm/stacktrace/frame.h). */
const FRAME_META_TYPE_FINAL = 1n;

/**
 * Lays frames down from `stackEnd` and returns the state at the code's first instruction.
 * @param stackEnd first address above the stack, 16-byte aligned
 * @param linkRegister true where calls leave the return address in a register (arm64), false where they push it (x86)
 * @param write stores an 8-byte word at a virtual address of the stack
 */
export function layDownCallers(
  stack: CallerStack,
  stackEnd: VirtAddr,
  linkRegister: boolean,
  write: (va: VirtAddr, value: bigint) => void,
): EntryState {
  return (linkRegister ? frameRecords : pushedFrames)(stack, stackEnd, write);
}

type Write = (va: VirtAddr, value: bigint) => void;

/** Callers from the outermost in, each with the function that it calls. */
const chain = (stack: CallerStack): CallerFunction[] => [
  stack.entry,
  ...stack.programs,
  ...(stack.kernelFrame === null ? [] : [stack.kernelFrame]),
];

/** Both conventions keep the stack pointer a multiple of 16 at a call. */
const argumentBytes = ({ stackArguments }: CallerStack): bigint =>
  BigInt(Math.ceil(stackArguments / 2) * 16);

/** x86: call pushes the return address; every caller here keeps an rbp frame, as the JIT's images do. */
function pushedFrames(stack: CallerStack, stackEnd: VirtAddr, write: Write): EntryState {
  // The top of a task's stack holds the registers of its entry from user space.
  let sp = stackEnd - 0x100n;
  let fp = 0n;
  const push = (value: bigint) => {
    sp -= 8n;
    write(virtAddr(sp), value);
  };
  const callers = chain(stack);
  // The outermost function returns to nobody: the unwinder stops at 0.
  let returnTo = 0n;
  for (const caller of callers) {
    push(returnTo);
    push(fp);
    fp = sp;
    sp -= LOCALS;
    returnTo = caller.returnAddress;
  }
  sp -= argumentBytes(stack);
  const args = virtAddr(sp);
  push(returnTo);
  return {
    sp: virtAddr(sp),
    fp: virtAddr(fp),
    returnAddress: virtAddr(returnTo),
    arguments: args,
  };
}

/** arm64: each caller stores {x29, x30} below its caller's frame and points x29 at it (AAPCS64, frame records). */
function frameRecords(stack: CallerStack, stackEnd: VirtAddr, write: Write): EntryState {
  const final = stackEnd - (stack.finalRecord ?? FINAL_RECORD);
  write(virtAddr(final), 0n);
  write(virtAddr(final + 8n), 0n);
  write(virtAddr(final + 16n), FRAME_META_TYPE_FINAL);
  // pt_regs, whose last words hold the final record, take 0x150 bytes at the top of the stack.
  let sp = stackEnd - 0x150n;
  let fp = final;
  let lr = 0n;
  for (const caller of chain(stack)) {
    // The outermost function keeps no record of its own: its caller is the final record.
    if (lr !== 0n) {
      sp -= 16n + LOCALS;
      write(virtAddr(sp), fp);
      write(virtAddr(sp + 8n), lr);
      fp = sp;
    }
    lr = caller.returnAddress;
  }
  sp -= argumentBytes(stack);
  return {
    sp: virtAddr(sp),
    fp: virtAddr(fp),
    returnAddress: virtAddr(lr),
    arguments: virtAddr(sp),
  };
}
