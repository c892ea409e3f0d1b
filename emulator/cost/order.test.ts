import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CostedInstruction } from './instruction.ts';
import { issueOrder, keepsItsPlace } from './order.ts';
import { load, op, store, testCore } from './test-core.ts';

const OUTER = testCore.temporaries;
const register = fc.nat(3);

const made = fc.oneof(
  fc
    .record({ reads: fc.array(register, { maxLength: 2 }), to: register, latency: fc.nat(3) })
    .map(({ reads, to, latency }) => op(reads, [to], 1 + latency)),
  fc.tuple(register, register).map(([base, to]) => load(base, 0, to)),
  fc.tuple(register, register).map(([base, from]) => store(base, 0, from)),
);
const stretches = fc
  .array(made, { minLength: 2, maxLength: 8 })
  .map((all) => all.map((insn, n): CostedInstruction => ({ ...insn, form: `form ${n}` })));

const named = (stretch: readonly CostedInstruction[]) =>
  issueOrder(stretch, OUTER).map((at) => stretch[at].form);

/** Told apart from the code under test: does the second see the first, or the first what the second leaves? */
function conflict(a: CostedInstruction, b: CostedInstruction): boolean {
  const of = ({ uops }: CostedInstruction, kind: 'reads' | 'writes') =>
    uops.flatMap((uop) => uop[kind]).filter((value) => value < OUTER);
  const shared = (x: readonly number[], y: readonly number[]) => x.some((one) => y.includes(one));
  const memory = [a, b].every(({ accesses }) => accesses.length > 0);
  const stores = [a, b].some(({ uops }) => uops.some((uop) => uop.store >= 0));
  return (
    (memory && stores) ||
    shared(of(a, 'writes'), [...of(b, 'reads'), ...of(b, 'writes')]) ||
    shared(of(a, 'reads'), of(b, 'writes'))
  );
}

describe('the order of issue', () => {
  it('has each instruction once, and behind what it depends on', () => {
    fc.assert(
      fc.property(stretches, (stretch) => {
        const order = issueOrder(stretch, OUTER);
        expect([...order].sort((a, b) => a - b)).toEqual(stretch.map((_, at) => at));
        for (let b = 0; b < stretch.length; b++) {
          for (let a = 0; a < b; a++) {
            if (conflict(stretch[a], stretch[b]))
              expect(order.indexOf(a)).toBeLessThan(order.indexOf(b));
          }
        }
      }),
    );
  });

  it('is the same for independent neighbours either way round', () => {
    fc.assert(
      fc.property(stretches, fc.nat(), (stretch, where) => {
        const at = where % (stretch.length - 1);
        fc.pre(!conflict(stretch[at], stretch[at + 1]));
        const swapped = stretch.slice();
        [swapped[at], swapped[at + 1]] = [stretch[at + 1], stretch[at]];
        expect(named(swapped)).toEqual(named(stretch));
      }),
    );
  });

  it('begins with the head of the longest chain', () => {
    const stretch = [op([0], [1]), op([0], [2], 3), op([2], [2], 3)];
    expect(issueOrder(stretch, OUTER)).toEqual([1, 0, 2]);
  });

  it('leaves what a core takes alone where it stands', () => {
    expect(keepsItsPlace(op([0], [1]))).toBe(false);
    const alone = [{ flow: 'branch' }, { microcoded: true }, { locked: { apart: 1, alone: 1 } }];
    for (const changes of alone) {
      expect(keepsItsPlace(op([0], [1], 1, changes as Partial<CostedInstruction>))).toBe(true);
    }
  });
});
