// The cost of a run before a cycle model exists: retired instructions at the core's issue width, plus what each event
// costs. It knows no dependences, caches or predictions, so whoever prints it says `uncalibrated`.

/** One constant of a cost table, in core clock cycles unless `unit` says otherwise. */
export interface Knob {
  readonly value: number;
  readonly unit: 'cycles' | 'instructions/cycle';
  /** Where the value comes from, in words. */
  readonly source: string;
}

/** Constants of one core. `arch/*\/costs.ts` has them. */
export interface EventCosts {
  readonly core: string;
  readonly issueWidth: Knob;
  /** Delivery of a page fault taken in kernel mode. */
  readonly faultDelivery: Knob;
  /** Return from the exception to kernel mode. */
  readonly faultReturn: Knob;
  /** The kernel's own path from entry to a repaired fault. */
  readonly faultPath: Knob;
  /** One page-table walk with its entries in the caches, per level read. */
  readonly walkLevel: Knob;
  /** Invalidation of one page in one TLB. */
  readonly invalidatePage: Knob;
}

/** What a run did, as far as this model charges it. */
export interface CostedEvents {
  readonly instructions: number;
  readonly faults: number;
  readonly walkLevels: number;
  readonly invalidations: number;
}

/** @returns whole cycles, rounded up: the same run gives the same number */
export function uncalibratedCycles(costs: EventCosts, events: CostedEvents): number {
  const perFault = costs.faultDelivery.value + costs.faultPath.value + costs.faultReturn.value;
  return (
    Math.ceil(events.instructions / costs.issueWidth.value) +
    events.faults * perFault +
    events.walkLevels * costs.walkLevel.value +
    events.invalidations * costs.invalidatePage.value
  );
}
