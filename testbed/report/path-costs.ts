// Which step of a fault's path each charge belongs to. Knobs are charged for a fault as a whole; where the kernel does the
// work is known, and what has no step of its own gets one.
import { KNOBS, type KnobName } from '../../emulator/cost/knobs.ts';
import type { Charge } from '../event-costs.ts';
import type { FaultStep } from '../fault-steps.ts';
import type { PathStep } from './model.ts';

/** Steps in whose place the charge stands, the first that the path has; a number counts calls from the start. */
const PLACES: Readonly<Partial<Record<KnobName, readonly (RegExp | number)[]>>> = {
  pathEntry: [0],
  pathClassify: [1, 0],
  pathVma: [/^(do_user_addr_fault|do_page_fault)$/],
  pathSearch: [/^fixup_exception$/],
  pathFixup: [/^ex_handler_/, /^fixup_exception$/],
  recoverFrame: [/^bpf_arena_handle_page_fault$/],
  recoverInstall: [/^(ptep_try_set|set_pte_at)$/, /^bpf_arena_handle_page_fault$/],
  recoverReport: [/^report$/],
  recoverReportByte: [/^report$/],
  printkLine: [/^printk$/],
};

/** What has no step of its own: before the path and at its end, in this order; the others stand between. */
const BEFORE: readonly KnobName[] = ['exceptionEntry'];
const AT_THE_END: readonly KnobName[] = ['pathExit', 'exceptionReturn'];

/**
 * The path of one fault with what each step cost.
 * @param charges null: costs are not counted
 */
export function costedPath(
  steps: readonly FaultStep[],
  charges: readonly Charge[] | null,
): PathStep[] {
  if (charges === null) return steps.map((step) => ({ ...step, cycles: null, knobs: '' }));
  const at = new Map<number, Charge[]>();
  const homeless: Charge[] = [];
  for (const charge of charges) {
    const place = placeOf(steps, charge.name);
    if (place < 0) homeless.push(charge);
    else at.set(place, [...(at.get(place) ?? []), charge]);
  }
  const path = steps.map((step, i) => costed(step, at.get(i) ?? []));
  const own = ({ name, count, cycles }: Charge): PathStep => {
    const times = count === 1 ? '' : `${count} × `;
    return { title: '', detail: `${times}${KNOBS[name][1]}`, cycles, knobs: name };
  };
  const ends = [...BEFORE, ...AT_THE_END];
  const named = (names: readonly KnobName[]) =>
    names.flatMap((name) => homeless.filter((charge) => charge.name === name).map(own));
  // The instruction runs again after the return.
  const retry = path.at(-1)?.title === 'retry' ? path.slice(-1) : [];
  return [
    ...named(BEFORE),
    ...path.slice(0, path.length - retry.length),
    ...homeless.filter(({ name }) => !ends.includes(name)).map(own),
    ...named(AT_THE_END),
    ...retry,
  ];
}

function placeOf(steps: readonly FaultStep[], name: KnobName): number {
  for (const place of PLACES[name] ?? []) {
    const found =
      typeof place === 'number'
        ? steps.length > place
          ? place
          : -1
        : steps.findIndex(({ title }) => place.test(title));
    if (found >= 0) return found;
  }
  return -1;
}

const costed = (step: FaultStep, charges: readonly Charge[]): PathStep => ({
  ...step,
  cycles: charges.reduce((sum, { cycles }) => sum + cycles, 0),
  knobs: charges
    .map(({ name, count, cycles }) => `${count === 1 ? '' : `${count} × `}${name} ${cycles}`)
    .join(' + '),
});

/** What was charged between two looks at the same counts. */
export function chargedSince(before: readonly Charge[], now: readonly Charge[]): Charge[] {
  const known = new Map(before.map((charge) => [charge.name, charge]));
  return now.flatMap(({ name, count, cycles }) => {
    const more = count - (known.get(name)?.count ?? 0);
    return more === 0
      ? []
      : [{ name, count: more, cycles: cycles - (known.get(name)?.cycles ?? 0) }];
  });
}
