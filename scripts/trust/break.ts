// Instruments the tagged functions of a source file: each asks at its start whether it is to do nothing, and so can be
// switched off at run time. Left out: tagged constants and fields, which have no body.
import ts from 'typescript';
import { taggedNodes } from './tags.ts';

interface Edit {
  readonly at: number;
  readonly text: string;
}

/** What identifies a tagged function: `bpf/range-tree.ts#RangeTree.find`. */
export const idOf = (file: string, symbol: string): string => `${file}#${symbol}`;

/** The name of the global function that instrumented code asks. It returns true for a function to leave out. */
export const ASKED = '__leaveOutKernelFunction';

/** @returns the instrumented text, and the ids of the functions in it */
export function instrument(
  file: string,
  text: string,
): { readonly text: string; readonly ids: readonly string[] } {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const ids: string[] = [];
  const edits = taggedNodes(source).flatMap(({ node, symbol }) => {
    const id = idOf(file, symbol);
    const question = `globalThis.${ASKED}?.(${JSON.stringify(id)})`;
    const found = editsFor(node, question);
    if (found.length > 0) ids.push(id);
    return found;
  });
  let result = text;
  for (const { at, text: inserted } of [...edits].sort((a, b) => b.at - a.at)) {
    result = result.slice(0, at) + inserted + result.slice(at);
  }
  return { text: result, ids };
}

function editsFor(node: ts.Node, question: string): Edit[] {
  const callable = callableOf(node);
  if (callable?.body === undefined) return [];
  const { body } = callable;
  if (!ts.isBlock(body)) {
    return [
      { at: body.getStart(), text: `${question} ? undefined as never : (` },
      { at: body.end, text: ')' },
    ];
  }
  // A constructor has fields to set; without them nothing of the class works, which is no test of it.
  const what = ts.isConstructorDeclaration(callable)
    ? 'throw new Error("left out")'
    : 'return undefined as never';
  return [{ at: body.getStart() + 1, text: ` if (${question}) ${what};` }];
}

function callableOf(node: ts.Node): ts.FunctionLikeDeclaration | null {
  if (ts.isVariableStatement(node)) {
    const value = node.declarationList.declarations[0].initializer;
    return value !== undefined && ts.isArrowFunction(value) ? value : null;
  }
  if (ts.isFunctionDeclaration(node) || ts.isConstructorDeclaration(node)) return node;
  return ts.isMethodDeclaration(node) ? node : null;
}
