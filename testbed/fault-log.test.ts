import { expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { FaultLog, type FaultRecord } from './fault-log.ts';

it('gives back every field of more records than it first had room for', () => {
  const log = new FaultLog();
  const record = (i: number): FaultRecord => ({
    cpu: i % 300,
    ip: virtAddr(0xffff_ffff_8000_0000n + BigInt(i)),
    addr: virtAddr(0xffff_c900_0000_0000n + BigInt(i) * 4096n),
    access: (['read', 'write', 'fetch'] as const)[i % 3],
    code: 0x9600_0047n,
    resolution: (['scratch', 'extable', 'kfence', 'spurious', 'oops'] as const)[i % 5],
  });
  for (let i = 0; i < 1000; i++) log.push(record(i));
  expect(log.length).toBe(1000);
  expect([...log.since(990)]).toEqual(Array.from({ length: 10 }, (_, i) => record(990 + i)));
  expect(() => log.at(1000)).toThrow(RangeError);
});
