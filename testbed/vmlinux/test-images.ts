// Small kernels made up by hand: a few functions, with the tables that real images have, in every form that images come
// in. What they say is known, which of a distribution's kernel it is not.
import { gzipSync } from 'node:zlib';

export interface MadeSymbol {
  readonly name: string;
  /** nm's letter. */
  readonly type: string;
  readonly address: bigint;
}

/** Order of kallsyms' tables. */
export type KallsymsOrder = 'to 6.3' | 'from 6.4';

/** Tokens that stand for more than a character, by their number: those below the printable ones are free. */
const TOKENS: Readonly<Record<number, string>> = {
  1: 'mem',
  2: 'cpy',
  3: 'str',
  4: 'Tst',
  5: '_k',
};
const token = (i: number) => TOKENS[i] ?? (i >= 0x20 && i < 0x7f ? String.fromCharCode(i) : '');

/** scripts/kallsyms.c: the longest tokens first. */
function encode(text: string): number[] {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; ) {
    const found = Object.entries(TOKENS).find(([, value]) => text.startsWith(value, at));
    bytes.push(found ? Number(found[0]) : text.charCodeAt(at));
    at += found ? found[1].length : 1;
  }
  // Since 6.2 a length of more than 127 takes two bytes.
  const head =
    bytes.length < 0x80 ? [bytes.length] : [(bytes.length & 0x7f) | 0x80, bytes.length >> 7];
  return [...head, ...bytes];
}

const words32 = (values: readonly number[]) => [...new Uint8Array(Uint32Array.from(values).buffer)];
const words64 = (values: readonly bigint[]) => [
  ...new Uint8Array(BigUint64Array.from(values).buffer),
];
const padded = (bytes: readonly number[], to = 8) => [
  ...bytes,
  ...new Array<number>((to - (bytes.length % to)) % to).fill(0),
];

/**
 * kallsyms' tables as bytes, 8-byte aligned.
 * @param symbols by address
 * @param percpu offsets as with CONFIG_KALLSYMS_ABSOLUTE_PERCPU
 */
export function kallsyms(
  symbols: readonly MadeSymbol[],
  order: KallsymsOrder,
  percpu: boolean,
): number[] {
  const own = symbols.filter(({ address }) => address >= 2n ** 63n);
  const base = own[0].address & ~0xfffn;
  const offsets = symbols.map(({ address }) => {
    if (!percpu) return Number(address - base);
    return address < 2n ** 31n ? Number(address) : Number(BigInt.asUintN(32, base - 1n - address));
  });
  const names: number[] = [];
  const markers: number[] = [];
  symbols.forEach(({ name, type }, i) => {
    if (i % 256 === 0) markers.push(names.length);
    names.push(...encode(type + name));
  });
  const table: number[] = [];
  const index: number[] = [];
  for (let i = 0; i < 256; i++) {
    index.push(table.length);
    table.push(...Buffer.from(token(i), 'latin1'), 0);
  }
  const indexBytes = [...new Uint8Array(Uint16Array.from(index).buffer)];
  const places = [...padded(words32(offsets)), ...words64([base])];
  const rest = [
    ...padded(words32([symbols.length])),
    ...padded(names),
    ...padded(words32(markers)),
    // kallsyms_seqs_of_names lay here in 6.2 and 6.3.
    ...(order === 'to 6.3' ? padded(symbols.flatMap((_, i) => [0, i >> 8, i & 0xff])) : []),
    ...padded(table),
    ...padded(indexBytes),
  ];
  return order === 'to 6.3' ? [...places, ...rest] : [...rest, ...places];
}

export interface MadeSection {
  readonly name: string;
  readonly address: bigint;
  readonly bytes: readonly number[];
  /** SHF_ bits: 2 allocated, 1 writable, 4 executable. */
  readonly flags: number;
}

/** An ELF file of type ET_EXEC with nothing but sections, and a symbol table unless it is null. */
export function elf(
  machine: 62 | 183,
  sections: readonly MadeSection[],
  symbols: readonly MadeSymbol[] | null,
): Uint8Array {
  const strings: number[] = [0];
  const name = (text: string): number => {
    const at = strings.length;
    strings.push(...Buffer.from(text, 'latin1'), 0);
    return at;
  };
  const all = sections.map((section) => ({ ...section, type: 1, link: 0, entry: 0 }));
  if (symbols !== null) {
    const bytes = new Array<number>(24).fill(0);
    for (const symbol of symbols) {
      const home = sections.findIndex(
        ({ address, bytes: b }) =>
          symbol.address >= address && symbol.address < address + BigInt(b.length),
      );
      const info =
        (symbol.type === symbol.type.toLowerCase() ? 0 : 0x10) |
        ('tT'.includes(symbol.type) ? 2 : 1);
      bytes.push(...words32([name(symbol.name)]), info, 0, home + 1, 0);
      bytes.push(...words64([symbol.address, 8n]));
    }
    all.push({
      name: '.symtab',
      address: 0n,
      bytes,
      flags: 0,
      type: 2,
      link: sections.length + 2,
      entry: 24,
    });
  }
  all.push({ name: '.strtab', address: 0n, bytes: strings, flags: 0, type: 3, link: 0, entry: 0 });
  const named = all.map((section) => ({ ...section, nameAt: name(section.name) }));
  const body: number[] = [];
  const headers = new Array<number>(64).fill(0);
  for (const { nameAt, type, flags, address, bytes, link, entry } of named) {
    while (body.length % 8 !== 0) body.push(0);
    headers.push(
      ...words32([nameAt, type]),
      ...words64([BigInt(flags), address, BigInt(64 + body.length)]),
    );
    headers.push(
      ...words64([BigInt(bytes.length)]),
      ...words32([link, 1]),
      ...words64([8n, BigInt(entry)]),
    );
    body.push(...bytes);
  }
  while (body.length % 8 !== 0) body.push(0);
  const file = new Uint8Array(64 + body.length + headers.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(40, BigInt(64 + body.length), true);
  view.setUint16(52, 64, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, named.length + 1, true);
  view.setUint16(62, named.length, true);
  file.set(body, 64);
  file.set(headers, 64 + body.length);
  return file;
}

/** x86's boot image around a packed kernel (boot protocol 2.15). */
export function bzImage(payload: Uint8Array, unpackedSize: number): Uint8Array {
  const isGzip = payload[0] === 0x1f;
  const file = new Uint8Array(1024 + 16 + payload.length + (isGzip ? 0 : 4));
  const view = new DataView(file.buffer);
  file[0x1f1] = 1;
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x248, 16, true);
  view.setUint32(0x24c, file.length - 1024 - 16, true);
  file.set(payload, 1024 + 16);
  if (!isGzip) view.setUint32(file.length - 4, unpackedSize, true);
  return file;
}

/** arm64's EFI zboot image around an Image. */
export function zboot(image: Uint8Array): Uint8Array {
  const payload = gzipSync(image);
  const file = new Uint8Array(0x100 + payload.length);
  const view = new DataView(file.buffer);
  file.set(Buffer.from('MZ\0\0zimg', 'latin1'));
  view.setUint32(8, 0x100, true);
  view.setUint32(12, payload.length, true);
  file.set(Buffer.from('gzip', 'latin1'), 24);
  file.set(payload, 0x100);
  return file;
}

const insns = (...values: number[]) => words32(values);

/** read: the word at the first argument; read_nofault: the same, or -14 by the exception table. */
export const X86_CODE = {
  base: 0xffff_ffff_8100_0000n,
  // mov rax, [rdi]; ret; int3 to 16; then mov rax, [rdi]; ret; mov rax, -14; ret
  text: [
    ...[0x48, 0x8b, 0x07, 0xc3, ...new Array<number>(12).fill(0xcc)],
    ...[0x48, 0x8b, 0x07, 0xc3, 0x48, 0xc7, 0xc0, 0xf2, 0xff, 0xff, 0xff, 0xc3],
    // this_cpu: mov rax, gs:[0x40]; ret
    ...[0x65, 0x48, 0x8b, 0x04, 0x25, 0x40, 0, 0, 0, 0xc3],
  ],
};

/** What a small x86 kernel is made of: text, an exception table, read-only data with kallsyms, per-CPU variables. */
export function x86Kernel(order: KallsymsOrder, stripped: boolean): Uint8Array {
  const { base, text } = X86_CODE;
  const symbols: MadeSymbol[] = [
    { name: 'cpu_number', type: 'A', address: 0x48n },
    { name: 'this_cpu_off', type: 'A', address: 0x40n },
    { name: 'read', type: 'T', address: base },
    { name: 'read_nofault', type: 't', address: base + 16n },
    { name: 'this_cpu', type: 'T', address: base + 28n },
  ].sort((a, b) => (a.address < b.address ? -1 : 1));
  const many = Array.from({ length: 300 }, (_, i) => {
    return { name: `memcpy_k${i}`, type: 'd', address: base + 0x3000n + BigInt(i) };
  });
  const long = { name: `str${'x'.repeat(200)}`, type: 'D', address: base + 0x4000n };
  const table = base + 0x1000n;
  const extable = words32([Number(0x10n - 0x1000n), Number(0x14n - 0x1004n), 1]);
  const sections: MadeSection[] = [
    { name: '.text', address: base, bytes: text, flags: 6 },
    { name: '__ex_table', address: table, bytes: extable, flags: 2 },
    {
      name: '.rodata',
      address: base + 0x2000n,
      bytes: kallsyms([...symbols, ...many, long], order, true),
      flags: 3,
    },
    { name: '.data', address: base + 0x8000n, bytes: new Array<number>(64).fill(7), flags: 3 },
    { name: '.data..percpu', address: 0n, bytes: new Array<number>(0x80).fill(0), flags: 3 },
  ];
  return elf(62, sections, stripped ? null : symbols);
}

export const ARM64_BASE = 0xffff_8000_0800_0000n;

/**
 * A small arm64 Image, which lies anywhere: its pointers are relocations.
 * @param base where it is linked
 */
export function arm64Image(order: KallsymsOrder, base = ARM64_BASE): Uint8Array {
  const TEXT = 0x1_0000;
  // read: ldr x0, [x0]; ret. read_nofault: ldr x0, [x0]; ret; mov x0, #-14; ret
  const code = insns(
    ...[0xf940_0000, 0xd65f_03c0],
    ...[0xf940_0000, 0xd65f_03c0, 0x9280_01a0, 0xd65f_03c0],
    // pointer: adrp x0, 0x60 pages on; ldr x0, [x0]; ret: what a relocation has put into the data
    ...[0x9000_0300, 0xf940_0000, 0xd65f_03c0],
  );
  const at = (offset: number) => base + BigInt(offset);
  const symbols: MadeSymbol[] = [
    { name: '_stext', type: 'T', address: at(TEXT) },
    { name: 'read', type: 'T', address: at(TEXT) },
    { name: 'read_nofault', type: 'T', address: at(TEXT + 8) },
    { name: 'pointer', type: 'T', address: at(TEXT + 24) },
    { name: '_etext', type: 'D', address: at(0x2_0000) },
    { name: '_sinittext', type: 'T', address: at(0x4_0000) },
    { name: '_einittext', type: 'T', address: at(0x5_0000) },
  ];
  const file = new Uint8Array(0x7_1000);
  const view = new DataView(file.buffer);
  view.setBigUint64(16, 0x8_0000n, true);
  view.setUint32(56, 0x644d_5241, true);
  file.set(code, TEXT);
  const tables = kallsyms(symbols, order, false);
  file.set(tables, 0x2_0000);
  // A table of entries: the first is real, the others guard places that nobody runs.
  for (let i = 0; i < 20; i++) {
    const entry = 0x3_0000 + i * 12;
    const insn = i === 0 ? TEXT + 8 : TEXT + 0x100 + i * 4;
    view.setInt32(entry, insn - entry, true);
    view.setInt32(entry + 4, (i === 0 ? TEXT + 16 : insn + 4) - entry - 4, true);
    view.setUint16(entry + 8, i === 0 ? 2 : 1, true);
    view.setUint16(entry + 10, 31 | (31 << 5), true);
  }
  // kallsyms_relative_base is a pointer: the place holds 0 until its relocation is applied.
  const places: [number, bigint][] = [];
  for (let offset = 0x2_0000; offset < 0x2_0000 + tables.length; offset += 8) {
    if (view.getBigUint64(offset, true) !== (at(TEXT) & ~0xfffn)) continue;
    places.push([offset, view.getBigUint64(offset, true)]);
    view.setBigUint64(offset, 0n, true);
  }
  places.push([0x7_0000, base], [0x7_0008, at(TEXT)]);
  for (let i = places.length; i < 20; i++) places.push([0x7_0000 + i * 8, at(TEXT)]);
  places.forEach(([offset, value], i) => {
    const entry = 0x6_0000 + i * 24;
    view.setBigUint64(entry, at(offset), true);
    view.setBigUint64(entry + 8, 1027n, true);
    view.setBigUint64(entry + 16, value, true);
  });
  return file;
}
