// Named policies: what a scenario lets the modelled hardware do beyond the rule, so that every report can name it.
import type { World } from './scenario.ts';

/** Policies of a world that are not the default, each as the scenario's key spells it: `tlb.negative: on`. */
export function policiesOf({ kernel: { tlb } }: Pick<World, 'kernel'>): string[] {
  return Object.entries(tlb).flatMap(([key, value]) =>
    value === 'off' ? [] : [`tlb.${key}: ${value}`],
  );
}
