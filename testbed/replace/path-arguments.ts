// What functions of the fault path are handed, by the names of their arguments.
import type { HardwareFault } from '../../arch/arch.ts';
import { untaggedAddr } from '../../arch/arm64/address-ranges.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Argument } from './callees/index.ts';

/** Arguments that are the same in every fault of kernel code: SIGSEGV, SEGV_MAPERR, ARCH_DEFAULT_PKEY. */
const CONSTANTS: Readonly<Record<string, bigint>> = { signal: 11n, si_code: 1n, pkey: 0n };

const ADDRESSES = ['address', 'addr', 'far'];
const CODES = ['error_code', 'hw_error_code', 'esr'];

/** Names of a prototype's arguments, in order. */
const namesOf = (prototype: string): string[] =>
  (/\((.*)\)/.exec(prototype)?.[1] ?? '').split(',').map((one) => /(\w+)\s*$/.exec(one)?.[1] ?? '');

/** The arguments of a call. @param regs address of struct pt_regs */
export const argumentsFor = (prototype: string, regs: VirtAddr, fault: HardwareFault): bigint[] =>
  namesOf(prototype).map((name) => {
    if (name === 'regs') return regs;
    if (name === 'addr') return untaggedAddr(fault.addr);
    if (ADDRESSES.includes(name)) return fault.addr;
    return CODES.includes(name) ? fault.code : (CONSTANTS[name] ?? 0n);
  });

/** The same of a call that compiled code makes. @param outer the fault that it works on */
export function faultFrom(
  prototype: string,
  argument: Argument,
  outer: HardwareFault,
): { regs: bigint; fault: HardwareFault } {
  let [regs, addr, code] = [0n, outer.addr, outer.code];
  namesOf(prototype).forEach((name, i) => {
    if (name === 'regs') regs = argument(i);
    if (ADDRESSES.includes(name)) addr = virtAddr(argument(i));
    if (CODES.includes(name)) code = argument(i);
  });
  return { regs, fault: { addr, code, access: outer.access } };
}
