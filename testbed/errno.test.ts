import { expect, it } from 'vitest';
import { errnoByName, formatErrno } from './errno.ts';

it('names are known with and without their minus', () => {
  expect(errnoByName('-EBUSY')).toBe(-16);
  expect(errnoByName('ETIMEDOUT')).toBe(-110);
  expect(errnoByName('EWHATEVER')).toBeUndefined();
  expect(errnoByName('constructor')).toBeUndefined();
});

it('values are shown by name', () => {
  expect([0, -16, -524, -4000].map(formatErrno)).toEqual(['0', '-EBUSY', '-ENOTSUPP', '-4000']);
});
