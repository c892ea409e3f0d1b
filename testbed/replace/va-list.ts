// va_list as compilers for kernels lay it out: System V's for x86-64, AAPCS64's for AArch64. Left out: arguments that are not
// integers or pointers.
import type { CodeMemory } from './code-memory.ts';

/** Bytes of the integer registers that are saved. */
const X86_GENERAL = 48n;

/** The arguments one by one, 64 bits each. @param at what a function with a parameter of type va_list is handed */
export function vaList(arch: 'x86_64' | 'arm64', memory: CodeMemory, at: bigint): () => bigint {
  if (arch === 'x86_64') {
    let offset = memory.read(at, 4);
    let overflow = memory.read(at + 8n);
    const saved = memory.read(at + 16n);
    return () => {
      if (offset < X86_GENERAL) {
        offset += 8n;
        return memory.read(saved + offset - 8n);
      }
      overflow += 8n;
      return memory.read(overflow - 8n);
    };
  }
  let stack = memory.read(at);
  const top = memory.read(at + 8n);
  let offset = BigInt.asIntN(32, memory.read(at + 24n, 4));
  return () => {
    if (offset < 0n) {
      offset += 8n;
      return memory.read(top + offset - 8n);
    }
    stack += 8n;
    return memory.read(stack - 8n);
  };
}
