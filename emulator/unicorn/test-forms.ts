// Instruction forms with a memory operand, for the tests of the engine and of the whole way through the kernel: text,
// encoding (GNU as 2.40), kind of the fault that the hardware reports (R, W, or A: a read if that fails, else a write),
// bytes accessed, and where the access lies from the address in the base register (rdi, x1). What stands behind a
// semicolon says which registers hold something else than usual. With them, what each form needs around it.

export type Form<Code> = readonly [
  text: string,
  code: Code,
  kind: 'R' | 'W' | 'A',
  size: number,
  offset: number,
];

const PAGE = 4096n;

/** These must be aligned: across a page they raise another exception, or none on this core. */
const ALIGNED = [
  /cmpxchg16b|movaps|movdqa|movnt(dq|ps)|paddd|pxor|pshufb|pblendw|ptest|aes|pclmul/,
  /^(ld|st)(l?a|l)?x[rp]|^ld(l?a|ap|apu)r|^stll?u?r|^dc zva/,
  /^(ld|st)(add|clr|eor|set|[su](max|min))|^swp|^cas/,
  // What the hardware makes of these across pages was not measured.
  /^fn?(ldenv|stenv|save|rstor)|^fb(ld|stp)|^maskmov/,
];

/** Forms whose memory must hold something valid: zeroes, or where to go on. */
export const needsZeroes = (text: string) => /fxrstor|ldmxcsr|fld|fild|frstor|fbld|popf/.test(text);
export const needsTarget = (text: string) => /^(ret|jmp|call \[)/.test(text);

/** Values of the base register with which the access lies within a page, and across the end of it. */
export function basesOf(
  [text, , , size, offset]: Form<unknown>,
  page: bigint,
): { inside: bigint; across: readonly bigint[] } {
  const shift = BigInt(offset);
  const inside = page + 0x100n - shift;
  if (size === 1 || ALIGNED.some((pattern) => pattern.test(text))) return { inside, across: [] };
  const end = page + PAGE;
  // FXSAVE areas are aligned to 16 bytes, XSAVE areas to 64.
  if (size === 512) return { inside, across: [end - 256n, end - 16n] };
  if (size === 576) return { inside, across: [end - 512n, end - 64n] };
  const distances = [...new Set([1, size >> 1, size > 8 ? size - 8 : 1])];
  return { inside, across: distances.map((distance) => end - BigInt(distance) - shift) };
}

/** Addresses that the hardware reports, in order, if each fault is repaired by mapping the page of its address. */
export function faultAddresses(
  [text, , , size, offset]: Form<unknown>,
  base: bigint,
): readonly bigint[] {
  const from = base + BigInt(offset);
  const last = from + BigInt(size) - 1n;
  const fromEnd = /xsave|fxrstor/.test(text);
  if (from / PAGE === last / PAGE) return [fromEnd ? last : from];
  return fromEnd ? [last, from] : [from, (last / PAGE) * PAGE];
}

/** Registers that a form names behind its semicolon. */
function special(text: string, base: bigint): Record<string, bigint> {
  const [, name, value] = /; (\w+) = (\S+)/.exec(text) ?? [];
  if (name === undefined) return {};
  if (value === 'base') return { [name]: base };
  return { [name]: value.startsWith('-') ? -BigInt(value.slice(1)) : BigInt(value) };
}

/** Registers before a form of x86-64, but for a stack that is not under test. */
export const x86Registers = (text: string, base: bigint): Record<string, bigint> => ({
  ...{ rax: 0x0102_0304_0506_0708n, rbx: -3n, rcx: 5n, rdx: 7n, r9: 1n, r14: 0x40n },
  ...{ rdi: base, r15: base, rsi: base, ...(text.includes('[rsp]') ? { rsp: base } : {}) },
  ...{ 'xmm0:lo': 0x1111_2222_3333_4444n, 'xmm0:hi': 0x5555_6666_7777_8888n },
  ...{ 'xmm1:lo': -1n, 'xmm1:hi': -1n },
  ...special(text, base),
});

/** The same for AArch64. */
export const arm64Registers = (base: bigint): Record<string, bigint> => ({
  ...{ x0: 0x0102_0304_0506_0708n, x1: base, x2: 7n, x3: 8n, x4: -8n, x5: 5n, x6: 6n, x7: 7n },
  ...{ 'v0:lo': 0x1111_2222_3333_4444n, 'v0:hi': 0x5555_6666_7777_8888n },
  ...{ 'v1:lo': 11n, 'v1:hi': 12n, 'v2:lo': 13n, 'v3:hi': 14n },
});
