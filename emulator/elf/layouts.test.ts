// Layouts of structures out of DWARF and BTF: of objects that are there, of those that compilers at hand make, and of
// damaged ones.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { GCC, isInstalled } from '../test-tools.ts';
import { type Layouts, readLayouts, type StructLayout } from './layouts.ts';
import { readElf } from './read.ts';

const FOLDER = new URL('../../fixtures/replace/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'faultline-layouts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const layoutsOf = (path: string): Layouts | null =>
  readLayouts(readElf(new Uint8Array(readFileSync(path))));

const offsets = (layout: StructLayout | null) =>
  layout && Object.fromEntries([...layout.members].map(([name, m]) => [name, [m.offset, m.size]]));

/** What kernel.h says, laid out by hand after the psABIs, which agree here. */
function check(layouts: Layouts | null): void {
  expect(layouts).not.toBeNull();
  const struct = (name: string) => layouts!.struct(name);
  expect(offsets(struct('apply_range_data'))).toEqual({
    pages: [0, 8],
    scratch_page: [8, 8],
    i: [16, 4],
  });
  expect(struct('apply_range_data')?.size).toBe(24);
  // Two unions and a structure without names lie between page and pcp_llist.
  expect(struct('page')?.members.get('pcp_llist')).toEqual({ offset: 8, size: 8 });
  expect(struct('page')?.members.get('words')).toEqual({ offset: 8, size: 40 });
  expect(struct('page')?.members.get('_refcount')).toEqual({ offset: 52, size: 4 });
  expect(struct('page')?.size).toBe(64);
  expect(offsets(struct('bpf_arena'))).toEqual({
    map: [0, 32],
    user_vm_start: [32, 8],
    user_vm_end: [40, 8],
    kern_vm: [48, 8],
    scratch_page: [56, 8],
    range_tree: [64, 32],
    spinlock: [96, 4],
    free_spans: [104, 8],
    free_irq: [112, 32],
  });
  expect(struct('no_such_struct')).toBeNull();
}

describe('layouts of compiled structures', () => {
  it.each(['mainline-x86_64-O0', 'mainline-x86_64-O2', 'mainline-arm64-O0', 'mainline-arm64-O2'])(
    'gcc, DWARF 5: %s',
    (name) => check(layoutsOf(`${FOLDER}${name}.o`)),
  );

  it.each(['btf-x86_64', 'btf-arm64'])('pahole, BTF: %s', (name) =>
    check(layoutsOf(`${FOLDER}${name}.o`)),
  );

  const commands = [
    [GCC.x86_64, '-gdwarf-4'],
    [GCC.x86_64, '-gdwarf-5', '-gdwarf64'],
    ['clang', '-gdwarf-4'],
    ['clang', '-gdwarf-5'],
    ['clang', '--target=aarch64-linux-gnu', '-gdwarf-5', '-march=armv8.1-a'],
  ];
  for (const [compiler, ...flags] of commands) {
    const name = `${compiler} ${flags.join(' ')}`;
    it.skipIf(!isInstalled(compiler))(`${name}, skipped without that compiler`, () => {
      const object = join(folder, 'a.o');
      const args = [...flags, '-c', '-O2', '-ffreestanding', `${FOLDER}arena.c`, '-o', object];
      const done = spawnSync(compiler, args, { encoding: 'utf8' });
      expect([done.status, done.stderr]).toEqual([0, '']);
      check(layoutsOf(object));
    });
  }

  it('are none without debugging data', () => {
    expect(layoutsOf(new URL('../../fixtures/elf/sample-x86_64.o', import.meta.url).pathname)).toBe(
      null,
    );
  });

  it('are some or none of a damaged object, and never an exception', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 8,
    });
    for (const name of ['mainline-x86_64-O2', 'btf-arm64']) {
      const elf = readElf(new Uint8Array(readFileSync(`${FOLDER}${name}.o`)));
      const parts = elf.sections.filter((one) => /^\.(debug_|BTF$)/.test(one.name));
      fc.assert(
        fc.property(fc.nat(), damage, (part, changes) => {
          const hit = parts[part % parts.length];
          const data = Uint8Array.from(hit.data);
          for (const [at, byte] of changes) data[at % data.length] = byte;
          const sections = elf.sections.map((one) => (one === hit ? { ...one, data } : one));
          const layouts = readLayouts({ ...elf, sections });
          for (const struct of ['page', 'bpf_arena', 'clear_range_data']) layouts?.struct(struct);
        }),
        { numRuns: 300 },
      );
    }
  });
});
