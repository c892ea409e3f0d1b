// Keystone in a thread of its own, for when the one in this thread has died: WebAssembly that trapped cannot be used
// again, and its package loads only once a thread. A thread can be given up, and can be waited for with a limit.
// It costs about 80 ms to start, which the good case never pays.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
} from 'node:worker_threads';

/** What the thread answers; `trapped` if its Keystone is of no more use either. */
export type WorkerAnswer =
  | { readonly bytes: Uint8Array }
  | { readonly message: string; readonly trapped: boolean };

const PROGRAM = `
const { workerData: { url, port, flag } } = require('node:worker_threads');
const flags = new Int32Array(flag);
const quit = (status, reason) => { throw reason; };
const loading = import(url).then(async ({ Keystone, loadKeystone }) => {
  await loadKeystone({ print() {}, printErr() {}, quit });
  return Keystone;
});
port.on('message', async ({ arch, mode, text }) => {
  let answer;
  try {
    const keystone = new (await loading)(arch, mode);
    answer = { bytes: keystone.asm(text, { address: 0n }) };
    keystone.close();
  } catch (error) {
    const message = String(error && error.message);
    answer = { message, trapped: !message.startsWith('Failed to assemble') };
  }
  port.postMessage(answer);
  Atomics.store(flags, 0, 1);
  Atomics.notify(flags, 0);
});
`;

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly flags: Int32Array;
}

/** Encodes in another thread; waits for it, and ends it if it takes too long. */
export class KeystoneWorker {
  private thread: Thread | null = null;
  private readonly limit: number;

  /** @param limit milliseconds that one call may take, start of the thread included */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** @param arch KS_ARCH_ number. @param mode KS_MODE_ bits */
  encode(arch: number, mode: number, text: string): WorkerAnswer {
    this.thread ??= start();
    const { port, flags } = this.thread;
    Atomics.store(flags, 0, 0);
    port.postMessage({ arch, mode, text });
    if (Atomics.wait(flags, 0, 0, this.limit) === 'timed-out') {
      this.end();
      return { message: `no answer within ${this.limit} ms`, trapped: true };
    }
    const answer = receiveMessageOnPort(port)?.message as WorkerAnswer | undefined;
    if (answer === undefined || ('trapped' in answer && answer.trapped)) this.end();
    return answer ?? { message: 'no answer', trapped: true };
  }

  end(): void {
    void this.thread?.worker.terminate();
    this.thread?.port.close();
    this.thread = null;
  }
}

function start(): Thread {
  const { port1, port2 } = new MessageChannel();
  const flag = new SharedArrayBuffer(4);
  const path = createRequire(import.meta.url).resolve('keystone-wasm');
  const worker = new Worker(PROGRAM, {
    eval: true,
    workerData: { url: pathToFileURL(path).href, port: port2, flag },
    transferList: [port2],
  });
  // Neither may keep the process alive.
  worker.unref();
  port1.unref();
  return { worker, port: port1, flags: new Int32Array(flag) };
}
