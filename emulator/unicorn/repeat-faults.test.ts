// String instructions over pages that are not there: each fault comes at its element, with the elements before it done and
// the registers at it, and the end is as if there had been no fault. Both directions, every width.
import { afterAll, describe, expect, it } from 'vitest';
import { x86Description } from '../../arch/x86/registers.ts';
import { READ, WRITE } from '../engine.ts';
import { DATA, DATA_PA, TestMachine } from './test-machine.ts';

const PAGE = 4096n;
/** Pages 1 to 3 are the source, 5 to 7 the destination; those in the middle are missing. */
const SOURCE = 2n;
const DESTINATION = 6n;
const COUNT = 5n;

const OPERATIONS = [
  { name: 'movs', opcode: 0xa4, reads: ['rsi'], writes: ['rdi'], prefix: 'f3' },
  { name: 'stos', opcode: 0xaa, reads: [], writes: ['rdi'], prefix: 'f3' },
  { name: 'lods', opcode: 0xac, reads: ['rsi'], writes: [], prefix: 'f3' },
  { name: 'repe cmps', opcode: 0xa6, reads: ['rsi', 'rdi'], writes: [], prefix: 'f3' },
  { name: 'repne scas', opcode: 0xae, reads: ['rdi'], writes: [], prefix: 'f2' },
] as const;
const WIDTHS = [1, 2, 4, 8] as const;

const cases = OPERATIONS.flatMap((operation) =>
  WIDTHS.flatMap((width) =>
    [false, true].map((down) => ({
      ...operation,
      width,
      down,
      title: `${operation.name} of ${width} bytes, ${down ? 'std' : 'cld'}`,
    })),
  ),
);
type Case = (typeof cases)[number];

const code = ({ opcode, width, down, prefix }: Case): string => {
  const byte = (opcode + (width === 1 ? 0 : 1)).toString(16);
  const size = width === 2 ? '66' : '';
  return `${down ? 'fd' : 'fc'} ${size}${prefix}${width === 8 ? '48' : ''}${byte} 90 f4`;
};

const made: TestMachine[] = [];
afterAll(() => {
  for (const m of made) m.cpu.close();
});

function start(one: Case): TestMachine {
  const m = new TestMachine(x86Description, code(one));
  made.push(m);
  for (let i = 0; i < 8 * 4096; i++)
    m.ram.bytes[DATA_PA + i] = one.name.includes('cmps') ? 7 : i % 97;
  for (const page of [1, 3, 5, 7]) m.mapData(page);
  const [rsi, rdi] = [firstElement(one, SOURCE), firstElement(one, DESTINATION)];
  m.set({ rax: -1n, rcx: COUNT, rsi, rdi });
  return m;
}

const registers = (m: TestMachine): string =>
  ['rax', 'rcx', 'rsi', 'rdi', 'rip', 'rflags'].map((name) => m.get(name)).join();
const memory = (m: TestMachine): Uint8Array => m.ram.read(DATA_PA, 8 * 4096);

describe('repeated string instructions', () => {
  it.each(cases)('$title', (one) => {
    const whole = start(one);
    for (const page of [SOURCE, DESTINATION]) whole.mapData(Number(page));
    expect(whole.cpu.run(100).reason).toBe('halt');

    for (const inPlace of [false, true]) {
      const m = start(one);
      const seen: [bigint, number][] = [];
      const repair = (va: bigint, kind: number) => {
        seen.push([va, kind]);
        // The element that faults is the one the registers name; those before it are done.
        const done = COUNT - m.get('rcx');
        const step = BigInt(one.width) * (one.down ? -1n : 1n);
        const used = [...one.reads, ...one.writes];
        for (const name of used) {
          const first = name === 'rsi' ? SOURCE : DESTINATION;
          const begin = firstElement(one, first);
          expect(m.get(name)).toBe(begin + done * step);
        }
        const page = (va - DATA) / PAGE;
        expect(va === DATA + page * PAGE || used.some((name) => m.get(name) === va)).toBe(true);
        m.mapData(Number(page));
        return true;
      };
      let stop = m.cpu.run(100, inPlace ? repair : undefined);
      while (stop.reason === 'fault' && seen.length < 9) {
        repair(stop.va, stop.kind);
        stop = m.cpu.run(100);
      }
      expect(stop.reason).toBe('halt');
      expect(registers(m)).toBe(registers(whole));
      expect(m.cpu.retired).toBe(whole.cpu.retired);
      expect(Buffer.compare(memory(m), memory(whole))).toBe(0);
      expect(seen.map(([, kind]) => kind).sort()).toEqual([
        ...one.reads.map(() => READ),
        ...one.writes.map(() => WRITE),
      ]);
    }
  });
});

/** Address of the first element: the third lies across the edge of the missing `page`, bytes aside. */
function firstElement({ width, down }: Case, page: bigint): bigint {
  const size = BigInt(width);
  const half = size / 2n;
  return down
    ? DATA + page * PAGE + PAGE + 2n * size + half - size
    : DATA + page * PAGE - 2n * size - half;
}
