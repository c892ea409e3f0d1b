// Text that stands for other text: .rept, .irp, .irpc, .macro, and what .if leaves out. Statements come in as they were
// written and go on expanded, one by one, so that a condition sees what was defined before it. An expanded statement
// keeps the line that it was written in.
import { isMet, type Known, numberHere } from './condition.ts';
import { AssemblyError } from './error.ts';
import { type Macro, readArguments, readSignature, splitArguments, substitute } from './macro.ts';
import { type AsmArch, type Statement, splitStatements } from './source.ts';

/** More than any program has; a recursion or a count that is wrong must end. */
const MOST_STATEMENTS = 100_000;
const MOST_DEPTH = 32;

const LABELS = /^(?:[\w.$]+\s*:\s*)+/;
const WORD = /^[\w.$]+/;
const CONDITION = /^\.if(?:n?def|notdef|n?b|n?c|eqs|nes|eq|ne|gt|lt|ge|le)?$/;
const REPEAT = /^\.(?:rept|irpc?)$/;

/** Thrown by .exitm, caught by its macro. */
class ExitMacro extends Error {}

interface Block {
  readonly body: readonly Statement[];
  /** Index of the statement that ends it. */
  readonly end: number;
}

export class Expander {
  private readonly emit: (statement: Statement) => void;
  private readonly known: Known;
  private readonly arch: AsmArch;
  private readonly macros = new Map<string, Macro>();
  private count = 0;
  private calls = 0;

  /** @param emit takes each statement that stands for itself */
  constructor(arch: AsmArch, known: Known, emit: (statement: Statement) => void) {
    this.arch = arch;
    this.known = known;
    this.emit = emit;
  }

  /** @throws AssemblyError */
  run(statements: readonly Statement[]): void {
    try {
      this.expand(statements, 0);
    } catch (error) {
      if (!(error instanceof ExitMacro)) throw error;
      throw new AssemblyError(statements[0], '.exitm outside a macro', 'remove it');
    }
  }

  private expand(statements: readonly Statement[], depth: number): void {
    for (let i = 0; i < statements.length; i++) {
      const whole = statements[i];
      const labels = LABELS.exec(whole.text)?.[0] ?? '';
      const statement = behind(whole, labels.length);
      const word = WORD.exec(statement.text)?.[0].toLowerCase() ?? '';
      const rest = behind(statement, word.length);
      const isOurs = CONDITION.test(word) || word.startsWith('.') || this.macros.has(word);
      if (isOurs && labels !== '' && this.handles(word)) {
        this.pass({ ...whole, text: labels.trim() }, depth);
      }
      if (CONDITION.test(word)) i = this.choose(statements, i, word, rest, depth);
      else if (REPEAT.test(word)) {
        const block = blockOf(statements, i, (other) => REPEAT.test(other), '.endr');
        this.repeat(word, rest, block.body, depth);
        i = block.end;
      } else if (word === '.macro') {
        const block = blockOf(statements, i, (other) => other === '.macro', '.endm');
        const { name, parameters } = readSignature(rest);
        this.macros.set(name, { parameters, body: block.body });
        i = block.end;
      } else if (this.macros.has(word)) this.call(word, rest, depth);
      else if (word === '.purgem') this.macros.delete(rest.text.trim().toLowerCase());
      else if (word === '.exitm') throw new ExitMacro();
      else if (word === '.error' || word === '.err') {
        throw new AssemblyError(statement, rest.text.trim() || '.err', 'the text asks for this');
      } else if (/^\.(endm|endr|endif|else|elseif)$/.test(word)) {
        throw new AssemblyError(statement, `${word} ends nothing`, 'remove it');
      } else if (word !== '.print' && word !== '.warning') this.pass(whole, depth);
    }
  }

  /** A word that does not go on as it is. */
  private handles(word: string): boolean {
    return (
      CONDITION.test(word) ||
      REPEAT.test(word) ||
      this.macros.has(word) ||
      /^\.(macro|purgem|exitm|print|warning|err|error)$/.test(word)
    );
  }

  private pass(statement: Statement, depth: number): void {
    if (depth > 0 && ++this.count > MOST_STATEMENTS) {
      throw new AssemblyError(
        statement,
        `more than ${MOST_STATEMENTS} statements come of macros and repetitions`,
        'check the counts',
      );
    }
    this.emit(statement);
  }

  /** @returns index of .endif */
  private choose(
    statements: readonly Statement[],
    from: number,
    word: string,
    rest: Statement,
    depth: number,
  ): number {
    const branches: { met: () => boolean; body: Statement[] }[] = [];
    const add = (met: () => boolean) => void branches.push({ met, body: [] });
    add(() => isMet(word, rest, this.known));
    let nested = 0;
    for (let i = from + 1; i < statements.length; i++) {
      const statement = statements[i];
      const other = WORD.exec(statement.text)?.[0].toLowerCase() ?? '';
      if (CONDITION.test(other)) nested++;
      if (nested === 0 && other === '.else') add(() => true);
      else if (nested === 0 && other === '.elseif') {
        const asked = behind(statement, other.length);
        add(() => isMet(other, asked, this.known));
      } else if (other === '.endif' && nested-- === 0) {
        const chosen = branches.find(({ met }) => met());
        if (chosen !== undefined) this.expand(chosen.body, depth);
        return i;
      } else branches.at(-1)!.body.push(statement);
    }
    throw new AssemblyError(statements[from], `${word} without end`, 'close it with .endif');
  }

  private repeat(word: string, rest: Statement, body: readonly Statement[], depth: number): void {
    if (word === '.rept') {
      const times = numberHere(rest, this.known);
      for (let n = 0n; n < times && body.length > 0; n++) this.inner(body, depth, rest);
      return;
    }
    const [, name, list] = /^\s*([\w.$]+)\s*,?(.*)$/s.exec(rest.text) ?? [];
    if (name === undefined) {
      throw new AssemblyError(rest, `${word} needs a name`, `write ${word} name, values`);
    }
    const text = list.trim();
    const values = word === '.irp' ? splitArguments(text) : [...text.replace(/^"(.*)"$/s, '$1')];
    for (const value of values.length === 0 ? [''] : values) {
      const bound = new Map([[name, value.replace(/^"(.*)"$/s, '$1')]]);
      this.inner(this.filled(body, bound), depth, rest);
    }
  }

  private call(word: string, rest: Statement, depth: number): void {
    const macro = this.macros.get(word)!;
    const values = readArguments(word, macro, rest);
    const body = this.filled(macro.body, values);
    this.calls++;
    try {
      this.inner(body, depth, rest);
    } catch (error) {
      if (!(error instanceof ExitMacro)) throw error;
    }
  }

  private inner(body: readonly Statement[], depth: number, from: Statement): void {
    if (depth >= MOST_DEPTH) {
      throw new AssemblyError(from, 'macros are nested too deeply', 'one of them calls itself');
    }
    if (++this.count > MOST_STATEMENTS) this.pass(from, depth + 1);
    this.expand(body, depth + 1);
  }

  /** A body with its values; what they bring may be several statements. */
  private filled(body: readonly Statement[], values: ReadonlyMap<string, string>): Statement[] {
    return body.flatMap((statement) => {
      const made = substitute(statement, values, this.calls);
      if (made.text === statement.text) return [statement];
      const { line, column } = statement;
      return splitStatements(made.text, this.arch).map(({ text }) => ({ line, column, text }));
    });
  }
}

/** What is left of a statement behind its first characters. */
function behind(statement: Statement, length: number): Statement {
  const rest = statement.text.slice(length);
  const blanks = rest.length - rest.trimStart().length;
  return {
    line: statement.line,
    column: statement.column + length + blanks,
    text: rest.trim(),
  };
}

/** The statements from behind `from` to the end that belongs to it. */
function blockOf(
  statements: readonly Statement[],
  from: number,
  opens: (word: string) => boolean,
  end: string,
): Block {
  let nested = 0;
  for (let i = from + 1; i < statements.length; i++) {
    const word = WORD.exec(statements[i].text.replace(LABELS, ''))?.[0].toLowerCase() ?? '';
    if (opens(word)) nested++;
    if (word === end && nested-- === 0) return { body: statements.slice(from + 1, i), end: i };
  }
  const word = statements[from].text.split(/\s/)[0];
  throw new AssemblyError(statements[from], `${word} without end`, `close it with ${end}`);
}
