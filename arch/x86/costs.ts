// Event costs of the measured x86 core (Golden Cove family server core, in a virtual machine) and, where nothing could
// be measured, estimates and literature; each constant says which. The block model's tables are another file's.
import type { EventCosts } from '../../emulator/cost/uncalibrated.ts';

export const x86EventCosts: EventCosts = {
  core: 'Golden Cove family server core',
  issueWidth: {
    value: 6,
    unit: 'instructions/cycle',
    source: 'measured: a stream of nops retires 6 a cycle',
  },
  faultDelivery: {
    value: 500,
    unit: 'cycles',
    source: 'estimate: literature has 715 on Haswell from ring 3; ring 0 switches no stack',
  },
  faultReturn: {
    value: 250,
    unit: 'cycles',
    source: 'estimate: literature has 330 for iret to ring 3 on Haswell',
  },
  faultPath: {
    value: 1180,
    unit: 'cycles',
    source:
      'derived: 1930 measured for a kernel-mode fault with exception-table fixup, less delivery and return',
  },
  walkLevel: { value: 5, unit: 'cycles', source: 'measured: L1D load-to-use' },
  invalidatePage: {
    value: 200,
    unit: 'cycles',
    source: 'estimate: literature on INVLPG spans about 100 to 500',
  },
};
