// A program on the library with an empty block hook through the binding, and nothing else: what a cycle model that is
// called back for every block would have to live on.
import { type Binding, dropCallback, makeCallback, type Pointer, sharedBytes } from './binding.ts';
import {
  ARM64_REGISTERS,
  UC_ARCH_ARM64,
  UC_ARCH_X86,
  UC_HOOK_BLOCK,
  UC_MODE_64,
  UC_MODE_ARM,
  X86_REGISTERS,
} from './constants.ts';

const CODE = 0x1000;
const RETURN = 0x8000;
const STACK = 0x1_0000;
const DATA = 0x10_0000;
const RAM = 4 << 20;

/** A function and what it finds in registers; memory from {@link HOOKED_DATA} on is its own. */
export interface HookedProgram {
  readonly arch: 'x86_64' | 'arm64';
  readonly code: Uint8Array;
  readonly registers: Readonly<Record<string, number>>;
}

export const HOOKED_DATA = DATA;

/** Runs a program to its return. @returns CPU seconds */
export function runHooked(binding: Binding, program: HookedProgram, seconds: () => number): number {
  const x86 = program.arch === 'x86_64';
  const uc: Pointer = x86
    ? binding.open(UC_ARCH_X86, UC_MODE_64)
    : binding.open(UC_ARCH_ARM64, UC_MODE_ARM);
  const callback = makeCallback('block', () => {});
  try {
    const ram = sharedBytes(RAM);
    const numbers = x86 ? X86_REGISTERS : ARM64_REGISTERS;
    const word = sharedBytes(8);
    const set = (name: string, value: number) => {
      new BigUint64Array(word.buffer)[0] = BigInt(value);
      binding.check(binding.regWrite(uc, numbers[name], word), `uc_reg_write ${name}`);
    };
    ram.set(program.code, CODE);
    new BigUint64Array(ram.buffer)[STACK / 8] = BigInt(RETURN);
    binding.mapRam(uc, 0, ram);
    binding.addHook(uc, UC_HOOK_BLOCK, callback);
    set(x86 ? 'rsp' : 'sp', STACK);
    if (!x86) set('x30', RETURN);
    for (const [name, value] of Object.entries(program.registers)) set(name, value);
    const before = seconds();
    binding.check(binding.emuStart(uc, BigInt(CODE), RETURN, 0, 0), 'uc_emu_start');
    return seconds() - before;
  } finally {
    binding.close(uc);
    dropCallback(callback);
  }
}
