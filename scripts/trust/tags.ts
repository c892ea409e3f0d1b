// The `@kernel` tags of the source: which of our functions models which kernel function.
//   @kernel NAME[, NAME...] SOURCE read|derived|unverified[ - remark]
// SOURCE is a file of the kernel tree; sources.ts says in which version it was read. Left out: declarations without a
// docstring, which cannot carry a tag.
import ts from 'typescript';

export type Standing = 'read' | 'derived' | 'unverified';

/** One modelled kernel function. */
export interface KernelTag {
  readonly name: string;
  /** Path in the kernel tree. */
  readonly source: string;
  readonly standing: Standing;
  /** What differs between the series, or from the kernel. Empty if nothing. */
  readonly remark: string;
  /** Our file, and what in it carries the tag: `fixupException`, `RangeTree.find`. */
  readonly file: string;
  readonly symbol: string;
}

/** A docstring with the kernel functions it names. */
export interface Docstring {
  readonly file: string;
  readonly line: number;
  /** Kernel functions named with parentheses, `arena_map_alloc()`. */
  readonly names: readonly string[];
  /** The function that the text begins with, or null: then the docstring must carry its tag, if it is a function's. */
  readonly subject: string | null;
  readonly tagged: readonly string[];
  /** True for a function, method or constructor; false for a field, constant or type. */
  readonly callable: boolean;
}

/** A declaration that carries kernel tags. */
export interface TaggedNode {
  readonly node: ts.Node;
  readonly symbol: string;
}

export interface SourceFacts {
  readonly tags: readonly KernelTag[];
  readonly docstrings: readonly Docstring[];
}

const TAG = /^([\w]+(?:,\s*\w+)*)\s+(\S+\.[chS])\s+(read|derived|unverified)(?:\s+-\s+([\s\S]+))?$/;
// A name with an underscore and parentheses; `p?d_alloc()` stands for several and counts for none.
const NAME = /(?<![\w?.])(_*[a-z][a-z0-9]*(?:_[a-z0-9]+)+)\(/g;

/**
 * Reads tags and docstrings of one file.
 * @throws Error for a tag that does not follow the form
 */
export function readSource(file: string, text: string): SourceFacts {
  const tags: KernelTag[] = [];
  const docstrings: Docstring[] = [];
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const visit = (node: ts.Node): void => {
    for (const doc of docsOf(node)) {
      const own = tagsOf(doc, file).flatMap((tag) =>
        tag.names.map((name) => ({ ...tag, name, file, symbol: symbolOf(node) })),
      );
      tags.push(
        ...own.map(({ name, source, standing, remark, file, symbol }) => {
          return { name, source, standing, remark, file, symbol };
        }),
      );
      const prose = proseOf(doc.getText(source));
      docstrings.push({
        file,
        line: source.getLineAndCharacterOfPosition(doc.getStart(source)).line + 1,
        names: [...prose.matchAll(NAME)].map((match) => match[1]),
        subject: new RegExp(`^${NAME.source}`).exec(prose)?.[1] ?? null,
        tagged: own.map(({ name }) => name),
        callable: isCallable(node),
      });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { tags, docstrings };
}

/** The declarations of a file that carry kernel tags, outer ones first. */
export function taggedNodes(source: ts.SourceFile): TaggedNode[] {
  const found: TaggedNode[] = [];
  const visit = (node: ts.Node): void => {
    if (docsOf(node).some((doc) => tagsOf(doc, source.fileName).length > 0)) {
      found.push({ node, symbol: symbolOf(node) });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The docstrings at a node itself; the compiler offers those of the nodes around it as well. */
const docsOf = (node: ts.Node): readonly ts.JSDoc[] =>
  ts
    .getJSDocCommentsAndTags(node)
    .filter(ts.isJSDoc)
    .filter((doc) => doc.parent === node);

function tagsOf(doc: ts.JSDoc, file: string) {
  const found = (doc.tags ?? []).filter((tag) => tag.tagName.text === 'kernel');
  return found.map((tag) => {
    const text = ts.getTextOfJSDocComment(tag.comment) ?? '';
    const match = TAG.exec(text.replace(/\s+/g, ' ').trim());
    if (match === null) throw new Error(`${file}: not of the form of a kernel tag: ${text}`);
    const [, names, source, standing, remark = ''] = match;
    return { names: names.split(/,\s*/), source, standing: standing as Standing, remark };
  });
}

/** The text of a docstring without stars and without its kernel tags. */
const proseOf = (text: string): string =>
  text
    .replace(/^\/\*\*|\*\/$/g, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\*?\s?/, ''))
    .join(' ')
    .replace(/@kernel\b[^@]*/g, '')
    .trim();

function symbolOf(node: ts.Node): string {
  const holder = node.parent;
  const prefix = holder && ts.isClassDeclaration(holder) ? (holder.name?.text ?? '') : '';
  if (ts.isConstructorDeclaration(node)) return prefix;
  const name = ts.isVariableStatement(node)
    ? node.declarationList.declarations[0].name
    : (node as ts.NamedDeclaration).name;
  if (name === undefined)
    throw new Error(`a kernel tag on something without a name: ${node.getText()}`);
  return prefix ? `${prefix}.${name.getText()}` : name.getText();
}

function isCallable(node: ts.Node): boolean {
  if (ts.isVariableStatement(node)) {
    const value = node.declarationList.declarations[0].initializer;
    return value !== undefined && ts.isArrowFunction(value);
  }
  if (ts.isFunctionDeclaration(node) || ts.isConstructorDeclaration(node)) return true;
  return ts.isMethodDeclaration(node);
}
