// The locks of an arena: rqspinlock, whose acquisition can fail, and mutex. While a schedule steps the kernel a waiter
// yields until the holder lets go; `what` of such a step begins with "wait". Left out: queues and fairness, and the
// detection of a deadlock between several CPUs, which stays a failure that a scenario injects.
import {
  type Activity,
  CHANGED,
  type KernelContext,
  KernelStuck,
  LOOKED,
  type Shared,
  type Step,
} from '../mm/context.ts';

const EDEADLK = -35;
const ETIMEDOUT = -110;

/** rqspinlock_t, or struct mutex. */
export class Lock implements Shared {
  readonly name: string;
  /** CPU that holds it, or -1. */
  holder = -1;
  /** A raw_spinlock_t, which looks for no deadlock: taken twice by one CPU it spins for ever. */
  raw = false;

  constructor(name: string) {
    this.name = name;
  }

  get label(): string {
    return this.name;
  }

  fingerprint(): number {
    return this.holder;
  }
}

/**
 * raw_res_spin_lock_irqsave()
 * @returns 0; -EDEADLK if this CPU holds it; -ETIMEDOUT if another holds it and cannot run; an injected errno
 * @kernel raw_res_spin_lock_irqsave include/asm-generic/rqspinlock.h read - times out at once; no ABBA detection
 */
export function* rawResSpinLock(kernel: KernelContext, lock: Lock): Activity<number> {
  const injected = yield* beginRawResSpinLock(kernel, lock);
  return yield* endRawResSpinLock(kernel, lock, injected);
}

/** The step before the lock is looked at. @returns the errno that a scenario makes the acquisition fail with, or 0 */
export function* beginRawResSpinLock(kernel: KernelContext, lock: Lock): Activity<number> {
  if (kernel.stepping) yield acquiring(kernel, lock);
  return kernel.failure('spinlock');
}

/** The rest of the acquisition. @param injected errno that it must fail with, or 0 */
export function* endRawResSpinLock(
  kernel: KernelContext,
  lock: Lock,
  injected: number,
): Activity<number> {
  if (injected) return failed(kernel, lock, injected);
  return yield* acquire(kernel, lock);
}

/** The lock was free, and compiled code has taken it. */
export function lockTaken(kernel: KernelContext, lock: Lock): void {
  kernel.access?.object(lock, LOOKED | CHANGED);
  lock.holder = kernel.cpu;
  tell(kernel, lock, 'acquire');
}

/**
 * mutex_lock(). @throws KernelStuck where it would sleep for ever: held by this CPU, or by one that cannot run
 * @kernel mutex_lock kernel/locking/mutex.c read - without its queue
 */
export function* mutexLock(kernel: KernelContext, lock: Lock): Activity<void> {
  if (kernel.stepping) yield acquiring(kernel, lock);
  const err = yield* acquire(kernel, lock);
  if (err) throw new KernelStuck(`mutex ${lock.name} is held and cannot be had`);
}

/**
 * raw_res_spin_unlock_irqrestore(), mutex_unlock(). Its step is the caller's: a release is seen after it.
 * @kernel raw_res_spin_unlock_irqrestore include/asm-generic/rqspinlock.h read
 * @kernel mutex_unlock kernel/locking/mutex.c read
 */
export function unlock(kernel: KernelContext, lock: Lock): void {
  kernel.access?.object(lock, CHANGED);
  // A store-release.
  kernel.tables?.released();
  lock.holder = -1;
  tell(kernel, lock, 'release');
}

/** A CPU that would wait need not move; one that holds the lock itself moves on to see that it does. */
function acquiring(kernel: KernelContext, lock: Lock): Step {
  const { cpu } = kernel;
  const ready = () => lock.holder < 0 || (lock.holder === cpu && !lock.raw);
  return { kind: 'lock', what: `acquire ${lock.name}`, ready };
}

function* acquire(kernel: KernelContext, lock: Lock): Activity<number> {
  kernel.access?.object(lock, LOOKED | CHANGED);
  if (lock.holder === kernel.cpu && !lock.raw) {
    if (kernel.events.on) {
      const cycle = `CPU ${kernel.cpu} waits for ${lock.name}, which CPU ${kernel.cpu} holds`;
      kernel.decide('check_deadlock_AA', `-EDEADLK: ${cycle}`);
    }
    return failed(kernel, lock, EDEADLK);
  }
  while (lock.holder >= 0) {
    if (!kernel.stepping) {
      if (lock.raw) throw new KernelStuck(`${lock.name} is taken twice by CPU ${kernel.cpu}`);
      return failed(kernel, lock, ETIMEDOUT);
    }
    yield { kind: 'lock', what: `wait for ${lock.name}`, ready: () => lock.holder < 0 };
    kernel.access?.object(lock, LOOKED | CHANGED);
  }
  lock.holder = kernel.cpu;
  tell(kernel, lock, 'acquire');
  return 0;
}

function failed(kernel: KernelContext, lock: Lock, err: number): number {
  tell(kernel, lock, 'fail');
  return err;
}

function tell(kernel: KernelContext, lock: Lock, op: 'acquire' | 'release' | 'fail'): void {
  const { events, cpu } = kernel;
  if (events.on) events.emit({ type: 'lock', cpu, lock: lock.name, op });
}
