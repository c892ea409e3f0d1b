// GNU as's directives that make sense for one piece of code without sections. What only describes the object file is
// passed over; what would put bytes elsewhere is refused. Macros and conditions are expand.ts's. Left out: included files.
import { hex, u64 } from '../bits.ts';
import type { Dialect, ReadingContext } from './dialect.ts';
import { AssemblyError } from './error.ts';
import { addressWeight, type Expr, evaluate, parseExpr, type Scope } from './expression.ts';
import { type Item, MAX_PROGRAM } from './layout.ts';
import type { Statement } from './source.ts';
import type { TokenReader } from './tokens.ts';

const EMPTY = new Uint8Array(0);

/** Directives that say something about the object file, its debug information or the syntax already in force. */
const PASSED_OVER = new Set(
  (
    '.text .globl .global .type .size .local .weak .hidden .protected .internal .file .loc .ident .version ' +
    '.arch .cpu .arch_extension .code64 .variant_pcs .addrsig .eject .title .sbttl .psize .list .nolist'
  ).split(' '),
);

const DATA_SIZES: Record<string, number> = {
  '.byte': 1,
  '.short': 2,
  '.hword': 2,
  '.2byte': 2,
  '.value': 2,
  '.int': 4,
  '.long': 4,
  '.4byte': 4,
  '.quad': 8,
  '.xword': 8,
  '.dword': 8,
  '.8byte': 8,
  '.octa': 16,
};

const REFUSED: Record<string, string> = {
  '.include': 'put the text of the file here',
  '.incbin': 'write the bytes with .byte, or load the file as `init` data',
  '.att_syntax': 'write Intel syntax: destination first, no % and $',
  '.code32': 'only 64-bit code runs here',
  '.code16': 'only 64-bit code runs here',
  '.end': 'remove it and what follows it',
  '.comm': 'use a label and .zero',
  '.lcomm': 'use a label and .zero',
};

/** @returns the item, or null if the directive has no effect here. @throws AssemblyError */
export function parseDirective(
  reader: TokenReader,
  dialect: Dialect,
  context: ReadingContext,
): Item | null {
  const token = reader.take();
  const name = token.text.toLowerCase();
  const { statement } = reader;
  if (PASSED_OVER.has(name) || name.startsWith('.cfi_')) return null;
  if (name === '.intel_syntax' && dialect.arch === 'x86_64') return null;
  if (name === '.section' || name === '.pushsection') return section(reader);
  if (name === '.popsection' || name === '.previous') return null;
  const size = name === '.word' ? dialect.wordSize : DATA_SIZES[name];
  if (size !== undefined) return data(statement, list(reader, dialect), size);
  switch (name) {
    case '.ascii':
    case '.asciz':
    case '.string':
      return text(reader, name !== '.ascii');
    case '.float':
    case '.single':
    case '.double':
      return floats(reader, name === '.double' ? 8 : 4);
    case '.align':
      return align(reader, dialect, dialect.alignIsPower);
    case '.balign':
      return align(reader, dialect, false);
    case '.p2align':
      return align(reader, dialect, true);
    case '.org':
      return org(reader, dialect, context);
    case '.zero':
    case '.space':
    case '.skip':
      return space(reader, dialect);
    case '.fill':
      return fill(reader, dialect);
    case '.set':
    case '.equ':
    case '.equiv':
      return setSymbol(reader, dialect);
  }
  if (name in REFUSED) {
    throw reader.error(`${name} cannot be honoured here`, REFUSED[name], token);
  }
  throw reader.error(
    `unknown directive ${token.text}`,
    'use .byte .short .long .quad .ascii .asciz .balign .p2align .org .zero .fill .set',
    token,
  );
}

/** The rest of `name = value`, or of `.set name, value` from the name on. */
export function assignment(name: string, reader: TokenReader, dialect: Dialect): Item {
  const { statement } = reader;
  const expr = parseExpr(reader, dialect.names);
  reader.expectEnd();
  return {
    statement,
    set: { name, expr, value: (scope) => evaluate(expr, scope, failAt(statement)) },
  };
}

export const failAt =
  (statement: Statement) =>
  (reason: string, remedy: string, column = statement.column) =>
    new AssemblyError({ line: statement.line, column }, reason, remedy);

function section(reader: TokenReader): null {
  const token = reader.peek();
  const name = token.type === 'string' ? token.text.slice(1, -1) : token.text;
  if (/^\.(init\.|noinstr\.|entry\.)?text\b/.test(name)) return null;
  throw reader.error(
    `section "${name}" has no place here: everything is one piece of code`,
    'keep code and its data in .text; exception tables are given beside the code, not in it',
    token,
  );
}

function list(reader: TokenReader, dialect: Dialect): Expr[] {
  const values: Expr[] = [];
  if (reader.done) return values;
  do values.push(parseExpr(reader, dialect.names));
  while (reader.accept(','));
  reader.expectEnd();
  return values;
}

function data(statement: Statement, values: Expr[], size: number): Item {
  return {
    statement,
    encode(scope) {
      const bytes = new Uint8Array(values.length * size);
      values.forEach((expr, i) => {
        // The location counter of a list moves on from value to value.
        const own = { here: scope.here + BigInt(i * size), lookup: scope.lookup };
        const value = evaluate(expr, own, failAt(statement));
        checkRange(statement, value, size * 8);
        putLittleEndian(bytes, i * size, size, value);
      });
      return bytes;
    },
  };
}

/** @throws AssemblyError unless the value fits into `bits` bits, as unsigned or as signed number */
function checkRange(statement: Statement, value: bigint, bits: number): void {
  const limit = 1n << BigInt(bits);
  if (value < limit && value >= -(limit >> 1n)) return;
  throw new AssemblyError(
    statement,
    `${value} does not fit into ${bits} bits`,
    'use a wider directive or mask the value',
  );
}

/** Stores `size` bytes of `value`, lowest first. */
export function putLittleEndian(into: Uint8Array, at: number, size: number, value: bigint): void {
  let rest = BigInt.asUintN(size * 8, value);
  for (let i = 0; i < size; i++) {
    into[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
}

function text(reader: TokenReader, terminated: boolean): Item {
  const { statement } = reader;
  const bytes: number[] = [];
  do {
    const token = reader.take();
    if (token.bytes === undefined) throw reader.error('expected a string', 'write "text"', token);
    bytes.push(...token.bytes);
    if (terminated) bytes.push(0);
  } while (reader.accept(','));
  reader.expectEnd();
  const encoded = Uint8Array.from(bytes);
  return { statement, encode: () => encoded };
}

function floats(reader: TokenReader, size: 4 | 8): Item {
  const { statement } = reader;
  const values: number[] = [];
  do {
    const sign = reader.accept('-') ? -1 : 1;
    const token = reader.take();
    if (token.type !== 'float' && token.type !== 'number') {
      throw reader.error('expected a number', 'write 1.5', token);
    }
    values.push(sign * Number(token.text));
  } while (reader.accept(','));
  reader.expectEnd();
  const encoded = new Uint8Array(values.length * size);
  const view = new DataView(encoded.buffer);
  values.forEach((value, i) => {
    if (size === 8) view.setFloat64(i * 8, value, true);
    else view.setFloat32(i * 4, value, true);
  });
  return { statement, encode: () => encoded };
}

/** Alignment counts from address 0, which is what the loaded code sees. */
function align(reader: TokenReader, dialect: Dialect, isPower: boolean): Item {
  const { statement } = reader;
  const token = reader.peek();
  const boundary = constant(reader, dialect, isPower ? 24n : 1n << 24n);
  const alignment = isPower ? 1n << boundary : boundary;
  if (alignment !== 0n && (alignment & (alignment - 1n)) !== 0n) {
    throw reader.error(`${alignment} is no power of two`, 'align to 2, 4, 8, 16, ...', token);
  }
  let value: number | null = null;
  let most = MAX_PROGRAM;
  if (reader.accept(',')) {
    if (!reader.isPunct(',') && !reader.done) value = Number(constant(reader, dialect, 255n));
    if (reader.accept(',')) most = Number(constant(reader, dialect, BigInt(MAX_PROGRAM)));
  }
  reader.expectEnd();
  return {
    statement,
    encode({ here }) {
      const gap = alignment === 0n ? 0 : Number(u64(-here) & (alignment - 1n));
      if (gap > most) return EMPTY;
      return value === null ? dialect.padding(gap) : new Uint8Array(gap).fill(value);
    },
  };
}

/** `.org n`: forward to offset n from the first byte, or to a label's address. */
function org(reader: TokenReader, dialect: Dialect, context: ReadingContext): Item {
  const { statement } = reader;
  const target = parseExpr(reader, dialect.names);
  const isOffset = addressWeight(target, context.isConstant) === 0;
  const value = reader.accept(',') ? Number(constant(reader, dialect, 255n)) : 0;
  reader.expectEnd();
  return {
    statement,
    encode(scope) {
      const wanted = evaluate(target, scope, failAt(statement));
      const start = scope.lookup(START_SYMBOL)!;
      const end = isOffset ? start + wanted : wanted;
      return gapOf(statement, end - scope.here, value, '.org goes backwards');
    },
  };
}

/** The address of the first byte, under a name that no source can spell. */
export const START_SYMBOL = ' start';

function space(reader: TokenReader, dialect: Dialect): Item {
  const { statement } = reader;
  const count = parseExpr(reader, dialect.names);
  const value = reader.accept(',') ? Number(constant(reader, dialect, 255n)) : 0;
  reader.expectEnd();
  return {
    statement,
    encode: (scope) =>
      gapOf(statement, evaluate(count, scope, failAt(statement)), value, 'negative size'),
  };
}

function gapOf(statement: Statement, length: bigint, value: number, negative: string): Uint8Array {
  if (length < 0n) throw new AssemblyError(statement, `${negative} (${length})`, 'correct it');
  if (length > BigInt(MAX_PROGRAM)) {
    throw new AssemblyError(
      statement,
      `${hex(u64(length))} bytes are too many`,
      `a program has at most ${hex(MAX_PROGRAM)} bytes`,
    );
  }
  return new Uint8Array(Number(length)).fill(value);
}

/** `.fill repeat, size, value` */
function fill(reader: TokenReader, dialect: Dialect): Item {
  const { statement } = reader;
  const repeat = parseExpr(reader, dialect.names);
  const size = reader.accept(',') ? Number(constant(reader, dialect, 8n)) : 1;
  const value = reader.accept(',') ? parseExpr(reader, dialect.names) : null;
  reader.expectEnd();
  return {
    statement,
    encode(scope: Scope) {
      const fail = failAt(statement);
      const count = evaluate(repeat, scope, fail);
      const bytes = gapOf(statement, count * BigInt(size), 0, 'negative size');
      const word = value === null ? 0n : evaluate(value, scope, fail);
      // What is beyond four bytes of it is zero, says GNU as's manual.
      const told = Math.min(size, 4);
      for (let at = 0; at < bytes.length; at += size) putLittleEndian(bytes, at, told, word);
      return bytes;
    },
  };
}

function setSymbol(reader: TokenReader, dialect: Dialect): Item {
  const token = reader.take();
  if (token.type !== 'name' || token.text === '.') {
    throw reader.error('expected the name of a symbol', 'write .set name, value', token);
  }
  reader.expect(',');
  return assignment(token.text, reader, dialect);
}

/** A number that must be known at once: no symbols. */
function constant(reader: TokenReader, dialect: Dialect, most: bigint): bigint {
  const token = reader.peek();
  const expr = parseExpr(reader, dialect.names);
  const value = evaluate(
    expr,
    { here: 0n, lookup: () => null },
    (reason, _remedy, column = token.column) =>
      new AssemblyError({ line: reader.statement.line, column }, reason, 'write a plain number'),
  );
  if (value < 0n || value > most) {
    throw reader.error(`${value} is not between 0 and ${most}`, 'correct the number', token);
  }
  return value;
}
