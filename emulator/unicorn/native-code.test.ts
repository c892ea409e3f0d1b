// Our machine code for both hosts, run in emulation on data of its own, against what the JavaScript does in its place.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arm64Description } from '../../arch/arm64/registers.ts';
import { x86Description } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import { isInstalled } from '../test-tools.ts';
import { edgeEntry } from './meter.ts';
import { HOST_CODE } from './native-code.ts';
import { CODE, CODE_PA, DATA, DATA_PA, TestMachine } from './test-machine.ts';

const HOSTS = [
  {
    host: 'x64',
    description: x86Description,
    parameters: ['rdi', 'rsi', 'rdx', 'rcx', 'r8', 'r9'],
    ip: 'rip',
    stack: 'rsp',
  },
  {
    host: 'arm64',
    description: arm64Description,
    parameters: ['x0', 'x1', 'x2', 'x3', 'x4', 'x5'],
    ip: 'pc',
    stack: 'sp',
  },
] as const;

const RETURN = virtAddr(0xffff_ffff_a000_0000n);
const CALLBACK = virtAddr(0xffff_ffff_a000_1000n);
const EMU_STOP = virtAddr(0xffff_ffff_a000_2000n);
const FLUSH = virtAddr(0xffff_ffff_a000_3000n);
const COUNTER = DATA + 0x10_000n;
const COUNTER_PA = DATA_PA + 0x10_000;
const GARBAGE = 0xdead_beefn << 32n;

const ASSEMBLERS = {
  x64: ['as', 'objcopy'],
  arm64: ['aarch64-linux-gnu-as', 'aarch64-linux-gnu-objcopy'],
} as const;

describe.each(HOSTS)('$host source', ({ host }) => {
  const [as, objcopy] = ASSEMBLERS[host];
  const there = isInstalled(as, objcopy);
  const native = host !== 'x64' || process.arch === 'x64';

  it.skipIf(!there || !native)('is what the bytes were made of', () => {
    const folder = mkdtempSync(`${tmpdir()}/faultline-test-`);
    const source = fileURLToPath(new URL(`host-${host}.S`, import.meta.url));
    execFileSync(as, [source, '-o', `${folder}/o`]);
    execFileSync(objcopy, ['-O', 'binary', '-j', '.text', `${folder}/o`, `${folder}/bin`]);
    expect(readFileSync(`${folder}/bin`).toString('hex')).toBe(HOST_CODE[host].hex);
    rmSync(folder, { recursive: true });
  });
});

describe.each(HOSTS)('$host', ({ host, description, parameters, ip, stack }) => {
  const code = HOST_CODE[host];
  const m = new TestMachine(description, '');
  m.load(CODE_PA, code.hex);
  for (let page = 0; page < 0x50; page++) m.mapData(page);
  m.cpu.setExits([RETURN, CALLBACK, EMU_STOP]);

  /** @returns where it left to */
  const call = (entry: number, ...args: bigint[]): bigint => {
    args.forEach((value, i) => void m.set({ [parameters[i]]: value }));
    m.set({ [stack]: DATA + 0x800n, [ip]: CODE + BigInt(entry) });
    m.ram.write64(DATA_PA + 0x800, RETURN);
    if (host === 'arm64') m.set({ x30: RETURN });
    const stop = m.cpu.run(1000);
    expect(stop.reason).toBe('exit');
    return stop.ip;
  };

  it('counts blocks as counter.ts does', () => {
    const word = (offset: number) => m.ram.read64(COUNTER_PA + offset);
    const block = fc.record({
      address: fc.constantFrom(0x40_0010n, 0xffff_ffff_8100_0ff8n, 0x40_0018n),
      size: fc.constantFrom(2, 3, 11),
      known: fc.constantFrom('no', 'block', 'repeated', 'wide'),
      icount: fc.integer({ min: 1, max: 5 }),
      remaining: fc.constantFrom(0n, 1n, 4n, 1n << 40n),
      lastIsThis: fc.boolean(),
      repeats: fc.constantFrom(0n, 3n),
      hooked: fc.boolean(),
      heat: fc.constantFrom(0, 1, 0x7fff),
      inRecord: fc.boolean(),
    });
    fc.assert(
      fc.property(block, (given) => {
        const { address, size, known, icount, remaining, lastIsThis, repeats, hooked } = given;
        // Where no heads are rewritten nothing else keeps a record, and a block has no heat.
        const heat = code.head === undefined ? null : given.heat;
        const record = heat !== null && given.inRecord ? 0x11_000 : 8;
        m.ram.bytes.fill(0, COUNTER_PA, COUNTER_PA + 0x12_000);
        const lastSize = 4n;
        const last = lastIsThis ? address + BigInt(size) - lastSize : 0x1234n;
        m.ram.write64(COUNTER_PA, remaining);
        m.ram.write64(COUNTER_PA + record, last);
        m.ram.write64(COUNTER_PA + record + 8, lastSize);
        m.ram.write64(COUNTER_PA + 24, DATA + 0x100n);
        m.ram.write64(DATA_PA + 0x100, repeats);
        m.ram.write64(COUNTER_PA + 32, CALLBACK);
        m.ram.write64(COUNTER_PA + 40, EMU_STOP);
        m.ram.write64(COUNTER_PA + 48, DATA + 0x200n);
        m.ram.write64(COUNTER_PA + 64, 0x7777n);
        m.ram.write64(COUNTER_PA + 72, BigInt(record) | (hooked ? 1n << 32n : 0n));
        m.ram.write64(DATA_PA + 0x200, 0x5555n);
        const entry = 0x1000 + ((Number(address & 0xfffn) + size * 8) & 0xfff) * 16;
        if (known !== 'no') {
          const key = BigInt(size | { block: 0, repeated: 0x10000, wide: 0x20000 }[known]);
          const count = known === 'repeated' ? 1 : icount;
          m.ram.write64(COUNTER_PA + entry, address);
          const counted = BigInt(count | (known === 'block' ? (heat ?? 0) << 16 : 0));
          m.ram.write64(COUNTER_PA + entry + 8, (counted << 32n) | key);
        }
        const left = call(code.block, 0x99n, address, GARBAGE | BigInt(size), COUNTER);

        if (known === 'no' || (known === 'block' && heat === 0)) {
          expect([left, word(0), word(record)]).toEqual([CALLBACK, remaining, last]);
          if (heat !== null) expect(word(136)).toBe(RETURN);
          return;
        }
        if (known === 'block' && heat !== null) {
          expect(word(entry + 8) >> 32n).toBe(BigInt(((heat - 1) << 16) | icount));
        }
        const passesOn = known === 'repeated' && repeats === 0n && lastIsThis;
        const switched = m.ram.read64(DATA_PA + 0x200);
        if (known === 'wide') expect([switched, word(72) >> 32n]).toEqual([0x7777n, 1n]);
        else if (passesOn || !hooked) expect(switched).toBe(0x5555n);
        else expect([switched, word(72) >> 32n]).toEqual([0n, 0n]);
        const cost = known === 'repeated' ? 1n : BigInt(icount);
        if (passesOn) {
          expect([left, word(0), word(record)]).toEqual([RETURN, remaining, last]);
        } else if (cost > remaining) {
          expect([left, word(0), word(record)]).toEqual([EMU_STOP, remaining, last]);
          expect(word(record + 8) & 0xffff_ffffn).toBe(lastSize);
          expect(word(16) >> 32n).toBe(1n);
          expect(m.get(parameters[0])).toBe(0x99n);
        } else {
          expect([left, word(0), word(8)]).toEqual([RETURN, remaining - cost, address]);
          expect([word(16), word(72) & 0xffff_ffffn]).toEqual([BigInt(size), 8n]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it.skipIf(code.head === undefined)(
    'answers the head of a block, skipped where none is rewritten',
    () => {
      const given = fc.record({ hooked: fc.boolean(), count: fc.integer({ min: 1, max: 127 }) });
      fc.assert(
        fc.property(given, ({ hooked, count }) => {
          m.ram.bytes.fill(0, COUNTER_PA, COUNTER_PA + 0x12_000);
          m.ram.write64(COUNTER_PA, hooked ? 5n : -1n);
          m.ram.write64(COUNTER_PA + 40, EMU_STOP);
          m.ram.write64(COUNTER_PA + 48, DATA + 0x200n);
          m.ram.write64(COUNTER_PA + 72, 8n | (hooked ? 1n << 32n : 0n));
          m.ram.write64(COUNTER_PA + 128, 0x99n);
          m.ram.write64(COUNTER_PA + 0x11_008, BigInt(count) << 32n);
          m.ram.write64(DATA_PA + 0x200, 0x5555n);
          // mov dword ptr [rcx + 72], 0x11000 behind the call
          const after = DATA + 0x300n;
          m.ram.write(DATA_PA + 0x300, Uint8Array.of(0xc7, 0x41, 72, 0, 0x10, 1, 0));
          m.set({ rcx: COUNTER, rsp: DATA + 0x800n, rip: CODE + BigInt(code.head ?? 0) });
          m.ram.write64(DATA_PA + 0x800, after);
          m.cpu.setExits([EMU_STOP, virtAddr(after - 15n)]);
          const { ip } = m.cpu.run(100);
          m.cpu.setExits([RETURN, CALLBACK, EMU_STOP]);
          const back = ip === EMU_STOP ? m.ram.read64(Number(m.get('rsp') - DATA) + DATA_PA) : ip;
          const words = [0, 16, 72].map((at) => m.ram.read64(COUNTER_PA + at));
          const switched = m.ram.read64(DATA_PA + 0x200);
          if (hooked) {
            expect([ip, m.get('rcx'), switched]).toEqual([after - 15n, COUNTER, 0n]);
            expect(words).toEqual([5n, 0n, 8n]);
          } else {
            expect([ip, m.get('rdi'), back, switched]).toEqual([
              EMU_STOP,
              0x99n,
              after + 7n,
              0x5555n,
            ]);
            expect(words).toEqual([BigInt(count - 1), 1n << 32n, 8n]);
          }
        }),
        { numRuns: 50 },
      );
    },
  );

  it('counts edges as meter.ts does', () => {
    const table = DATA_PA + 0x24_000;
    const edge = fc.record({
      from: fc.constantFrom(1n, 0x40_0010n, 0xffff_ffff_8100_0ff8n),
      address: fc.constantFrom(0x40_0010n, 0xffff_ffff_8100_0ff8n),
      fromSize: fc.constantFrom(0, 3, 11),
      size: fc.constantFrom(3, 11),
      differs: fc.constantFrom('', 'from', 'address', 'fromSize', 'size'),
      count: fc.constantFrom(0n, 7n, 0xffff_ffffn),
      remaining: fc.constantFrom(1n, 100n),
    });
    fc.assert(
      fc.property(edge, ({ from, address, fromSize, size, differs, count, remaining }) => {
        m.ram.bytes.fill(0, COUNTER_PA, COUNTER_PA + 0x11_000);
        m.ram.bytes.fill(0, table, table + 0x2_0000);
        m.ram.write64(COUNTER_PA, remaining);
        m.ram.write64(COUNTER_PA + 40, EMU_STOP);
        m.ram.write64(COUNTER_PA + 80, DATA + 0x24_000n);
        m.ram.write64(COUNTER_PA + 88, from);
        m.ram.write64(COUNTER_PA + 96, BigInt(fromSize));
        m.ram.write64(COUNTER_PA + 112, CALLBACK);
        const known = 0x1000 + ((Number(address & 0xfffn) + size * 8) & 0xfff) * 16;
        m.ram.write64(COUNTER_PA + known, address);
        m.ram.write64(COUNTER_PA + known + 8, (2n << 32n) | BigInt(size));
        const entry = table + edgeEntry(from, { address, size });
        const other = (name: string) => (differs === name ? 1 : 0);
        m.ram.write64(entry, from + BigInt(other('from')));
        m.ram.write64(entry + 8, address + BigInt(other('address')));
        const sizes = (BigInt(size + other('size')) << 32n) | BigInt(fromSize + other('fromSize'));
        m.ram.write64(entry + 16, sizes);
        m.ram.write64(entry + 24, count);
        const left = call(code.metered, 0x99n, address, GARBAGE | BigInt(size), COUNTER);

        const begun = remaining >= 2n;
        const counted = begun && differs === '';
        expect(left).toBe(!begun ? EMU_STOP : counted ? RETURN : CALLBACK);
        expect(m.ram.read64(COUNTER_PA)).toBe(begun ? remaining - 2n : remaining);
        expect(m.ram.read64(entry + 24)).toBe(count + (counted ? 1n : 0n));
        expect(m.ram.read64(COUNTER_PA + 88)).toBe(counted ? address : from);
        if (!counted) return;
        expect(m.ram.read64(COUNTER_PA + 96)).toBe(BigInt(size));
        expect(m.ram.read64(COUNTER_PA + 104)).toBe(DATA + 0x24_000n + BigInt(entry - table));
      }),
      { numRuns: 200 },
    );
  });

  it.each([0, 5, 6])('logs accesses as accesses.ts reads them, %d of 6 before', (count) => {
    m.ram.bytes.fill(0, COUNTER_PA, COUNTER_PA + 0x1000);
    m.ram.write64(COUNTER_PA, (6n << 32n) | BigInt(count));
    m.ram.write64(COUNTER_PA + 8, CALLBACK);
    const left = call(code.access, 0n, GARBAGE | 17n, 0x1234_5678n, GARBAGE | 8n, 0x55n, COUNTER);
    expect(left).toBe(count < 6 ? RETURN : CALLBACK);
    const entry = COUNTER_PA + 64 + 16 * count;
    expect(m.ram.read64(entry)).toBe(count < 6 ? 0x1234_5678n : 0n);
    expect(m.ram.read64(entry + 8)).toBe(count < 6 ? (17n << 32n) | 8n : 0n);
    expect(m.ram.read64(COUNTER_PA) & 0xffn).toBe(BigInt(Math.min(count + 1, 6)));
  });

  it('notes stores as journal.ts does', () => {
    const store = fc.record({
      offset: fc.integer({ min: 0xde0, max: 0xfff }),
      size: fc.constantFrom(1, 2, 4, 8),
      head: fc.constantFrom(0, 5, 127, 128, 300),
    });
    fc.assert(
      fc.property(store, ({ offset, size, head }) => {
        m.ram.bytes.fill(0, COUNTER_PA, COUNTER_PA + 0x2000);
        for (let i = 0; i < 0x1010; i++) m.ram.bytes[DATA_PA + 0x2000 + i] = i * 3;
        m.ram.write64(COUNTER_PA, BigInt(head));
        m.ram.write64(COUNTER_PA + 8, DATA - 0x7000n);
        const pa = 0x7000 + 0x2000 + offset;
        call(code.store, 0n, 17n, BigInt(pa), GARBAGE | BigInt(size), 0x55n, COUNTER);
        const entry = COUNTER_PA + 64 + (head % 128) * 32;
        const noted = offset >= 0xe00;
        expect(m.ram.read64(COUNTER_PA)).toBe(BigInt(head + (noted ? 1 : 0)));
        if (!noted) {
          expect(m.ram.read64(entry)).toBe(0n);
          return;
        }
        const first = DATA_PA + pa - 0x7000;
        const last = first + size - 1;
        expect(m.ram.read64(entry)).toBe(BigInt(pa));
        expect(m.ram.read64(entry + 8)).toBe(BigInt(size));
        expect(m.ram.read64(entry + 16)).toBe(m.ram.read64(first - (first % 8)));
        expect(m.ram.read64(entry + 24)).toBe(m.ram.read64(last - (last % 8)));
      }),
      { numRuns: 200 },
    );
  });
});

describe.each(HOSTS)('$host fills', ({ host, description, parameters, ip, stack }) => {
  it.each([true, false])(
    'calls back with halves and copies the answer, if it is one: %s',
    (allowed) => {
      const code = HOST_CODE[host];
      const m = new TestMachine(description, '');
      m.load(CODE_PA, code.hex);
      m.mapData(0);
      const kept = host === 'arm64' ? ['x3', 'x4'] : ['rcx', 'r8'];
      m.cpu.setExits([RETURN, CALLBACK]);
      // As a call leaves it: the return address on the stack, which was aligned before.
      const entry = host === 'arm64' ? 0x800 : 0x808;
      m.set({ [stack]: DATA + BigInt(entry), [ip]: CODE + BigInt(code.fill) });
      m.ram.write64(DATA_PA + entry, RETURN);
      if (host === 'arm64') m.set({ x30: RETURN });
      const data = DATA_PA + 0x100;
      [CALLBACK, 0x12_3456_7000n, 5n].forEach((word, i) => void m.ram.write64(data + 8 * i, word));
      const args = [0x99n, 0xffff_c900_8765_4000n, GARBAGE | 17n, DATA + 0x200n, DATA + 0x100n];
      args.forEach((value, i) => void m.set({ [parameters[i]]: value }));
      expect(m.cpu.run(100)).toMatchObject({ reason: 'exit', ip: CALLBACK });
      const halves = parameters.slice(0, 3).map((name) => m.get(name) & 0xffff_ffffn);
      expect(halves).toEqual([0xffff_c900n, 0x8765_4000n, 17n]);
      const top = m.get(stack);
      expect(top % 16n).toBe(host === 'arm64' ? 0n : 8n);
      // The callback returns, its scratch registers spoilt.
      const back = host === 'arm64' ? m.get('x30') : m.ram.read64(Number(top - DATA) + DATA_PA);
      const result = host === 'arm64' ? 'x0' : 'rax';
      for (const name of kept) m.set({ [name]: 0xdeadn });
      m.set({ [result]: GARBAGE | (allowed ? 1n : 0n), [ip]: back });
      if (host === 'x64') m.set({ [stack]: top + 8n });
      expect(m.cpu.run(100)).toMatchObject({ reason: 'exit', ip: RETURN });
      expect(m.get(result) & 0xffn).toBe(allowed ? 1n : 0n);
      const answer = [m.ram.read64(DATA_PA + 0x200), m.ram.read64(DATA_PA + 0x208)];
      expect(answer).toEqual(allowed ? [0x12_3456_7000n, 5n] : [0n, 0n]);
      expect(m.get(stack)).toBe(DATA + (host === 'arm64' ? 0x800n : 0x810n));
    },
  );

  it.each([1, 3])('flushes %i pages that the callback named, the last one first', (count) => {
    const code = HOST_CODE[host];
    const m = new TestMachine(description, '');
    m.load(CODE_PA, code.hex);
    m.mapData(0);
    m.cpu.setExits([RETURN, CALLBACK, FLUSH]);
    const entry = host === 'arm64' ? 0x800 : 0x808;
    m.set({ [stack]: DATA + BigInt(entry), [ip]: CODE + BigInt(code.fill) });
    m.ram.write64(DATA_PA + entry, RETURN);
    if (host === 'arm64') m.set({ x30: RETURN });
    const data = DATA_PA + 0x100;
    const pages = Array.from({ length: count }, (_, i) => 0xffff_c900_0000_0000n + BigInt(i << 12));
    const words = [CALLBACK, 0x7000n, 5n, FLUSH, 0x1234_5678_9abcn, 0b101n, ...pages];
    words.forEach((word, i) => void m.ram.write64(data + 8 * i, word));
    const args = [0x99n, 0x8765_4000n, 17n, DATA + 0x200n, DATA + 0x100n];
    args.forEach((value, i) => void m.set({ [parameters[i]]: value }));
    const result = host === 'arm64' ? 'x0' : 'rax';
    /** A function of the library returns, its scratch registers spoilt. */
    const returns = (value: bigint) => {
      const top = m.get(stack);
      expect(top % 16n).toBe(host === 'arm64' ? 0n : 8n);
      const back = host === 'arm64' ? m.get('x30') : m.ram.read64(Number(top - DATA) + DATA_PA);
      const scratch =
        host === 'arm64' ? ['x1', 'x2', 'x3', 'x4', 'x9', 'x10'] : ['rcx', 'r8', 'rdx'];
      for (const name of scratch) m.set({ [name]: 0xdeadn });
      m.set({ [result]: value, [ip]: back });
      if (host === 'x64') m.set({ [stack]: top + 8n });
    };
    expect(m.cpu.run(100)).toMatchObject({ reason: 'exit', ip: CALLBACK });
    // What the callback does: it names the pages.
    m.ram.write64(data + 16, 5n | (BigInt(count) << 32n));
    returns(GARBAGE | 1n);
    for (const page of [...pages].reverse()) {
      expect(m.cpu.run(100)).toMatchObject({ reason: 'exit', ip: FLUSH });
      const given = parameters.slice(0, 3).map((name) => m.get(name));
      expect(given).toEqual([0x1234_5678_9abcn, page, 0b101n]);
      returns(GARBAGE);
    }
    expect(m.cpu.run(100)).toMatchObject({ reason: 'exit', ip: RETURN });
    expect(m.get(result) & 0xffn).toBe(1n);
    expect(m.ram.read64(DATA_PA + 0x200)).toBe(0x7000n);
    expect(m.ram.read64(data + 16)).toBe(5n);
    expect(m.get(stack)).toBe(DATA + (host === 'arm64' ? 0x800n : 0x810n));
  });
});
