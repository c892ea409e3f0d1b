// Macros of GNU as: how one is defined, how its arguments are read and put into its body. Left out: .altmacro, and
// arguments that only blanks separate (they are refused, since they may be one or several).
import { AssemblyError } from './error.ts';
import type { Statement } from './source.ts';

export interface Parameter {
  readonly name: string;
  readonly usually: string;
  readonly isRequired: boolean;
  /** Takes the rest, commas and all. */
  readonly takesRest: boolean;
}

export interface Macro {
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
}

const DEFINITION = /^\s*([\w.$]+)\s*,?\s*(.*)$/s;
const PARAMETER =
  /^([\w.$]+)\s*(?::\s*(req|vararg))?\s*(?:=\s*("[^"]*"|[^,\s]*))?(?:\s*,\s*|\s+|$)/i;

/** Name and parameters of `.macro`. @param rest what stands behind it */
export function readSignature(rest: Statement): { name: string; parameters: Parameter[] } {
  const [, name, list] = DEFINITION.exec(rest.text) ?? [];
  if (name === undefined) {
    throw new AssemblyError(rest, 'a macro needs a name', 'write .macro name parameter, ...');
  }
  const parameters: Parameter[] = [];
  for (let left = list.trim(); left !== ''; ) {
    const [whole, parameter, kind = '', usually = ''] = PARAMETER.exec(left) ?? [];
    if (whole === undefined) {
      throw new AssemblyError(
        rest,
        `"${left}" is no parameter`,
        'write name, name=default, name:req',
      );
    }
    parameters.push({
      name: parameter,
      usually: unquoted(usually),
      isRequired: kind.toLowerCase() === 'req',
      takesRest: kind.toLowerCase() === 'vararg',
    });
    left = left.slice(whole.length);
  }
  return { name: name.toLowerCase(), parameters };
}

const unquoted = (text: string) => text.replace(/^"(.*)"$/s, '$1');

/** Two words with nothing but blanks between them. */
const BLANK_SEPARATED = /[\w)\]"]\s+[\w([.$#"\\]/;

/** The arguments of a call by parameter. @throws AssemblyError */
export function readArguments(
  name: string,
  { parameters }: Macro,
  rest: Statement,
): Map<string, string> {
  const fail = (reason: string, remedy: string) => new AssemblyError(rest, reason, remedy);
  const given = new Map<string, string>();
  const pieces = splitArguments(rest.text);
  let next = 0;
  for (const [i, piece] of pieces.entries()) {
    const [, key, value] = /^([\w.$]+)\s*=(?!=)\s*(.*)$/s.exec(piece) ?? [];
    const named = parameters.find((parameter) => parameter.name === key);
    const parameter = named ?? parameters[next];
    if (parameter === undefined) {
      throw fail(`${name} takes ${parameters.length} arguments`, 'leave the others out');
    }
    if (named === undefined) next++;
    if (parameter.takesRest) {
      given.set(parameter.name, pieces.slice(i).join(','));
      break;
    }
    const text = named === undefined ? piece : value;
    if (!/^".*"$/s.test(text) && BLANK_SEPARATED.test(text)) {
      throw fail(`"${text}" may be one argument or several`, 'quote it, or write commas between');
    }
    if (text !== '') given.set(parameter.name, unquoted(text));
  }
  for (const { name: parameter, usually, isRequired } of parameters) {
    if (given.has(parameter)) continue;
    if (isRequired) throw fail(`${name} needs a value for ${parameter}`, 'give it');
    given.set(parameter, usually);
  }
  return given;
}

/** Cuts at commas that stand in no quotes, parentheses or brackets. */
export function splitArguments(text: string): string[] {
  const pieces: string[] = [];
  let depth = 0;
  let quoted = false;
  let piece = '';
  for (const sign of text) {
    if (sign === '"') quoted = !quoted;
    if (!quoted && /[([{]/.test(sign)) depth++;
    if (!quoted && /[)\]}]/.test(sign)) depth--;
    if (sign === ',' && !quoted && depth <= 0) {
      pieces.push(piece.trim());
      piece = '';
    } else piece += sign;
  }
  if (pieces.length > 0 || piece.trim() !== '') pieces.push(piece.trim());
  return pieces;
}

/** Puts values in the place of `\name`; `\()` ends a name, `\@` is how many macros were called before. */
export function substitute(
  statement: Statement,
  values: ReadonlyMap<string, string>,
  calls: number,
): Statement {
  const text = statement.text.replace(/\\(\(\)|@|[\w.$]+)/g, (whole, name: string) => {
    if (name === '()') return '';
    if (name === '@') return `${calls}`;
    return values.get(name) ?? whole;
  });
  return { ...statement, text };
}
