import { describe, expect, it } from 'vitest';
import { EventSink, type StreamWriteEvent } from '../emulator/events.ts';
import { ERRNO, KernelContext } from '../mm/context.ts';
import { BpfProg } from './prog.ts';
import {
  BPF_STDERR,
  BPF_STDOUT,
  BpfStreamStage,
  bpfProgStreamRead,
  bpfStreamStageCommit,
  bpfStreamVprintk,
} from './stream.ts';

function create(series: 'v2' | 'mainline' = 'mainline') {
  const kernel = new KernelContext(new EventSink(), { series } as never);
  const prog = new BpfProg('prog', null);
  const print = (text: string, id = BPF_STDERR) => bpfStreamVprintk(kernel, prog, id, text);
  const read = (length: number, writable?: number) => {
    const result = bpfProgStreamRead(kernel, prog, BPF_STDERR, length, writable);
    return typeof result === 'number' ? result : new TextDecoder().decode(result);
  };
  const commit = (...texts: string[]) => {
    const stage = new BpfStreamStage(kernel);
    for (const text of texts) stage.printk(text);
    return bpfStreamStageCommit(kernel, stage, prog, BPF_STDERR);
  };
  const capacity = () => prog.streams[1].capacity;
  return { kernel, prog, print, read, commit, capacity };
}

describe('reading a stream', () => {
  it('gives messages first in, first out, over the borders of elements', () => {
    const { print, read } = create();
    print('one ');
    print('two ');
    print('three');
    expect(read(6)).toBe('one tw');
    expect(read(100)).toBe('o three');
    expect(read(100)).toBe('');
  });

  it('gives room back only when the last byte of an element is read', () => {
    const { commit, read, capacity } = create();
    commit('12345', '678');
    expect(capacity()).toBe(8);
    read(4);
    expect(capacity()).toBe(8);
    read(1);
    expect(capacity()).toBe(3);
    read(2);
    expect(capacity()).toBe(3);
    read(1);
    expect(capacity()).toBe(0);
  });

  it('counts bytes, not characters', () => {
    const { print, capacity, kernel, prog } = create();
    print('£é');
    expect(capacity()).toBe(4);
    expect(bpfProgStreamRead(kernel, prog, BPF_STDERR, 1)).toEqual(Uint8Array.of(0xc2));
  });

  it('knows two streams and no third', () => {
    const { kernel, prog, print } = create();
    print('out', BPF_STDOUT);
    expect(print('x', 3)).toBe(ERRNO.ENOENT);
    expect(print('x', 0)).toBe(ERRNO.ENOENT);
    expect(bpfProgStreamRead(kernel, prog, 3, 1)).toBe(ERRNO.ENOENT);
    expect(bpfProgStreamRead(kernel, prog, BPF_STDOUT, 9)).toEqual(new TextEncoder().encode('out'));
    expect(bpfStreamStageCommit(kernel, { lines: [], len: 0 }, prog, 7)).toBe(ERRNO.EINVAL);
  });

  it("keeps a subprogram's output in its main program's streams", () => {
    const { kernel, prog, read } = create();
    const sub = new BpfProg('sub', null, prog);
    bpfStreamVprintk(kernel, sub, BPF_STDERR, 'from below');
    expect(read(99)).toBe('from below');
  });

  it('v2 puts an element back when the copy faults; mainline keeps what was copied', () => {
    for (const series of ['v2', 'mainline'] as const) {
      const { print, read, capacity } = create(series);
      print('abcd');
      print('efgh');
      expect(read(8, 2)).toBe(series === 'v2' ? ERRNO.EFAULT : 'ab');
      expect(read(8, 0)).toBe(ERRNO.EFAULT);
      expect(read(8)).toBe(series === 'v2' ? 'abcdefgh' : 'cdefgh');
      expect(capacity()).toBe(0);
    }
  });

  it('refuses lengths above INT_MAX on mainline', () => {
    expect(create().read(0x8000_0000)).toBe(ERRNO.EINVAL);
    expect(create('v2').read(0x8000_0000)).toBe('');
  });

  it('survives a long life of writing and reading', () => {
    const { print, read } = create();
    let seen = '';
    for (let i = 0; i < 5000; i++) {
      print(`${i},`);
      if (i % 3 === 0) seen += read(7);
    }
    seen += read(1 << 20);
    expect(seen).toBe(Array.from({ length: 5000 }, (_, i) => `${i},`).join(''));
  });
});

describe('the capacity of a stream', () => {
  const thousand = 'x'.repeat(1000);

  it('stays below 100,000 bytes', () => {
    const { print, capacity } = create();
    for (let i = 0; i < 99; i++) expect(print(thousand)).toBe(0);
    expect(print(thousand)).toBe(ERRNO.ENOSPC);
    expect(print('y'.repeat(999))).toBe(0);
    expect(capacity()).toBe(99_999);
    expect(print('z')).toBe(ERRNO.ENOSPC);
  });

  it('drops a staged message whole, and says so in an event', () => {
    const { kernel, commit, print, capacity, read } = create();
    const events: StreamWriteEvent[] = [];
    kernel.events.read((event) => event.type === 'streamWrite' && events.push(event));
    for (let i = 0; i < 99; i++) print(thousand);
    print('x'.repeat(950));
    events.length = 0;
    expect(commit('x'.repeat(30), 'y'.repeat(20))).toBe(ERRNO.ENOSPC);
    expect(capacity()).toBe(99_950);
    expect(commit('x'.repeat(30), 'y'.repeat(19))).toBe(0);
    expect(events.map((event) => event.dropped)).toEqual([true, false]);
    expect(read(1 << 20)).toHaveLength(99_999);
    expect(commit('again')).toBe(0);
    expect(read(9)).toBe('again');
  });
});

describe('text as long as the print buffer', () => {
  it('mainline prints up to 1023 bytes and refuses more with -E2BIG', () => {
    const { print, capacity } = create();
    expect(print('x'.repeat(1023))).toBe(0);
    expect(print('x'.repeat(1024))).toBe(ERRNO.E2BIG);
    expect(capacity()).toBe(1023);
  });

  it('v2 lets the NUL of a text of 1024 bytes through', () => {
    const { print, read } = create('v2');
    expect(print('x'.repeat(1024))).toBe(0);
    expect(read(2000)).toBe(`${'x'.repeat(1023)}\0`);
  });

  it('v2 charges longer text for ever and fails', () => {
    const { print, read, capacity } = create('v2');
    expect(print('x'.repeat(1025))).toBe(ERRNO.ENOMEM);
    expect(read(2000)).toBe('');
    expect(capacity()).toBe(1025);
  });

  it('mainline cuts a staged line, v2 leaves it out and charges it', () => {
    const long = 'x'.repeat(1500);
    const mainline = create();
    expect(mainline.commit('head\n', long)).toBe(0);
    expect(mainline.capacity()).toBe(5 + 1023);
    const v2 = create('v2');
    expect(v2.commit('head\n', long, 'tail\n')).toBe(0);
    expect(v2.read(9999)).toBe('head\ntail\n');
    expect(v2.capacity()).toBe(1500);
  });

  it('takes empty text for nothing', () => {
    for (const series of ['v2', 'mainline'] as const) {
      const { print, commit, read, capacity } = create(series);
      expect([print(''), commit('', 'a', '')]).toEqual([0, 0]);
      expect([read(9), capacity()]).toEqual(['a', 0]);
    }
  });
});
