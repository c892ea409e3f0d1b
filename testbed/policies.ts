// Named policies: what a scenario lets the modelled hardware do beyond the rule, so that every report can name it.
import type { World } from './scenario.ts';

/**
 * Policies of a world that are not the default, each as the scenario's key spells it: `tlb.negative: on`,
 * `memory: vmsa`.
 */
export function policiesOf({
  kernel: { tlb },
  memory,
}: Pick<World, 'kernel' | 'memory'>): string[] {
  const ofTlb = Object.entries(tlb).flatMap(([key, value]) =>
    value === 'off' ? [] : [`tlb.${key}: ${value}`],
  );
  return memory === 'sc' ? ofTlb : [...ofTlb, `memory: ${memory}`];
}
