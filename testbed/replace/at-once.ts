// Calls of compiled code where the model has no step.
import { type Activity, KernelStuck } from '../../mm/context.ts';

/**
 * Runs a call to its end, in one step of whoever steps the kernel.
 * @throws KernelStuck if it waits for another CPU, which cannot move meanwhile
 */
export function atOnce<T>(name: string, call: Activity<T>): T {
  for (;;) {
    const next = call.next();
    if (next.done) return next.value;
    const { ready, what } = next.value;
    if (ready === undefined || ready()) continue;
    const error = new KernelStuck(
      `${name} waits for another CPU (${what}), where the model does not`,
    );
    call.throw(error);
    throw error;
  }
}
