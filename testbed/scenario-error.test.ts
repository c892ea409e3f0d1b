import { expect, it } from 'vitest';
import { formatPath, nearest, type Problem, ScenarioError } from './scenario-error.ts';

const problem = (line: number, message: string, remedy = 'mend it'): Problem => ({
  ...{ line, column: 1, path: 'a.b', message, remedy },
});

it('one problem is told with its own remedy', () => {
  const error = new ScenarioError('f.yaml', [problem(7, 'wrong')]);
  expect(error).toMatchObject({ file: 'f.yaml', line: 7, column: 1, remedy: 'mend it' });
  expect(error.message).toBe('f.yaml:7:1: a.b: wrong');
});

it('several are sorted by line, repetitions dropped, and cut at twenty', () => {
  const many = Array.from({ length: 30 }, (_, i) => problem(30 - i, `wrong ${i}`));
  const error = new ScenarioError('f.yaml', [...many, problem(30, 'wrong 0')]);
  expect(error.problems).toHaveLength(20);
  expect(error.line).toBe(1);
  expect(error.message.split('\n').at(-1)).toBe('and 10 more');
  expect(error.message.match(/mend it/g)).toHaveLength(1);
});

it('paths read like keys', () => {
  expect(formatPath(['steps', 2, 'expect', 'freed'])).toBe('steps[2].expect.freed');
  expect(formatPath([])).toBe('');
});

it.each([
  ['page', 'pages'],
  ['pgaes', 'pages'],
  ['user_vm_strat', 'user_vm_start'],
  ['Alloc', 'alloc'],
  ['user', 'user_vm_start'],
  ['zzz', null],
  ['x', null],
])('the nearest key to %s is %s', (word, key) => {
  expect(nearest(word, ['pages', 'user_vm_start', 'flags', 'alloc', 'init'])).toBe(key);
});
