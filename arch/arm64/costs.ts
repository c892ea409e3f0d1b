// Event costs of an Arm Neoverse N1. Nothing here was measured on hardware; each constant says what it rests on. The
// block model's tables are another file's.
import type { EventCosts } from '../../emulator/cost/uncalibrated.ts';

const carriedOver = 'estimate: the x86 core figure carried over, no Arm core was measured';

export const arm64EventCosts: EventCosts = {
  core: 'Neoverse N1',
  issueWidth: {
    value: 4,
    unit: 'instructions/cycle',
    source: 'document value, unverified: four-wide decode and dispatch',
  },
  faultDelivery: { value: 500, unit: 'cycles', source: carriedOver },
  faultReturn: { value: 250, unit: 'cycles', source: carriedOver },
  faultPath: { value: 1180, unit: 'cycles', source: carriedOver },
  walkLevel: {
    value: 4,
    unit: 'cycles',
    source: 'document value, unverified: L1D load-to-use',
  },
  invalidatePage: { value: 200, unit: 'cycles', source: carriedOver },
};
