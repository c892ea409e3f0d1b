// run --list: what objects, members of archives and compressed files offer and need.
import { describe, expect, it } from 'vitest';
import { faultline } from './test-cli.ts';

const OBJECTS = 'fixtures/objects';

describe('run --list', () => {
  it('tells functions, variables, needs and tables', async () => {
    const { exitCode, stdout } = await faultline(['run', `${OBJECTS}/kfuncs-x86_64.o`, '--list']);
    expect(exitCode).toBe(0);
    expect(stdout).toBe(`fixtures/objects/kfuncs-x86_64.o: object for x86_64

functions: 4
  0x56      .text               sum
  0x20      .text               copy
  0x16      .text               indirect
  0x9       .text               read_nofault

variables: 4
  0x10      .rodata             weights  (local)
  0x8       .bss                calls  (local)
  0x8       .data               total
  0x8       .data               operation

needs: 1
  memcpy      a built-in routine

tables: 1
  __ex_table          1 entry
`);
  });

  it('reads compressed objects and members of archives, as JSON too', async () => {
    const packed = await faultline(['run', `${OBJECTS}/kfuncs-arm64.o.xz`, '--list', '--json']);
    expect(JSON.parse(packed.stdout)).toMatchObject({
      arch: 'arm64',
      kind: 'object',
      functions: [{ name: 'sum', section: '.text' }, {}, {}, { name: 'read_nofault' }],
      needs: [{ name: 'memcpy', by: 'stub' }],
    });
    const archive = `${OBJECTS}/kfuncs-x86_64.a`;
    const member = await faultline(['run', archive, '--symbol', 'sum', '--list', '--json']);
    expect(JSON.parse(member.stdout)).toMatchObject({
      file: `${archive}(kfuncs-x86_64.o)`,
      needs: [{ name: 'memcpy', by: 'archive' }],
    });
  });

  it('refuses what is no object, with what to do', async () => {
    for (const file of ['fixtures/first-fault.yaml', `${OBJECTS}/kfuncs-x86_64.a`]) {
      const { exitCode, stdout, stderr } = await faultline(['run', file, '--list']);
      expect([file, exitCode, stdout]).toEqual([file, 2, '']);
      expect(stderr).toMatch(/^faultline: \S.*\n {2}\S.*\n$/);
    }
  });
});
