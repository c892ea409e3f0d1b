import { expect, it } from 'vitest';
import { makeStandings, TABLE } from './gen-standings.ts';
import { read } from './trust/files.ts';

it(`${TABLE} is fresh`, () => {
  expect(read(TABLE)).toBe(makeStandings());
});
