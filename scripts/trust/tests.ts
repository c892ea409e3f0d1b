// The tests of a file by title, as they are written: `it.each` counts once, with its placeholders.
import ts from 'typescript';

export interface WrittenTest {
  readonly file: string;
  /** With the titles of the groups around it: `range tree > is empty after destroy`. */
  readonly title: string;
  readonly body: string;
}

/** The tests of a file, in their order. */
export function testsOf(file: string, text: string): WrittenTest[] {
  const tests: WrittenTest[] = [];
  const visit = (node: ts.Node, group: string): void => {
    let inner = group;
    const runner = ts.isCallExpression(node) ? runnerOf(node) : null;
    if (ts.isCallExpression(node) && runner !== null) {
      const [first] = node.arguments;
      if (first !== undefined && isText(first)) {
        inner = group ? `${group} > ${textOf(first)}` : textOf(first);
        if (runner === 'it') tests.push({ file, title: inner, body: node.getText() });
      }
    }
    ts.forEachChild(node, (child) => visit(child, inner));
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true), '');
  return tests;
}

/** `it` or `describe` of `it('…')`, `it.each([…])('…')`, `describe.each…`; null for other calls. */
function runnerOf(call: ts.CallExpression): 'it' | 'describe' | null {
  let callee: ts.Expression = call.expression;
  while (ts.isCallExpression(callee) || ts.isPropertyAccessExpression(callee)) {
    callee = callee.expression;
  }
  if (!ts.isIdentifier(callee)) return null;
  if (callee.text === 'it' || callee.text === 'test') return 'it';
  return callee.text === 'describe' ? 'describe' : null;
}

const isText = (node: ts.Expression): boolean =>
  ts.isStringLiteralLike(node) || ts.isTemplateExpression(node);

const textOf = (node: ts.Expression): string =>
  ts.isStringLiteralLike(node) ? node.text : node.getText().slice(1, -1);

// What stands for a value in a title: %s and its kin, $name of tables, ${…} of templates.
const PLACEHOLDER = /%[sdifjoxX#$]|\$\{[^}]*\}|\$[\w.]+/;

/** Whether `ran`, a title as the runner reports it, may come of `written`. */
export function titleMatches(written: string, ran: string): boolean {
  const parts = written
    .split(PLACEHOLDER)
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[\\s\\S]*?')}$`).test(ran);
}
