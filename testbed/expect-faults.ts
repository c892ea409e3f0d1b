// Compares the faults of a call with those that its scenario lists: exactly these, in this order.
import { hex } from '../emulator/bits.ts';
import type { Failures } from './expect.ts';
import type { FaultExpectation } from './expect-model.ts';
import type { FaultRecord } from './fault-log.ts';
import type { FaultsSeen } from './observed.ts';
import { type ArenaPlace, pageAt, resolveValue } from './places.ts';

/** Faults that differ, after which the rest is only counted: one insertion makes all that follow differ. */
const MOST_DIFFERING = 5;

export function compareFaults(
  expected: readonly FaultExpectation[],
  seen: FaultsSeen,
  arenas: readonly ArenaPlace[],
  failures: Failures,
): void {
  let index = 0;
  let differing = 0;
  for (const expectation of expected) {
    for (let nth = 0; nth < expectation.count; nth++, index++) {
      if (index >= seen.length) {
        const missing = expected.reduce((sum, { count }) => sum + count, 0) - index;
        const more = missing > 1 ? `, and ${missing - 1} more` : '';
        failures.add(
          `faults[${index}]`,
          describeExpectation(expectation, nth, arenas) + more,
          'no further fault',
        );
        return;
      }
      const before = failures.list.length;
      compareFault(`faults[${index}]`, expectation, nth, seen.at(index), arenas, failures);
      if (failures.list.length > before && ++differing === MOST_DIFFERING) return;
    }
  }
  if (index < seen.length) {
    const more = seen.length - index > 1 ? `, and ${seen.length - index - 1} more` : '';
    const got = describeFault(seen.at(index), arenas) + more;
    failures.add(`faults[${index}]`, 'no further fault', got);
  }
}

const formatPage = (page: number | null): string => (page === null ? 'null' : String(page));

function compareFault(
  key: string,
  expectation: FaultExpectation,
  nth: number,
  fault: FaultRecord,
  arenas: readonly ArenaPlace[],
  failures: Failures,
): void {
  const wanted = resolved(expectation, nth, arenas);
  const { page, access, resolution, addr, ip, code } = wanted;
  failures.same<number | null>(`${key}.page`, page, pageAt(fault.addr, arenas), formatPage);
  failures.same(`${key}.access`, access, fault.access, String);
  failures.same(`${key}.resolution`, resolution, fault.resolution, String);
  failures.same<bigint>(`${key}.addr`, addr, fault.addr, hex);
  failures.same<bigint>(`${key}.ip`, ip, fault.ip, hex);
  failures.same(`${key}.code`, code, fault.code, hex);
}

/** The `nth` fault (from 0) that an expectation stands for. */
function resolved(expectation: FaultExpectation, nth: number, arenas: readonly ArenaPlace[]) {
  const { page, access, resolution, addr, ip, code, step } = expectation;
  const pages = nth * step;
  const distance = BigInt(pages) * BigInt(arenas[0]?.pageSize ?? 4096);
  return {
    page: typeof page === 'number' ? page + pages : page,
    access,
    resolution,
    addr: addr && BigInt.asUintN(64, resolveValue(addr, arenas) + distance),
    ip: ip && resolveValue(ip, arenas),
    code,
  };
}

function describeExpectation(
  expectation: FaultExpectation,
  nth: number,
  arenas: readonly ArenaPlace[],
): string {
  const { page, access, addr, resolution } = resolved(expectation, nth, arenas);
  const parts = [
    access ?? 'any access',
    ...(page === undefined ? [] : [`page ${formatPage(page)}`]),
    ...(addr === undefined ? [] : [`at ${hex(addr)}`]),
    ...(resolution === undefined ? [] : [resolution]),
  ];
  return parts.join(', ');
}

const describeFault = (fault: FaultRecord, arenas: readonly ArenaPlace[]): string =>
  [
    fault.access,
    `page ${formatPage(pageAt(fault.addr, arenas))}`,
    `at ${hex(fault.addr)}`,
    fault.resolution,
  ].join(', ');
