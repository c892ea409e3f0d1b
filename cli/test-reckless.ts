// For tests: bundled into a worker ahead of everything else, this takes from the engine what keeps it alive. Encodings
// that the product refuses then reach the library, and it really aborts. `int 0x29` hangs unless it is refused,
// and `int 0x2a` does in any case.
import { arm64Instructions } from '../arch/arm64/insn.ts';
import { x86Instructions } from '../arch/x86/insn.ts';
import { Core } from '../emulator/unicorn/core.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

for (const set of [arm64Instructions, x86Instructions] as Writable<typeof x86Instructions>[]) {
  set.fatal = () => [];
  set.trap = () => null;
}

const { enter } = Core.prototype;
Core.prototype.enter = function (ip, count) {
  this.fills.learnCode(ip);
  const [opcode, vector] = this.code.bytes(ip, 2);
  const hangs = vector === 0x2a || (vector === 0x29 && this.code.trap(ip) === null);
  while (opcode === 0xcd && hangs);
  return enter.call(this, ip, count);
};
