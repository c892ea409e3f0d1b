// A second opinion on our walk: random tables, registers and accesses, given to the library's own MMU (QEMU 5's x86
// model), which walks the same tables in the same RAM. It is another implementation, not the truth. Where it is wrong by
// the SDM, or says less, the comparison makes up for it, and each of these places has a name:
// - `rsvd-without-p`: it leaves P out of the error code of a reserved-bit fault (SDM Vol. 3A, 4.7: RSVD implies P).
// - `rmw-as-read`: a read-modify-write is refused as the read that comes first; the CPU asks for a write at once. Across
//   two pages it even reads both before it writes: that is not asked.
// - `a-before-fault`: it sets accessed flags on the way to a fault, which the SDM permits and we do not do.
// - `pk-last`: it reports PK only if nothing else denies the access.
// Not asked: #SS, accesses that begin in or cross the canonical hole, PKS and implicit accesses, which it does not have.
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { Ram } from '../../emulator/ram.ts';
import { Binding } from '../../emulator/unicorn/binding.ts';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import { OwnMmu } from '../../emulator/unicorn/test-own-mmu.ts';
import { Mmu } from '../../mm/mmu.ts';
import { performAccess, type X86AccessKind } from './access.ts';
import { PF_P, PF_PK, PF_RSVD, PF_W, VECTOR_PF } from './fault-code.ts';
import type { X86Case } from './golden-case.ts';
import { codeAt, codeEnd, layHarness, mapHarness, type Purpose } from './oracle-harness.ts';
import {
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  linuxPagingState,
  X86Paging,
  type X86PagingState,
} from './paging.ts';
import { EFLAGS_AC, x86Description } from './registers.ts';
import { GOLDEN_COVE_STLB } from './tlb.ts';

const RUNS = 4000;
/** Enough for the harness's code and tables. */
const RAM_SIZE = 0x2001_0000;
/** The library's CPU has 40 physical address bits. */
const PHYS_BITS = 40;
const TABLES = 0x10_0000;
const ROOT = TABLES;
/** Two frames of data, whatever the page size: at PD index 2, PT indices 0 and 1. */
const DATA = 0x40_0000;
/** Where a 4K leaf maps its page. */
const SMALL = 0x60_0000;
/** Bytes of a frame that tell which it is. */
const OWN = 0x100;
const WRITTEN = 0x1122_3344_5566_7788n;

const P = 1n << 0n;
const RW = 1n << 1n;
const US = 1n << 2n;
const A = 1n << 5n;
const D = 1n << 6n;
const PS = 1n << 7n;
const XD = 1n << 63n;

/** Mostly permissive, or the deeper levels would never be seen. */
const flag = (often: boolean) =>
  often ? fc.integer({ min: 0, max: 9 }).map((n) => n > 0) : fc.boolean();

const entryFlags = fc
  .record({
    p: flag(true),
    rw: flag(true),
    us: fc.boolean(),
    a: fc.boolean(),
    d: fc.boolean(),
    ignored: fc.constantFrom(0n, 0n, 1n << 9n, 1n << 58n, 1n << 52n),
    reserved: fc.constantFrom(...Array(12).fill(0n), 1n << 41n, 1n << 51n),
    xd: fc.integer({ min: 0, max: 6 }).map((n) => n === 0),
    g: fc.boolean(),
    key: fc.integer({ min: 0, max: 3 }),
  })
  .map(
    (e) =>
      (e.p ? P : 0n) |
      (e.rw ? RW : 0n) |
      (e.us ? US : 0n) |
      (e.a ? A : 0n) |
      (e.d ? D : 0n) |
      (e.xd ? XD : 0n) |
      (e.g ? 1n << 8n : 0n) |
      (BigInt(e.key) << 59n) |
      e.ignored |
      e.reserved,
  );

const spec = fc.record({
  la57: fc.boolean(),
  indices: fc.array(fc.integer({ min: 0, max: 510 }), { minLength: 3, maxLength: 3 }),
  /** PML5, PML4, PDPT, PD, and the two entries of the PT. */
  entries: fc.array(entryFlags, { minLength: 6, maxLength: 6 }),
  allUser: fc.boolean(),
  leaf: fc.constantFrom(12, 12, 12, 21, 30),
  /** Stray bits of a large page's address. */
  stray: fc.constantFrom(0n, 0n, 0n, 0n, 1n << 13n, 1n << 20n, 1n << 29n),
  psAbove: fc.integer({ min: 0, max: 30 }).map((n) => n === 0),
  kind: fc.constantFrom<X86AccessKind>('read', 'write', 'rmw', 'fetch'),
  size: fc.constantFrom(1, 2, 4, 8),
  offset: fc.oneof(fc.integer({ min: 0, max: 0xff7 }), fc.integer({ min: 0xff8, max: 0xfff })),
  cpl: fc.constantFrom(0, 3),
  ac: fc.boolean(),
  wp: fc.boolean(),
  smep: fc.boolean(),
  smap: fc.boolean(),
  nxe: flag(true),
  pkru: fc.option(fc.integer({ min: 0, max: 255 })),
  noncanonical: fc.integer({ min: 0, max: 25 }).map((n) => n === 0),
});
type Spec = typeof spec extends fc.Arbitrary<infer T> ? T : never;

const ram = new Ram(0, RAM_SIZE);
layHarness(ram);
const engine = unicornEngine();
const own = new OwnMmu(new Binding(engine.library.path), x86Description, ram);
afterAll(() => own.close());

/** Fetches go to an instruction, which the frame's own bytes are not. */
function offsetOf({ kind, offset }: Spec): number {
  if (kind !== 'fetch') return offset;
  return (offset & 0xff8) === OWN ? OWN + 8 : offset & 0xffe;
}

function addressOf(one: Spec): VirtAddr {
  const [five, four, three] = one.indices.map(BigInt);
  let va = (four << 39n) | (three << 30n) | BigInt(DATA) | BigInt(offsetOf(one));
  if (one.la57) va |= five << 48n;
  const width = one.la57 ? 57 : 48;
  const canonical = virtAddr(BigInt.asIntN(width, va));
  return one.noncanonical ? virtAddr(canonical ^ (1n << 60n)) : canonical;
}

/** Writes the tables of a case. @returns the addresses of its entries */
function writeTables(one: Spec): number[] {
  const user = one.allUser ? US : 0n;
  const [five, four, three] = one.indices;
  const written: number[] = [];
  const put = (at: number, entry: bigint) => {
    ram.write64(at, entry);
    written.push(at);
  };
  const table = (n: number) => TABLES + n * 0x1000;
  const [e5, e4, e3, e2, e1, e0] = one.entries.map((entry) => entry | user);
  const stray = (shift: number) => (one.stray >> BigInt(shift) === 0n ? one.stray : 0n);
  if (one.la57) put(ROOT + 8 * five, BigInt(table(1)) | e5 | (one.psAbove ? PS : 0n));
  const pml4 = one.la57 ? table(1) : ROOT;
  put(pml4 + 8 * four, BigInt(table(2)) | e4 | (one.psAbove && !one.la57 ? PS : 0n));
  if (one.leaf === 30) {
    put(table(2) + 8 * three, e3 | PS | stray(30));
    return written;
  }
  put(table(2) + 8 * three, BigInt(table(3)) | e3);
  if (one.leaf === 21) {
    put(table(3) + 8 * 2, BigInt(DATA) | e2 | PS | stray(21));
    return written;
  }
  put(table(3) + 8 * 2, BigInt(table(4)) | e2);
  put(table(4), BigInt(SMALL) | e1);
  put(table(4) + 8, BigInt(SMALL + 0x3000) | e0);
  return written;
}

function stateOf(one: Spec): X86PagingState {
  return {
    ...linuxPagingState(BigInt(ROOT), one.la57),
    cr0: 0x8000_0033n | (one.wp ? CR0_WP : 0n),
    cr4:
      CR4_PAE |
      0x600n |
      (one.la57 ? CR4_LA57 : 0n) |
      (one.smep ? CR4_SMEP : 0n) |
      (one.smap ? CR4_SMAP : 0n) |
      (one.pkru === null ? 0n : CR4_PKE),
    efer: one.nxe ? 0xd01n : 0x501n,
    pkru: BigInt(one.pkru ?? 0),
    cpl: one.cpl,
    ac: one.ac,
    maxPhysAddr: PHYS_BITS,
  };
}

interface Outcome {
  readonly vector: number | null;
  readonly code: number;
  readonly cr2: bigint | null;
  readonly entries: readonly bigint[];
  /** RAX after a load. */
  readonly value: bigint | null;
  /** Data frames after the access. */
  readonly data: string;
}

const FRAMES = [DATA, DATA + 0x1000, SMALL, SMALL + 0x3000];

function resetData(): void {
  for (const frame of FRAMES) {
    // jmp . at every place where a fetch may arrive, and the frame's own bytes between.
    const bytes = new Uint8Array(0x1000);
    for (let i = 0; i < 0x1000; i += 2) bytes.set([0xeb, 0xfe], i);
    ram.write(frame, bytes);
    ram.write64(frame + OWN, BigInt(frame) * 0x1_0001n);
  }
}

const dataNow = (): string =>
  FRAMES.map((frame) => Buffer.from(ram.read(frame, 0x1000)).toString('base64')).join();

/** What our model says, its stores made. */
function ours(one: Spec, entries: readonly number[]): Outcome {
  const va = addressOf(one);
  const paging = new X86Paging(ram, stateOf(one));
  const mmu = new Mmu({ paging, tlb: GOLDEN_COVE_STLB });
  const size = one.kind === 'fetch' ? 2 : one.size;
  const got = performAccess(mmu, paging, { kind: one.kind, va, size });
  const after = () => entries.map((at) => ram.read64(at));
  if (!got.ok) {
    const { vector, errorCode, cr2 } = got;
    return { vector, code: errorCode, cr2, entries: after(), value: null, data: dataNow() };
  }
  const places = Array.from({ length: size }, (_, i) => {
    const inFirst = 0x1000 - (got.pa % 0x1000);
    return got.secondPa !== null && i >= inFirst ? got.secondPa + i - inFirst : got.pa + i;
  });
  let value = 0n;
  for (const [i, pa] of places.entries()) {
    value |= ram.readUint(pa, 1) << BigInt(8 * i);
    if (one.kind !== 'write') continue;
    ram.write(pa, Uint8Array.of(Number((WRITTEN >> BigInt(8 * i)) & 0xffn)));
  }
  const loaded = one.kind === 'read' ? value : null;
  return { vector: null, code: 0, cr2: null, entries: after(), value: loaded, data: dataNow() };
}

/** What the library's MMU makes of it. */
function theirs(one: Spec, entries: readonly number[]): Outcome {
  const state = stateOf(one);
  const { registers } = own;
  own.reset();
  registers.write('cr4', state.cr4);
  registers.write('msr:0xc0000080', state.efer);
  registers.write('cr3', state.cr3);
  registers.write('cr0', state.cr0);
  if (one.pkru !== null) {
    for (const [name, value] of [
      ['rax', state.pkru],
      ['rcx', 0n],
      ['rdx', 0n],
    ] as const) {
      registers.write(name, value);
    }
    expect(own.run(codeAt('wrpkru', 0), 1)).toMatchObject({ exception: null, error: null });
  }
  registers.write('rflags', 0x2n | (one.ac ? EFLAGS_AC : 0n));
  registers.write('rdi', addressOf(one));
  registers.write('rax', one.kind === 'write' ? WRITTEN : 0n);
  own.setCpl(one.cpl);
  const fetch = one.kind === 'fetch';
  const purpose = (fetch ? 'fetch 2' : `${one.kind} ${one.size}`) as Purpose;
  const got = own.run(codeAt(purpose, one.cpl), fetch ? 2 : 1);
  expect(got.error).toBeNull();
  const after = entries.map((at) => ram.read64(at));
  const data = dataNow();
  if (got.exception === null) {
    if (!fetch) expect(registers.read('rip')).toBe(codeEnd(purpose, one.cpl));
    const value = one.kind === 'read' ? registers.read('rax') : null;
    return { vector: null, code: 0, cr2: null, entries: after, value, data };
  }
  const cr2 = got.exception === VECTOR_PF ? got.va : null;
  return { vector: got.exception, code: got.code, cr2, entries: after, value: null, data };
}

/** Their outcome with what the head of this file names made up for. */
function corrected(they: Outcome, we: Outcome, one: Spec): Outcome {
  if (they.vector === null) return they;
  let { code } = they;
  if (they.vector === VECTOR_PF) {
    if (code & PF_RSVD) code |= PF_P;
    if (one.kind === 'rmw') code |= PF_W;
    code |= we.code & PF_PK;
  }
  // After a fault the entries may have been accessed, and say nothing.
  return { ...they, code, entries: we.entries };
}

describe.skipIf(!engine.knowsInternals)("the library's own x86 MMU", () => {
  const seen = new Map<string, number>();

  it('comes to the same as our walk', () => {
    fc.assert(
      fc.property(spec, (one) => {
        const crosses = one.kind !== 'fetch' && one.offset + one.size > 0x1000;
        fc.pre(!(crosses && (one.noncanonical || one.kind === 'rmw')));
        const at = writeTables(one);
        const slots = mapHarness(ram, {
          cr3: `0x${ROOT.toString(16)}`,
          cr4: `0x${stateOf(one).cr4.toString(16)}`,
        } as X86Case);
        try {
          resetData();
          const we = ours(one, at);
          writeTables(one);
          resetData();
          const they = theirs(one, at);
          expect(corrected(they, we, one)).toEqual(we);
          const key = we.vector === null ? 'granted' : `#${we.vector}(${we.code.toString(16)})`;
          seen.set(key, (seen.get(key) ?? 0) + 1);
        } finally {
          for (const entry of [...at, ...slots]) ram.write64(entry, 0n);
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('was asked about every kind of outcome', () => {
    for (const key of ['granted', '#13(0)', '#14(0)', '#14(1)', '#14(3)', '#14(7)', '#14(11)']) {
      expect(seen.get(key) ?? 0, key).toBeGreaterThan(5);
    }
    for (const bit of [PF_RSVD, PF_PK]) {
      const codes = [...seen.keys()].map((key) => Number.parseInt(key.slice(4), 16));
      expect(codes.some((code) => code & bit)).toBe(true);
    }
  });
});
