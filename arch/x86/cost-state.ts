// States in which the measured x86-64 blocks and functions were run, as the golden cycle files describe them: what the
// model must set up to see the same addresses and branches. Vector registers are left out: no address depends on them.
import type { MachineState } from './cost-machine.ts';

const REGISTERS = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];

/** Where a block's first copy starts. */
export const BLOCK_ADDRESS = 0x4000_0200;
/** Every word of every data page: a pointer into such a page. */
const BLOCK_FILL = 0x2020_0400n;
const RFLAGS = 0x202n;
const STACK = 0x3000_8000n;
/** Trips of the measuring loop, more than are ever traced. */
const TRIPS = 1_000_000n;

/** The measuring loop's end: dec r15; jnz, with the jump's 32-bit distance to the block's start. */
export function loopEnd(blockBytes: number): Uint8Array {
  const code = new Uint8Array([0x49, 0xff, 0xcf, 0x0f, 0x85, 0, 0, 0, 0]);
  new DataView(code.buffer).setInt32(5, -(blockBytes + code.length), true);
  if (blockBytes + 5 > 128) return code;
  return new Uint8Array([0x49, 0xff, 0xcf, 0x75, 256 - (blockBytes + 5)]);
}

/** @param code the block, with its loop's end if it has one */
export function blockState(code: Uint8Array, loop: boolean): MachineState {
  const registers: Record<string, bigint> = { rflags: RFLAGS };
  REGISTERS.forEach((name, number) => {
    registers[name] = 0x2000_0000n + BigInt(number) * 0x10100n;
  });
  registers.rsp = STACK;
  registers.rip = BigInt(BLOCK_ADDRESS);
  if (loop) registers.r15 = TRIPS;
  return { memory: [{ address: BLOCK_ADDRESS, bytes: code }], fill: BLOCK_FILL, registers };
}

/** Where the driver of a measured function lies here, and its table of arguments; 64-byte aligned. */
export const DRIVER_ADDRESS = 0x5000_0000;
const TABLE_ADDRESS = 0x5100_0000;

// 1: mov rdi,[rbx]; mov rsi,[rbx+8]; mov rdx,[rbx+16]; mov rcx,[rbx+24]; mov r8,[rbx+32]; mov r9,[rbx+40];
// xor eax,eax; call [rbx+48]; dec r12; jnz 1b
export const DRIVER = Uint8Array.from(
  '488b3b488b7308488b5310488b4b184c8b43204c8b4b2831c0ff533049ffcc75df'.match(/../g) ?? [],
  (byte) => Number.parseInt(byte, 16),
);

export interface MeasuredFunction {
  readonly code: Uint8Array;
  readonly codeAddress: number;
  readonly memory: Uint8Array;
  readonly memoryAddress: number;
  readonly args: readonly bigint[];
}

export function functionState(fn: MeasuredFunction): MachineState {
  const table = new Uint8Array(56);
  const words = new DataView(table.buffer);
  fn.args.forEach((arg, i) => {
    words.setBigUint64(8 * i, BigInt.asUintN(64, arg), true);
  });
  words.setBigUint64(48, BigInt(fn.codeAddress), true);
  return {
    memory: [
      { address: DRIVER_ADDRESS, bytes: DRIVER },
      { address: TABLE_ADDRESS, bytes: table },
      { address: fn.codeAddress, bytes: fn.code },
      { address: fn.memoryAddress, bytes: fn.memory },
    ],
    fill: 0n,
    registers: {
      rflags: RFLAGS,
      rip: BigInt(DRIVER_ADDRESS),
      rbx: BigInt(TABLE_ADDRESS),
      rsp: STACK,
      r12: TRIPS,
    },
  };
}
