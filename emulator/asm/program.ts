// Reads a whole text into items: labels, local labels, assignments, directives, instructions and literal pools.
import type { Known } from './condition.ts';
import type { Dialect, ReadingContext } from './dialect.ts';
import { assignment, parseDirective, putLittleEndian } from './directives.ts';
import { AssemblyError } from './error.ts';
import { Expander } from './expand.ts';
import { addressWeight, type Expr, evaluate, isSymbolic, type Scope } from './expression.ts';
import type { Item } from './layout.ts';
import { type Statement, splitStatements } from './source.ts';
import { type Token, TokenReader, tokenize } from './tokens.ts';

/**
 * @param symbols bound from outside; a label of the same name is an error
 * @throws AssemblyError at the first statement that cannot be read
 */
export function readProgram(
  text: string,
  dialect: Dialect,
  symbols: ReadonlyMap<string, bigint>,
): Item[] {
  const program = new Program(dialect, symbols);
  const expander = new Expander(dialect.arch, program, (statement) => program.read(statement));
  expander.run(splitStatements(text, dialect.arch));
  program.flushLiterals();
  return program.items;
}

/** What changes the section, and the name of the new one. */
const SECTION = /^\.(?:text\b|popsection\b|previous\b|(?:push)?section\s+"?([\w.-]+))/i;

/** Compilers end their output with these. */
const DESCRIPTION = /^\.(note|comment|debug|eh_frame)/;

interface Literal {
  readonly label: string;
  /** Of constants that share a place. */
  readonly key: string;
  readonly size: 4 | 8;
  readonly statement: Statement;
  value(scope: Scope): bigint;
}

class Program implements Known {
  readonly items: Item[] = [];
  private readonly labels = new Set<string>();
  private readonly constants = new Set<string>();
  /** Values of those that are known where they are set. */
  private readonly numbers = new Map<string, bigint>();
  /** How often each local label has been defined so far. */
  private readonly locals = new Map<string, number>();
  private literals: Literal[] = [];
  private literalCount = 0;
  /** What came last is no instruction. */
  private isBehindData = false;
  /** Inside a section that only describes the object file. */
  private isPassing = false;
  private readonly dialect: Dialect;
  private readonly symbols: ReadonlyMap<string, bigint>;

  constructor(dialect: Dialect, symbols: ReadonlyMap<string, bigint>) {
    this.dialect = dialect;
    this.symbols = symbols;
  }

  read(statement: Statement): void {
    const section = SECTION.exec(statement.text);
    if (section !== null) this.isPassing = DESCRIPTION.test(section[1] ?? '');
    if (this.isPassing) return;
    const reader = new TokenReader(statement, this.bindLocals(tokenize(statement)));
    while (this.acceptLabel(reader, statement));
    if (reader.done) return;
    const first = reader.peek();
    if (first.type !== 'name') {
      throw reader.error(
        `no instruction begins with "${first.text}"`,
        'write a label, a directive or an instruction',
      );
    }
    if (reader.isPunct('=', 1)) {
      reader.take();
      reader.take();
      this.add(assignment(first.text, reader, this.dialect));
    } else if (/^\.(ltorg|pool)$/i.test(first.text) && this.dialect.arch === 'arm64') {
      this.flushLiterals();
    } else if (first.text.startsWith('.') && first.text.toLowerCase() !== '.inst') {
      this.add(parseDirective(reader, this.dialect, this.context(statement)));
    } else {
      this.add(this.dialect.parse(reader, this.context(statement)));
    }
  }

  numberOf(name: string): bigint | null {
    return this.numbers.get(name) ?? this.symbols.get(name) ?? null;
  }

  isDefined(name: string): boolean {
    return this.labels.has(name) || this.constants.has(name) || this.symbols.has(name);
  }

  /** Puts the waiting constants of `ldr x0, =value` here. Also called at the end of the program. */
  flushLiterals(): void {
    // In GNU as's order: the small ones first, each size aligned to itself.
    for (const size of [4, 8]) {
      const literals = this.literals.filter((literal) => literal.size === size);
      if (literals.length > 0) this.items.push(alignment(literals[0].statement, BigInt(size)));
      for (const literal of literals) this.items.push(...literalItems(literal));
    }
    if (this.literals.length > 0) this.isBehindData = true;
    this.literals = [];
  }

  private context(statement: Statement): ReadingContext {
    return {
      isConstant: (name) => this.constants.has(name),
      literal: (size, expr, value) => {
        const key = poolKey(expr);
        const known = this.literals.find((literal) => literal.size === size && literal.key === key);
        if (known !== undefined) return known.label;
        const label = `0#literal${this.literalCount++}`;
        this.literals.push({ label, key, size, statement, value });
        return label;
      },
    };
  }

  private add(item: Item | null): void {
    if (item === null) return;
    if (item.set !== undefined) this.checkAssignment(item.set.name, item);
    const { arch } = this.dialect;
    // GNU as does so silently where data goes over into code; labels between them stay behind.
    if (arch === 'arm64' && item.isCode && this.isBehindData) {
      this.items.push(alignment({ ...item.statement, text: '.balign 4' }, 4n));
    }
    if (item.encode !== undefined) this.isBehindData = !item.isCode;
    this.items.push(item);
  }

  private checkAssignment(name: string, item: Item): void {
    if (this.labels.has(name)) throw redefined(item.statement, name);
    const isNumber = addressWeight(item.set!.expr, (other) => this.constants.has(other)) === 0;
    if (isNumber) this.constants.add(name);
    else this.constants.delete(name);
    try {
      const scope = { here: 0n, lookup: (other: string) => this.numberOf(other) };
      if (isNumber) this.numbers.set(name, item.set!.value(scope));
    } catch {
      // It needs what comes later.
      this.numbers.delete(name);
    }
  }

  private acceptLabel(reader: TokenReader, statement: Statement): boolean {
    const token = reader.peek();
    // `fs:[0x28]` cannot begin a statement, so a colon after the first name is always a label's.
    if (!reader.isPunct(':', 1)) return false;
    if (token.type === 'number' && /^\d+$/.test(token.text)) {
      const count = (this.locals.get(token.text) ?? 0) + 1;
      this.locals.set(token.text, count);
      this.items.push({ statement, label: localName(token.text, count) });
    } else if (token.type === 'name' && token.text !== '.') {
      const isTaken =
        this.labels.has(token.text) ||
        this.symbols.has(token.text) ||
        this.constants.has(token.text);
      if (isTaken) throw redefined({ ...statement, column: token.column }, token.text);
      this.labels.add(token.text);
      this.items.push({ statement, label: token.text });
    } else {
      return false;
    }
    reader.take();
    reader.take();
    return true;
  }

  /** Turns `1b` and `1f` into the names of the definitions they mean. */
  private bindLocals(tokens: readonly Token[]): Token[] {
    const own = new Map<string, number>();
    return tokens.map((token, i) => {
      const isLabel = token.type === 'number' && tokens[i + 1]?.text === ':';
      if (isLabel) own.set(token.text, (own.get(token.text) ?? 0) + 1);
      if (token.type !== 'local') return token;
      const number = String(BigInt(token.text.slice(0, -1)));
      const seen = (this.locals.get(number) ?? 0) + (own.get(number) ?? 0);
      const count = token.text.endsWith('b') ? seen : seen + 1;
      return { ...token, text: localName(number, count) };
    });
  }
}

/** Numbers by their value, everything else by how it is made. */
function poolKey(expr: Expr): string {
  if (isSymbolic(expr)) {
    return JSON.stringify(expr, (name, value) => {
      if (name === 'column') return undefined;
      return typeof value === 'bigint' ? `${value}` : value;
    });
  }
  const fail = (reason: string) => new RangeError(reason);
  try {
    return `${evaluate(expr, { here: 0n, lookup: () => null }, fail as never)}`;
  } catch {
    return JSON.stringify(expr, (_, value) => (typeof value === 'bigint' ? `${value}` : value));
  }
}

const alignment = (statement: Statement, boundary: bigint): Item => ({
  statement,
  encode: ({ here }) => new Uint8Array(Number(BigInt.asUintN(64, -here) % boundary)),
});

const literalItems = ({ label, size, statement, value }: Literal): Item[] => [
  { statement, label },
  {
    statement,
    encode(scope) {
      const bytes = new Uint8Array(size);
      putLittleEndian(bytes, 0, size, value(scope));
      return bytes;
    },
  },
];

const localName = (number: string, count: number) => `${number}#${count}`;

const redefined = (place: { line: number; column: number }, name: string) =>
  new AssemblyError(place, `symbol "${name}" is defined twice`, 'rename one of the two');
