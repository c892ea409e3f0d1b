import { describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import { type AccessKind, PERM_R, PERM_W, READ, WRITE } from '../emulator/engine.ts';
import { type Event, EventSink } from '../emulator/events.ts';
import { Mmu } from './mmu.ts';
import {
  GRANTED,
  type Grant,
  NO_RIGHTS,
  type Paging,
  REFUSED,
  REWALK,
  RIGHTS_DIRTY,
  type WalkReport,
} from './paging.ts';
import type { TlbShape } from './tlb.ts';
import { WalkRecord } from './walk.ts';

const SHAPE: TlbShape = [
  { name: '4K', shifts: [12], sets: 1, ways: 2 },
  { name: '2M', shifts: [21], sets: 1, ways: 2 },
];
const WRITABLE = 2;
const TAG = 0xff00_0000;

/** The smallest paging unit: a list of pages; the top byte of an address is a tag. It behaves as arm64 does. */
class ListedPaging implements Paging {
  readonly pages = new Map<number, { pa: number; rights: number; shift: number }>();
  translating = true;
  faultInvalidates = false;
  conflictRights = null;
  space = 1;
  found = false;
  pa = 0;
  perms = 0;
  rights = NO_RIGHTS;
  readonly global = false;
  pageShift = 12;
  faultVector = 0;
  faultCode = 0;
  walks = 0;
  /** What a refused walk leaves for the TLB. */
  absent = 4;
  readonly record = new WalkRecord();

  untag = (hi: number) => (hi & ~TAG) >>> 0;

  grant(rights: number, _hi: number, _lo: number, kind: AccessKind): Grant {
    const writable = (rights & WRITABLE) !== 0;
    if (rights === 4 || (kind === WRITE && !writable)) {
      this.faultVector = 0x25;
      this.faultCode = rights === 4 ? 7 : 15;
      return REFUSED;
    }
    if (kind === WRITE && !(rights & RIGHTS_DIRTY)) return REWALK;
    this.perms = rights & RIGHTS_DIRTY && writable ? PERM_R | PERM_W : PERM_R;
    return GRANTED;
  }

  walk(_hi: number, lo: number, kind: AccessKind, sideEffects: boolean): boolean {
    this.walks++;
    const page = [...this.pages].find(([at, one]) => lo >>> one.shift === at >>> one.shift)?.[1];
    this.found = page !== undefined;
    this.pageShift = page?.shift ?? 12;
    this.rights = page?.rights ?? this.absent;
    this.pa = page ? page.pa + (lo & ((1 << page.shift) - 1)) : 0;
    if (page && kind === WRITE && sideEffects && page.rights & WRITABLE) {
      page.rights = (page.rights | RIGHTS_DIRTY) >>> 0;
      this.rights = page.rights;
    }
    return this.grant(page ? this.rights : 4, 0, lo, kind) !== REFUSED;
  }

  readonly spaceName = 'ASID';
  describeRights(rights: number): string {
    return `rights ${rights}`;
  }

  inspect(va: VirtAddr): WalkReport {
    const level = {
      level: 'L3',
      table: 0,
      index: 0,
      entryAddr: 0,
      entry: 1n,
      bits: '',
      verdict: '',
    };
    return { va, ok: true, pa: null, levels: [level as never], verdict: '', code: null };
  }
}

function make(policy: 'off' | 'on' = 'off') {
  const paging = new ListedPaging();
  const told: string[] = [];
  const events = new EventSink();
  const mmu = new Mmu({
    paging,
    tlb: SHAPE,
    policy: { negative: policy },
    listener: {
      onEvict: (va, shift) => told.push(`${va.toString(16)}/${shift}`),
      onEvictAll: () => told.push('all'),
    },
    events,
    cpu: 3,
  });
  const ask = (va: bigint, kind: AccessKind = READ) =>
    mmu.translate(hi32(va), lo32(va), kind)
      ? `${mmu.pa.toString(16)} ${mmu.perms}`
      : `fault ${mmu.faultCode}`;
  const map = (at: number, pa: number, rights = WRITABLE, shift = 12) =>
    paging.pages.set(at, { pa, rights, shift });
  return { paging, told, events, mmu, ask, map };
}

describe('a translation', () => {
  it('walks once and then hits, frame by frame of a large page', () => {
    const { paging, mmu, ask, map } = make();
    map(0x20_0000, 0x40_0000, WRITABLE, 21);
    expect(ask(0x20_3456n)).toBe('403000 1');
    expect(ask(0x20_4fffn)).toBe('404000 1');
    expect(paging.walks).toBe(1);
    expect(mmu.misses).toBe(1);
    expect(mmu.hit).toBe(true);
  });

  it('asks the tables again for the first write, and not for the second', () => {
    const { paging, ask, map } = make();
    map(0x1000, 0x9000);
    expect(ask(0x1000n)).toBe('9000 1');
    expect(ask(0x1000n, WRITE)).toBe('9000 3');
    expect(paging.walks).toBe(2);
    expect(ask(0x1000n, WRITE)).toBe('9000 3');
    expect(paging.walks).toBe(2);
  });

  it('finds a page under every tag that the architecture ignores', () => {
    const { paging, ask, map } = make();
    map(0x1000, 0x9000);
    ask(0x1000n);
    expect(ask(0xab00_0000_0000_1000n)).toBe('9000 1');
    expect(paging.walks).toBe(1);
  });

  it('passes the TLB by while addresses are not translated', () => {
    const { paging, mmu, ask, map } = make();
    paging.translating = false;
    map(0x1000, 0x9000);
    ask(0x1000n);
    map(0x1000, 0xa000);
    expect(ask(0x1000n)).toBe('a000 1');
    expect(mmu.tlb.size).toBe(0);
  });

  it('belongs to the space in which it was made', () => {
    const { paging, ask, map } = make();
    map(0x1000, 0x9000);
    ask(0x1000n);
    paging.space = 2;
    map(0x1000, 0xa000);
    expect(ask(0x1000n)).toBe('a000 1');
    paging.space = 1;
    expect(ask(0x1000n)).toBe('9000 1');
  });
});

describe('a stale entry', () => {
  it('reaches the old page until it is invalidated, and the engine is told', () => {
    const { paging, told, mmu, ask, map } = make();
    const va = virtAddr(0x1000n);
    map(0x1000, 0x9000);
    ask(va);
    expect(mmu.staleness(va)).toBeNull();
    map(0x1000, 0xa000);
    expect(ask(va)).toBe('9000 1');
    expect(mmu.staleness(va)).toBe('moved');
    map(0x1000, 0x9000, 0);
    expect(mmu.staleness(va)).toBe('rights');
    paging.pages.clear();
    expect(ask(va)).toBe('9000 1');
    expect(mmu.staleness(va)).toBe('gone');
    mmu.invalidatePage(va, 1, false);
    expect(told).toEqual(['1000/12', '1000/12']);
    expect(ask(va)).toBe('fault 7');
    expect(mmu.staleness(va)).toBeNull();
  });

  it('is not made stale by dirty state that somebody else set, but by dirty state that was cleared', () => {
    const { mmu, ask, map } = make();
    const va = virtAddr(0x1000n);
    map(0x1000, 0x9000);
    ask(va);
    map(0x1000, 0x9000, (WRITABLE | RIGHTS_DIRTY) >>> 0);
    expect(mmu.staleness(va)).toBeNull();
    mmu.invalidateAll();
    ask(va);
    map(0x1000, 0x9000);
    expect(mmu.staleness(va)).toBe('rights');
  });

  it('goes on refusing where faults do not invalidate, and refuses once where they do', () => {
    for (const faultInvalidates of [false, true]) {
      const { paging, told, ask, map } = make();
      paging.faultInvalidates = faultInvalidates;
      map(0x1000, 0x9000, 0);
      ask(0x1000n);
      map(0x1000, 0x9000, WRITABLE);
      expect(ask(0x1000n, WRITE)).toBe('fault 15');
      expect(ask(0x1000n, WRITE)).toBe(faultInvalidates ? '9000 3' : 'fault 15');
      expect(told).toEqual(faultInvalidates ? ['1000/12'] : []);
    }
  });

  it('is dropped by the fault of a walk that it made necessary, where faults invalidate', () => {
    for (const faultInvalidates of [false, true]) {
      const { paging, ask, map } = make();
      paging.faultInvalidates = faultInvalidates;
      map(0x1000, 0x9000);
      ask(0x1000n);
      paging.pages.clear();
      expect(ask(0x1000n, WRITE)).toBe('fault 7');
      expect(ask(0x1000n)).toBe(faultInvalidates ? 'fault 7' : '9000 1');
    }
  });

  it('that refuses tells so, and no other', () => {
    const { events, ask, map } = make();
    const seen: Event[] = [];
    map(0x1000, 0x9000, 0);
    ask(0x1000n);
    events.read((event) => seen.push(event));
    ask(0x1000n, WRITE);
    expect(seen).toEqual([]);
    map(0x1000, 0x9000, WRITABLE);
    ask(0x1000n, WRITE);
    expect(seen).toEqual([{ type: 'staleRefusal', cpu: 3, va: 0x1000n }]);
  });
});

describe('who listens', () => {
  it('changes nothing of a refusal, in the paging unit either', () => {
    const refusal = (heard: boolean) => {
      const { paging, events, mmu, ask, map } = make();
      if (heard) events.read(() => {});
      map(0x1000, 0x9000, 0);
      ask(0x1000n);
      paging.pages.clear();
      return [ask(0x1000n, WRITE), mmu.faultCode, paging.faultCode, paging.faultVector];
    };
    expect(refusal(true)).toEqual(['fault 15', 15, 15, 0x25]);
    expect(refusal(true)).toEqual(refusal(false));
  });
});

describe('the entries for an address', () => {
  it('are told of every size and space, with what the tables say of those that answer', () => {
    const { paging, mmu, ask, map } = make();
    map(0x20_0000, 0x40_0000, WRITABLE, 21);
    ask(0x20_3456n);
    paging.space = 2;
    paging.pages.clear();
    map(0x20_3000, 0x9000);
    ask(0x20_3456n);
    map(0x20_3000, 0xa000);
    const small = { va: 0x20_3000n, shift: 12, space: 2, global: false, page: 0x9000 };
    const large = { va: 0x20_0000n, shift: 21, space: 1, global: false, page: 0x40_0000 };
    const told = { rights: WRITABLE, rightsText: 'rights 2' };
    expect(mmu.tlbEntries(virtAddr(0xab00_0000_0020_3008n))).toEqual([
      { ...small, ...told, answers: true, stale: 'moved' },
      { ...large, ...told, answers: false, stale: null },
    ]);
    expect(mmu.tlbEntries(virtAddr(0x20_4000n))).toMatchObject([{ shift: 21 }]);
    expect(mmu.tlbEntries(virtAddr(0x40_3000n))).toEqual([]);
  });

  it('show a kept refusal, which a page makes stale', () => {
    const { mmu, ask, map } = make('on');
    ask(0x1000n);
    const told = { page: null, shift: 12, rightsText: 'rights 4', answers: true };
    expect(mmu.tlbEntries(virtAddr(0x1000n))).toMatchObject([{ ...told, stale: null }]);
    map(0x1000, 0x9000);
    expect(mmu.tlbEntries(virtAddr(0x1000n))).toMatchObject([{ ...told, stale: 'moved' }]);
  });
});

describe('negative entries', () => {
  it('are not kept by default', () => {
    const { ask, map } = make();
    expect(ask(0x1000n)).toBe('fault 7');
    map(0x1000, 0x9000);
    expect(ask(0x1000n)).toBe('9000 1');
  });

  it('are kept of no page that is there, and of nothing that the architecture never keeps', () => {
    const { paging, mmu, ask, map } = make('on');
    map(0x1000, 0x9000, 1);
    expect(ask(0x1000n, WRITE)).toBe('fault 15');
    expect(ask(0x1000n)).toBe('9000 1');
    paging.absent = NO_RIGHTS;
    expect(ask(0x2000n)).toBe('fault 7');
    expect(mmu.tlbEntries(virtAddr(0x2000n))).toEqual([]);
  });

  it('belong to the space in which they were made', () => {
    const { paging, ask, map } = make('on');
    expect(ask(0x1000n)).toBe('fault 7');
    map(0x1000, 0x9000);
    paging.space = 2;
    expect(ask(0x1000n)).toBe('9000 1');
    paging.space = 1;
    expect(ask(0x1000n)).toBe('fault 7');
  });

  it('refuse once, if the policy keeps them', () => {
    for (const faultInvalidates of [false, true]) {
      const { paging, mmu, ask, map } = make('on');
      paging.faultInvalidates = faultInvalidates;
      expect(ask(0x1000n)).toBe('fault 7');
      expect(mmu.staleness(virtAddr(0x1000n))).toBeNull();
      map(0x1000, 0x9000);
      expect(mmu.staleness(virtAddr(0x1000n))).toBe('moved');
      expect(ask(0x1000n)).toBe('fault 7');
      expect(ask(0x1000n)).toBe('9000 1');
    }
  });
});

describe('the engine', () => {
  it('is told of what a refill displaces', () => {
    const { told, ask, map } = make();
    for (const at of [0x1000, 0x2000, 0x3000]) {
      map(at, at);
      ask(BigInt(at));
    }
    expect(told).toEqual(['1000/12']);
  });

  it('is told once of many, and of a page that no entry covers', () => {
    const { told, mmu, ask, map } = make();
    map(0x1000, 0x9000);
    map(0x2000, 0x9000);
    ask(0x1000n);
    ask(0x2000n);
    mmu.invalidateSpace(1, false);
    mmu.invalidateAll();
    mmu.rightsChanged();
    mmu.invalidatePage(virtAddr(0x5678n), 1, false);
    expect(told).toEqual(['all', 'all', 'all', '5000/12']);
    expect(mmu.tlb.size).toBe(0);
  });
});

describe('events', () => {
  it('tell the steps of walks and the operations, not the hits', () => {
    const { events, mmu, ask, map } = make();
    const seen: string[] = [];
    events.read((event) => seen.push(event.type === 'tlb' ? event.op : event.type));
    map(0x1000, 0x9000);
    ask(0x1000n);
    ask(0x1000n);
    mmu.invalidatePage(virtAddr(0x1000n), 1, true);
    mmu.invalidateSpace(1, true);
    mmu.invalidateAll();
    expect(seen).toEqual(['walkStep', 'invalidatePage', 'invalidateSpace', 'invalidateAll']);
  });
});
