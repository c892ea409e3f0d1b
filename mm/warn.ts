// WARN_ON_ONCE(): a line in the kernel log, once for each place and kernel. The register dump and stack trace that a
// real kernel prints below the line are left out.
import type { KernelContext } from './context.ts';

/**
 * WARN_ON_ONCE(1) of `fn`.
 * @param fn kernel function that warns. @param why the condition, in the kernel's terms
 * @kernel WARN_ON_ONCE include/asm-generic/bug.h read - one line, with words of our own
 */
export function warnOnce(context: KernelContext, fn: string, why: string): void {
  const place = `${fn} (${why})`;
  if (context.warned.has(place)) return;
  context.warned.add(place);
  context.printk(`WARNING: at ${place}`, fn);
}
