// The kernel log, for compiled code that prints to it: lines by the function that began them. Left out: levels of lines.
import { virtAddr } from '../../../emulator/address.ts';
import type { Kernel } from '../../kernel.ts';
import type { Callee } from '../guest-calls.ts';
import { formatText, readText } from '../printk-format.ts';
import { type CalleeParts, plain } from './index.ts';

/** KERN_SOH: a level follows, of which `c` (KERN_CONT) goes on with a line that was begun. */
const KERN_SOH = '\x01';

export function printkCallees({ kernel }: CalleeParts): [string, Callee][] {
  const print = plain((argument, returnsTo) => {
    let i = 1;
    const text = formatText(kernel, readText(kernel, argument(0)), () => argument(i++));
    // %pS of a call looks at the call itself, which may be the last instruction of its function.
    const name = kernel.symbols.find(virtAddr(returnsTo() - 1n))?.name ?? '';
    // Compilers make parts and clones: page_fault_oops.part.0, page_fault_oops.cold.
    printLines(kernel, text, name.replace(/\..*/, ''));
    return BigInt(text.length);
  });
  return [
    ['_printk', print],
    ['printk', print],
    ['__warn_printk', print],
    ['_printk_deferred', print],
  ];
}

/** printk(): whole lines go to the log, and what is left over waits for its end. */
function printLines({ context }: Kernel, whole: string, by: string): void {
  const hasLevel = whole.startsWith(KERN_SOH);
  const text = hasLevel ? whole.slice(2) : whole;
  if (!hasLevel || whole[1] !== 'c') context.endLine();
  const lines = text.split('\n');
  lines.forEach((line, i) => {
    context.begunLine = {
      text: (context.begunLine?.text ?? '') + line,
      by: context.begunLine?.by ?? by,
    };
    if (i < lines.length - 1) context.endLine();
    else if (context.begunLine.text === '') context.begunLine = null;
  });
}
