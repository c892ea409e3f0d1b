import { expect, it } from 'vitest';
import { type ArenaPlace, arenaAt, arenaEnd, pageAt, resolveValue, userAddress } from './places.ts';
import type { ArenaOffset } from './scenario-model.ts';

// Arena A of the kernel reference, and a second one.
const a: ArenaPlace = {
  name: 'a',
  kbase: 0xffffc90001e69000n,
  userVmStart: 0x7f7d26200000n,
  pageSize: 4096,
};
const b: ArenaPlace = { ...a, name: 'b', kbase: 0xffffc90201e69000n, userVmStart: 0x7f7e00000000n };

it('an arena contains 4 GiB and the upper half guard', () => {
  expect(arenaEnd(a)).toBe(0xffffc90101e71000n);
  expect(pageAt(0xffffc90001e69000n, [a, b])).toBe(0);
  expect(pageAt(0xffffc90028069123n, [a, b])).toBe(0x26200);
  expect(pageAt(0xffffc90101e70fffn, [a, b])).toBe(1048583);
  expect(pageAt(0xffffc90101e71000n, [a, b])).toBeNull();
  expect(pageAt(0xffffc90001e68fffn, [a, b])).toBeNull();
  expect(arenaAt(0xffffc90201e69000n, [a, b])?.name).toBe('b');
});

it('the guard grows with pages of 64 KiB', () => {
  const large = { ...a, kbase: 0xffff800081010000n, pageSize: 65536 };
  expect(arenaEnd(large) - large.kbase).toBe(0x1_0001_0000n);
  expect(pageAt(arenaEnd(large) - 1n, [large])).toBe(65536);
  expect(arenaEnd({ ...a, pageSize: 16384 }) - a.kbase).toBe(0x1_0000_8000n);
});

it('values wrap at 64 bits', () => {
  const offset = (value: bigint) => value as ArenaOffset;
  const at = (value: Parameters<typeof resolveValue>[0]) => resolveValue(value, [a, b]);
  expect(at({ kind: 'arena', arena: 'b', offset: offset(-1n) })).toBe(0xffffc90201e68fffn);
  expect(at({ kind: 'user', arena: 'a', offset: 0x10n })).toBe(0x7f7d26200010n);
  expect(at({ kind: 'integer', value: -1n })).toBe(0xffffffffffffffffn);
  expect(() => at({ kind: 'user', arena: 'c', offset: 0n })).toThrow(RangeError);
  expect(userAddress(a, -1)).toBe(0x7f7d261ff000n);
});
