// Walks of page tables in compiled code: what the scenarios of the suite do not come to, and code that is wrong.
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import { applyToExistingPageRange, applyToPageRange, type PteFn } from '../../mm/apply-range.ts';
import { finish } from '../../mm/context.ts';
import { setPteAt } from '../../mm/pte.ts';
import type { CallSeen } from '../call.ts';
import type { WorldRun } from '../run.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { compiler } from './test-compile.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const host = await loadTestHost();
const compile = compiler();

const WALKS = ['apply_to_page_range', 'apply_to_existing_page_range'];
const WRITE = `
code:
  x86_64: "mov qword ptr [rdi], rsi\\nret"
  arm64: "str x1, [x0]\\nret"
args: [{arena: 0x2000}, 7]`;

const run = (
  arch: ArchName,
  replace: Record<string, string>,
  text: string,
  look?: (run: WorldRun) => void,
): TestRun =>
  runYaml(
    host,
    `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${text}`,
    arch,
    look,
  );

const PMD = 2 ** 21;

/** Walks over what is and is not there, and what they come to. */
function walks({ kernel }: WorldRun): unknown[] {
  const { mm, ram, context, layout } = kernel;
  const seen: unknown[] = [];
  const start = layout.vmallocEnd - 0x4000_0000n;
  const base = start - (start % 0x20_0000n) + 0x3000n;
  const at = (offset: number) => virtAddr(base + BigInt(offset));
  const each =
    (stopAt = -1): PteFn =>
    ({ ptep, addr }) => {
      seen.push([addr, ram.read64(ptep), mm.ptepOffset(addr) === ptep]);
      return addr === at(stopAt) ? -16 : 0;
    };
  const put = (offset: number, entry: bigint) =>
    setPteAt(context, ram, at(offset), mm.ptepAlloc(at(offset)) as never, entry);
  const upper = (offset: number): number => {
    const table = mm.ptepAlloc(at(offset)) as number;
    const { swapperPgDir, format, pageSize } = mm;
    let place = swapperPgDir as number;
    for (const shift of format.shifts.slice(0, -1)) {
      const index = Number((at(offset) >> BigInt(shift)) % 512n);
      const next = format.tableAddr(ram.read64(place + index * 8));
      if (next === table - (table % pageSize)) return place + index * 8;
      place = next;
    }
    throw new Error('no upper entry');
  };
  const apply = (create: boolean, offset: number, size: number, stopAt?: number) => {
    const walk = create ? applyToPageRange : applyToExistingPageRange;
    seen.push(finish(walk(mm, at(offset), size, each(stopAt))));
    seen.push([0, 1, 2, 3].map((i) => mm.ptepOffset(at(i * PMD)) !== null));
  };
  const entry = mm.format.mkPte(0x1000 as never, 'PAGE_KERNEL');

  apply(false, 0, 4 * PMD);
  apply(true, PMD - 0x5000, 0x4000);
  put(0x2000, entry);
  put(2 * PMD, entry);
  apply(false, 0, 4 * PMD);
  apply(true, 0, 0x6000, 0x3000);
  apply(false, 0, 4 * PMD, 0x2000);
  apply(true, 0, 0);
  apply(false, 0x5000, 0);
  // A huge entry, and one that is malformed.
  mm.ptepAlloc(at(4 * PMD));
  ram.write64(upper(4 * PMD), kernel.arch.name === 'arm64' ? 0x4000_0701n : 0x4000_01e3n);
  apply(true, 4 * PMD - 0x4000, 0x4000);
  apply(false, 3 * PMD, 2 * PMD);
  const bad = upper(2 * PMD);
  ram.write64(bad, kernel.arch.name === 'arm64' ? 0x1002n : 0x1003_0000_0000_1003n);
  apply(false, 0, 4 * PMD - 0x8000);
  apply(true, 2 * PMD, 0x2000);
  return seen;
}

describe.each(ARCHS)('walks with compiled code in the place of the model (%s)', (arch) => {
  const look = (replace: Record<string, string>) => {
    let seen: unknown[] = [];
    const done = run(arch, replace, WRITE, (world) => {
      seen = walks(world);
    });
    const log = done.log.map((line) => line.replace(/^(WARNING: at \S+) .*/, '$1'));
    return { seen, log };
  };

  it.each(['O0', 'O2'])('come to the same, -%s', (level) => {
    const object = `replace/memory-${arch}-${level}.o`;
    const model = look({});
    expect(model.log.length).toBeGreaterThan(3);
    expect(look(Object.fromEntries(WALKS.map((name) => [name, object])))).toEqual(model);
  });

  it.each([
    [1, 'the last entry of a table is left out', 'apply_to_page_range'],
    [2, 'tables are made where none are wanted', 'apply_to_existing_page_range'],
  ])('mistake %i shows: %s', (mistake, _, name) => {
    const object = compile(arch, 'memory.c', '-O2', `-DBROKEN=${mistake}`);
    expect(look({ [name]: object }).seen).not.toEqual(look({}).seen);
  });
});

for (const arch of ARCHS) {
  describeWith(GCC[arch], `walks that misbehave (${arch})`, () => {
    const odd = (which: number, name = 'apply_to_page_range') =>
      run(arch, { [name]: compile(arch, 'odd-memory.c', '-O2', `-DODD=${which}`) }, WRITE);
    const why = (which: number): string => {
      try {
        const { end } = odd(which).steps[0].seen as CallSeen;
        return 'why' in end ? end.why : end.outcome;
      } catch (error) {
        return (error as Error).message;
      }
    };

    it.each([
      [1, /^apply_to_page_range hands 0x\w+ to the callback, which points to no table entry$/],
      [2, /^apply_to_page_range hands 0x\w+ to the callback, which is not the data/],
      [3, /^ran past its instruction limit$/],
      [4, /^reads mm_struct.flags, which the model does not keep$/],
      [5, /^__pud_alloc is called with 0x\w+, which points to no table entry$/],
    ])('%i', (which, message) => {
      expect(why(which)).toMatch(message);
    });

    it('an object that does not tell the layout of init_mm is refused', () => {
      expect(() => odd(6, 'apply_to_existing_page_range')).toThrow(
        /its debugging data does not define struct mm_struct/,
      );
    });
  });
}
