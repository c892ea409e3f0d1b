// The choices of the memory model, as every report names them.
import type { World } from './scenario.ts';

const ORDER: Readonly<Record<World['memory'], string>> = {
  sc: 'sequential consistency between steps',
  tso: 'x86-TSO: plain stores wait in a buffer',
  vmsa: 'sequential consistency of data',
  'vmsa-ets2': 'sequential consistency of data',
};

/** Of AArch64's translation, beside that of data. */
const LATE = [
  'walkers see stores to tables late until DSB and ISB',
  'TLBs hold any valid entry until a TLBI, which is complete at its DSB',
  'between two valid entries without TLBI either answers, or a TLB conflict abort',
  'an entry that faults is never held',
];

/** One line. docs/races.md says what is left out. */
export function memoryModelText({ arch, memory }: World): string {
  if (memory === 'vmsa') return [ORDER[memory], ...LATE].join('; ');
  if (memory === 'vmsa-ets2') {
    const [late, ...rest] = LATE;
    const ordered = late.replace('until DSB and ISB', "until a barrier, and never their own CPU's");
    return [ORDER[memory], 'FEAT_ETS2', ordered, ...rest].join('; ');
  }
  const flushes =
    arch === 'arm64'
      ? 'TLBI complete on every CPU within its step'
      : 'flushes reach every CPU within their step';
  return `${ORDER[memory]}; TLBs of their own, filled by accesses; ${flushes}`;
}
