// For tests: bundled into a worker ahead of everything else, this takes from the engine what keeps it alive. Encodings
// that the product refuses then reach the library, and it really aborts. `int 0x29` hangs unless it is refused,
// and `int 0x2a` does in any case; `int 0x2b` reads where nothing is and `int 0x2c` ends the process,
// unless refused; `int 0x2d` kills whoever is not a worker.
import koffi from 'koffi';
import { arm64Instructions } from '../arch/arm64/insn.ts';
import { x86Instructions } from '../arch/x86/insn.ts';
import { Core } from '../emulator/unicorn/core.ts';
import { noteRunning } from '../emulator/unicorn/last-will.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

for (const set of [arm64Instructions, x86Instructions] as Writable<typeof x86Instructions>[]) {
  set.fatal = () => [];
  set.trap = () => null;
}

const { enter } = Core.prototype;
Core.prototype.enter = function (ip, count) {
  this.fills.learnCode(ip);
  const [opcode, vector] = this.code.bytes(ip, 2);
  if (opcode === 0xcd) misbehave(vector, this.code.trap(ip) !== null);
  return enter.call(this, ip, count);
};

function misbehave(vector: number, isRefused: boolean): void {
  const hangs = vector === 0x2a || (vector === 0x29 && !isRefused);
  while (hangs);
  if (isRefused) return;
  noteRunning(true);
  if (vector === 0x2b) koffi.decode(8n, 'int');
  if (vector === 0x2d && process.send === undefined) koffi.decode(8n, 'int');
  if (vector === 0x2c) koffi.load(null).func('void exit(int code)')(0);
  noteRunning(false);
}
