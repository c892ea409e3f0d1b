import { describe, expect, it } from 'vitest';
import { EventSink } from '../emulator/events.ts';
import { finish, KernelContext } from '../mm/context.ts';
import { Lock, mutexLock, rawResSpinLock, unlock } from './rqspinlock.ts';

function setUp() {
  const kernel = new KernelContext(new EventSink(), {} as never);
  const events: string[] = [];
  kernel.events.read((e) => {
    if (e.type === 'lock') events.push(`${e.op} ${e.cpu}`);
    if (e.type === 'decision') events.push(e.text);
  });
  return { kernel, lock: new Lock('lock'), events };
}

describe('locks', () => {
  it('are taken and released', () => {
    const { kernel, lock, events } = setUp();
    kernel.cpu = 1;
    expect(finish(rawResSpinLock(kernel, lock))).toBe(0);
    expect(lock.holder).toBe(1);
    unlock(kernel, lock);
    finish(mutexLock(kernel, lock));
    unlock(kernel, lock);
    expect(lock.holder).toBe(-1);
    expect(events).toEqual(['acquire 1', 'release 1', 'acquire 1', 'release 1']);
  });

  it('fail by injection, by deadlock with oneself, and when the holder cannot run', () => {
    const { kernel, lock, events } = setUp();
    kernel.inject('spinlock', 1, -16);
    expect(finish(rawResSpinLock(kernel, lock))).toBe(-16);
    finish(rawResSpinLock(kernel, lock));
    expect(finish(rawResSpinLock(kernel, lock))).toBe(-35);
    kernel.cpu = 1;
    expect(finish(rawResSpinLock(kernel, lock))).toBe(-110);
    expect(() => finish(mutexLock(kernel, lock))).toThrow(/cannot be had/);
    expect(lock.holder).toBe(0);
    const cycle = '-EDEADLK: CPU 0 waits for lock, which CPU 0 holds';
    expect(events).toEqual(['fail 0', 'acquire 0', cycle, 'fail 0', 'fail 1', 'fail 1']);
  });

  it('are waited for while the kernel is stepped', () => {
    const { kernel, lock } = setUp();
    finish(rawResSpinLock(kernel, lock));
    kernel.stepping = true;
    kernel.cpu = 1;
    const waiter = rawResSpinLock(kernel, lock);
    const step = () => {
      const next = waiter.next();
      return next.done ? next.value : next.value.what;
    };
    expect([step(), step(), step()]).toEqual(['acquire lock', 'wait for lock', 'wait for lock']);
    unlock(kernel, lock);
    expect([step(), lock.holder]).toEqual([0, 1]);
  });

  it('of the raw kind are waited for by their own holder', () => {
    const { kernel, lock } = setUp();
    lock.raw = true;
    finish(rawResSpinLock(kernel, lock));
    expect(() => finish(rawResSpinLock(kernel, lock))).toThrow(/taken twice by CPU 0/);
    kernel.stepping = true;
    const again = rawResSpinLock(kernel, lock);
    const first = again.next();
    expect(first.done ? null : first.value.ready?.()).toBe(false);
    expect(again.next().done).toBe(false);
  });
});
