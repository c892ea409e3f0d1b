// Register names of x86-64 and their widths.

const widths = new Map<string, number>();

const add = (bits: number, names: string) => {
  for (const name of names.split(' ')) widths.set(name, bits);
};
const numbered = (prefix: string, from: number, to: number, suffix = '') =>
  Array.from({ length: to - from + 1 }, (_, i) => `${prefix}${from + i}${suffix}`).join(' ');

add(64, 'rax rcx rdx rbx rsp rbp rsi rdi rip riz');
add(64, numbered('r', 8, 15));
add(32, 'eax ecx edx ebx esp ebp esi edi eip eiz');
add(32, numbered('r', 8, 15, 'd'));
add(16, 'ax cx dx bx sp bp si di');
add(16, numbered('r', 8, 15, 'w'));
add(8, 'al cl dl bl ah ch dh bh spl bpl sil dil');
add(8, numbered('r', 8, 15, 'b'));
add(16, 'cs ds es fs gs ss');
add(64, numbered('cr', 0, 15));
add(64, numbered('dr', 0, 15));
add(64, numbered('mm', 0, 7));
add(80, 'st');
add(80, numbered('st(', 0, 7, ')'));
add(128, numbered('xmm', 0, 31));
add(256, numbered('ymm', 0, 31));
add(512, numbered('zmm', 0, 31));
add(64, numbered('k', 0, 7));
add(128, numbered('bnd', 0, 3));

/** True for the name of a register, in either case; `st` counts, whatever follows it. */
export const isX86Register = (name: string): boolean => widths.has(name.toLowerCase());

/** Width in bits of a register in lower case; 0 if there is none of that name. */
export const registerBits = (name: string): number => widths.get(name) ?? 0;

const GENERAL = /^([re]?[abcd]x|[abcd][lh]|[re]?[sb]p|[re]?[sd]i|[sb]pl|[sd]il|r\d+[bwd]?)$/;

/** True for rax to r15 and their parts. */
export const isGeneral = (name: string): boolean => GENERAL.test(name);
