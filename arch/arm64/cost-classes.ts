// Costs of AArch64 instruction forms on a Neoverse N1: pipelines, latency, operations. Approximate: the figures are
// those of LLVM's scheduling model of the core, which follows Arm's Neoverse N1 Software Optimization Guide, and every
// line was compared with llvm-mca. No Arm core was measured. Atomic read-modify-writes, which the scheduling model does
// not have, are an estimate; SVE is left out, since the core has none.

const mask = (...ports: readonly number[]) => ports.reduce((sum, port) => sum | (1 << port), 0);

/**
 * Pipelines, by the guide's names: B branch; S single-cycle and M multi-cycle, together I; L load/store; D store data;
 * V vector. D is one here, since stores leave in order, one a cycle.
 */
export const PORTS = {
  b: mask(0),
  i: mask(1, 2, 3),
  m: mask(3),
  l: mask(4, 5),
  d: mask(6),
  v: mask(7, 8),
  v0: mask(8),
  v1: mask(7),
} as const;

export type PortClass = keyof typeof PORTS;

/** What a class of forms costs. */
export interface ClassCost {
  readonly name: string;
  /** Pipeline of each operation; the first carries the result. */
  readonly ports: readonly PortClass[];
  /** Cycles to the result. */
  readonly latency: number;
  /** Cycles for which the first operation's pipeline takes nothing else. */
  readonly busy: number;
  /** Places in the dispatcher's width. */
  readonly slots: number;
}

// Each line: pipelines, latency, cycles busy if not 1; then the forms as cost-form.ts spells them, a regular
// expression from start to end. The first line that fits counts. R is a general register, V a whole vector, D one of 8
// bytes, Q one of 16, E a lane, A an address.
const OPERATIONS = `
i 1     | nop|hint .*|yield|wfe|wfi|sevl?|[id]sb.*|dmb.*|clrex.*|bti.*|(pac|aut)i[ab]sp|mrs .*|msr .*|(tlbi|at|dc|ic|sys).*
b i 1   | bl( .*)?|blr .*
b 1     | b( .*)?|br .*|ret.*|cbn?z .*|tbn?z .*
m 2     | (add|sub)s? R R R (shift|extend)|(cmp|cmn|neg|negs) R.* (shift|extend)|(ands|bics) R R R.*|tst R R.*
m 2     | bfi .*|bfxil .*|bfc .*|bfm .*|crc32.*|(mul|mneg|madd|msub) w.*|[su]m(ull|negl|addl|subl) x.*
m i 3   | extr .*
m 4 3   | (mul|mneg|madd|msub) x.*
m 5 3   | [su]mulh .*
m 12 5  | [su]div w.*
m 20 5  | [su]div x.*
m 3     | fmov ([hsd]|E) R|dup V R
m v 5   | (mov|ins) E R
m v0 6  | [su]cvtf [hsd] R.*
v 3     | fcvtz[su] R [hsd] imm
v0 v1 4 | fcvt[amnpz][su] R .*
v1 2    | [us]?mov R e.|fmov R .*
v0 2    | fcc?mpe? .*
v0 7 7  | f(div|sqrt) (h|v4h) .*
v0 13 10 | f(div|sqrt) v8h .*
v0 10 7 | f(div|sqrt) (s|v[24]s) .*
v0 15 7 | fdiv (d|v2d) .*
v0 17 7 | fsqrt (d|v2d) .*
v 3     | fn?mul [hsd] .*|fcvt [hsd] .*|fmulx? V .*
v 4     | fn?m(add|sub) .*|fml[as] .*|fr(ecp|sqrt)s .*
v0 3    | frint. [hsd] .*|fr(ecp[ex]|sqrte) [sd] .*|(frint.|fcvt[amnpz][su]|[su]cvtf) v2[sd] .*|(fr|ur)(ecp|sqrt)e v2s .*
v0 3    | fcvtl2? v2d .*|fcvtx?n v2s .*|fcvtx?n2 v4s .*|pmull? v8[bh] v8b .*
v0 v0 4 | (frint.|frecpe|frsqrte|fcvt[amnpz][su]|[su]cvtf|ur(ecp|sqrt)e) v4[sh] .*|fcvtl2? v4s .*|fcvtn2? v[48]h .*
v0 v0 4 | pmull?2? V v16b .*
v0 v0 v0 v0 6 | (frint.|frecpe|frsqrte|fcvt[amnpz][su]|[su]cvtf) v8h .*
v0 2    | pmull2? v1q .*|aes.*|sha1(h|su.) .*|sha256su. .*
v0 4    | sha1[cmp] .*|sha256h2? .*|(mul|ml[as]|sqr?dmulh|sqrdml[as]h) v(4h|2s) V V|(sqd|[su])m(ull|l[as]l)2? V .*
v0 v0 5 | (mul|ml[as]|sqr?dmulh|sqrdml[as]h) v(8h|4s) V V
v 5     | f(max|min)(nm)?v .*
v1 4    | [su]abal?2? V .*|[su]adalp .*|[su]r?sra V .*|[su]q?rshl V .*|[su]qshlu? V .*|[su]rshr V .*|[su]qxtu?n2? V .*
v1 4    | (rshrn|sqshrn|sqrshru?n|uqr?shrn)2? V .*
v1 2    | shll?2? V .*|shrn2? V .*|[su](shll|xtl)2? V .*|[su]sh[lr] V .*|[su]shl d .*|s[lr]i V .*
v1 3    | (add|[su](max|min|addl))v . v4[hs]
v1 v 5  | (add|[su](max|min|addl))v . v8[bh]
v1 v1 6 | (add|[su](max|min|addl))v . v16b
v v v v 4 | tbl V V V V V|tbx V V V V
v v v 4 | tbl V V V V V V
v v v 6 | tbx V V V V V
v v v v v 6 | tbx V V V V V V
v 2     | [^ ]+ ([bhsdq]|V|E)( .*)?|[us]?mov R e.0
i 1     | .*
`;

// Loads: cycles are those to the registers. What a written base adds is left out here.
const LOADS = `
l 4     | prfu?m.*|ld(ax|x|a|ap|la)r[bh]? R A
l l 4   | lda?xp R R A
l 4     | ldn?p w w base
l i 5   | ldpsw .*
l l 4   | ldn?p R R A|ldnp q q A
l 4     | ld[^ ]+ R .*
l l i 7 | ldp q q base
l l 7   | ldp q q A
l l i 5 | ldn?p [sd] [sd] base
l l 5   | ldp [sd] [sd] A
l 5     | ldr [sdq] imm|ldur [bhsdq] A|ldr [bhsdq] written|ld1 V A
l i 6   | ldr [hq] index
l i 5   | ldr [bhsdq] A
l l 5   | ld1 V V A
l l l 6 | ld1 V V V A
l l l l 6 | ld1 V V V V A
l v 7   | ld1r V A|ld1 E A
l l v v 7 | ld2r? .*
l l l v v v 8 | ld3 V V V A
l l v v v 7 | ld3r? .*
l l l l v v v v 10 | ld4 Q Q Q Q A
l l l v v v v 8 | ld4 D D D D A
l l l l v v v v 8 | ld4r? .*
`;

// Stores: cycles to the status of an exclusive one. The last pipeline is the data's; where it is V, D is kept too.
const STORES = `
l l d 5 | stl?x[rp][bh]? .*
l d 1   | stl?l?r[bh]? R A|stp w w base
l l d 1 | stn?p R R A
l d 1   | st[^ ]+ R .*
l i 1   | stur [bhsd] A
l l i i 1 | stur q A
l i v 1 | str h index
l v 1   | str [bhsd] A|stn?p s s A|st1 V A|st[12] E .*|st2 D D A
l v v 1 | st1 D D A
l l v v 1 | str q A|stn?p d d A|st1 Q Q A|st1 D D D D A|st2 Q Q A|st3 D D D A
l l v v v 1 | st1 D D D A
l l l v v v 1 | st[13] Q Q Q A|st[34] E .*|st4 D D D D A
l l l l v v 1 | stn?p q q A
l l l l v v v v 1 | st1 Q Q Q Q A|st4 v2d .*
l l l l l l v v v v v v 1 | st4 Q Q Q Q A
l d 1   | .*
`;

const SHORTHANDS: Readonly<Record<string, string>> = {
  R: '[wx]',
  V: 'v\\d+[bhsdq]',
  D: 'v(?:8b|4h|2s|1d)',
  Q: 'v(?:16b|8h|4s|2d)',
  E: 'e[bhsd]0?',
  A: '(?:base|index|written)',
};

interface Line {
  readonly fits: RegExp;
  readonly cost: ClassCost;
}

function parseLine(line: string): Line {
  const [figures, forms] = line.split(' | ').map((part) => part.trim());
  const words = figures.split(/\s+/);
  const ports = words.filter((word) => word in PORTS) as PortClass[];
  const [latency, busy = 1] = words.slice(ports.length).map(Number);
  const spelled = forms.replace(/[RVDQEA]/g, (letter) => SHORTHANDS[letter]);
  return {
    fits: new RegExp(`^(?:${spelled})$`),
    cost: { name: figures, ports, latency, busy, slots: ports.length },
  };
}

const parse = (table: string) => table.trim().split('\n').map(parseLine);
const TABLES = { operation: parse(OPERATIONS), load: parse(LOADS), store: parse(STORES) };
const FOUND = new Map<string, ClassCost>();

/** An instruction that no line has: one operation of a cycle, as most are. */
const UNKNOWN: ClassCost = { name: 'unknown', ports: ['i'], latency: 1, busy: 1, slots: 1 };

/** @param form as {@link formOf} spells it */
export function classOf(table: keyof typeof TABLES, form: string): ClassCost {
  const key = `${table} ${form}`;
  let cost = FOUND.get(key);
  if (cost === undefined) {
    cost = TABLES[table].find(({ fits }) => fits.test(form))?.cost ?? UNKNOWN;
    FOUND.set(key, cost);
  }
  return cost;
}
