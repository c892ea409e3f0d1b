// The locks of an arena: rqspinlock, whose acquisition can fail, and mutex. While a schedule steps the kernel a waiter
// yields until the holder lets go; `what` of such a step begins with "wait". Left out: queues and fairness, and the
// detection of a deadlock between several CPUs, which stays a failure that a scenario injects.
import type { Activity, KernelContext } from '../mm/context.ts';

const EDEADLK = -35;
const ETIMEDOUT = -110;

/** rqspinlock_t, or struct mutex. */
export class Lock {
  readonly name: string;
  /** CPU that holds it, or -1. */
  holder = -1;

  constructor(name: string) {
    this.name = name;
  }
}

/**
 * raw_res_spin_lock_irqsave()
 * @returns 0; -EDEADLK if this CPU holds it; -ETIMEDOUT if another holds it and cannot run; an injected errno
 * @kernel raw_res_spin_lock_irqsave kernel/bpf/rqspinlock.c unverified
 */
export function* rawResSpinLock(kernel: KernelContext, lock: Lock): Activity<number> {
  if (kernel.stepping) yield { kind: 'lock', what: `acquire ${lock.name}` };
  const injected = kernel.failure('spinlock');
  if (injected) return failed(kernel, lock, injected);
  return yield* acquire(kernel, lock);
}

/**
 * mutex_lock(). @throws Error where it would sleep for ever: held by this CPU, or by one that cannot run
 * @kernel mutex_lock kernel/locking/mutex.c unverified
 */
export function* mutexLock(kernel: KernelContext, lock: Lock): Activity<void> {
  if (kernel.stepping) yield { kind: 'lock', what: `acquire ${lock.name}` };
  const err = yield* acquire(kernel, lock);
  if (err) throw new Error(`mutex ${lock.name} is held and cannot be had`);
}

/**
 * raw_res_spin_unlock_irqrestore(), mutex_unlock(). Its step is the caller's: a release is seen after it.
 * @kernel raw_res_spin_unlock_irqrestore kernel/bpf/rqspinlock.c unverified
 * @kernel mutex_unlock kernel/locking/mutex.c unverified
 */
export function unlock(kernel: KernelContext, lock: Lock): void {
  lock.holder = -1;
  tell(kernel, lock, 'release');
}

function* acquire(kernel: KernelContext, lock: Lock): Activity<number> {
  if (lock.holder === kernel.cpu) return failed(kernel, lock, EDEADLK);
  while (lock.holder >= 0) {
    if (!kernel.stepping) return failed(kernel, lock, ETIMEDOUT);
    yield { kind: 'lock', what: `wait for ${lock.name}` };
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
