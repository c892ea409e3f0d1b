// Objects that rustc makes (fixtures/rust), with the core library and without, in both schemes of names.
import { describe, expect, it } from 'vitest';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const OBJECTS: readonly [file: string, arch: ArchName][] = [
  ['v0-x86_64.o', 'x86_64'],
  ['legacy-x86_64.o', 'x86_64'],
  ['no-core-x86_64.o', 'x86_64'],
  ['no-core-arm64.o', 'arm64'],
];
const run = (file: string, arch: ArchName, symbol: string, args: string, more = '') =>
  runYaml(
    host,
    `arch: ${arch}\narena: {alloc: [[0, 1]], init: [{offset: 0xff8, hex: "0500000000000000"}]}\nobject: rust/${file}\nsymbol: "${symbol}"\nargs: [${args}]\n${more}`,
    arch,
  );

describe.each(OBJECTS)('%s', (file, arch) => {
  it('runs over the end of what is allocated', () => {
    // Three words: 5, and two of the scratch page. Each is tripled, and 1 added.
    const done = run(
      file,
      arch,
      'sum',
      '{arena: 0xff8}, 3',
      'expect: {ret: 18, faults: [{page: 1}]}',
    );
    expect(done.failures).toEqual([]);
    expect(done.steps[0].seen as CallSeen).toMatchObject({ outcome: 'returned' });
  });

  it('is called by the name that people write', () => {
    const symbol = file.startsWith('no-core') ? 'kfuncs::words::at' : 'kfuncs::scale';
    expect(run(file, arch, symbol, '{arena: 0}, 1').failures).toEqual([]);
  });
});

it('names functions that one name stands for', () => {
  expect(() => run('legacy-x86_64.o', 'x86_64', 'kfuncs::words::Sum::add', '0, 1')).toThrow(
    /kfuncs::words::Sum::add is the name of several functions/,
  );
});
