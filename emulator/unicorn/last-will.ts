// What becomes of this process if the library takes it down, by abort(), exit() or a fault of its own: it turns into
// another program (execve), in the same process and with the same streams, which can say what happened. Until then this
// costs nothing, where a second process to watch over the first would cost the start of one. The handlers are a few
// bytes of machine code, since no JavaScript can run there. Only Linux hosts have them.
import { arch, env, platform } from 'node:process';
import koffi from 'koffi';
import { addressOf, type Pointer, sharedBytes, viewNative } from './binding.ts';

const PROT_READ_WRITE = 3;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const PAGE = 4096;

/** Machine code of one host; its first byte is the signal handler. */
interface WillCode {
  readonly hex: string;
  /** Offset of the exit handler. */
  readonly exit: number;
  /** Offset of what takes the default action. */
  readonly byDefault: number;
}

/** For tests: both hosts' code, of will-x64.S and will-arm64.S; the latter's was tried in emulation only. */
export const WILL_CODE: Readonly<Record<string, WillCode>> = {
  x64: {
    hex:
      '4c8d05f90f00008b460885c07f0583f8fa756883ff0b751d41833800751741ff60284c8d05d70f0000bf060000004183' +
      '38007501c34189f9b80e000000bf02000000498d704031d241ba080000000f05b81000000031ffbe02540000498d9080' +
      '0000000f05b83b000000498b7808498b7010498b50180f054489cf4189f9b80d000000498d704031d241ba080000000f' +
      '05b8270000000f0589c74489ceb83e0000000f05c3',
    exit: 0x22,
    byDefault: 0x7b,
  },
  arm64: {
    hex:
      '098000102a0840b95f0100716c0000545f190031a10300541f2c0071410100542a0140b90a0100352a1540f940011fd6' +
      '897e0010c00080522a0140b94a000035c0035fd6eb03002ae81080524000805221010191020080d203018052010000d4' +
      'a8038052000080d241808a5222010291010000d4a81b8052208540a9220d40f9010000d4e0030b2aeb03002ac8108052' +
      '21010191020080d203018052010000d488158052010000d4e1030b2a28108052010000d4c0035fd6',
    exit: 0x30,
    byDefault: 0x88,
  },
};

// The layout of the data that the machine code knows, a page after it. From 64 to 128 there are zeros.
const RUNNING = 0;
const PROGRAM = 8;
const ARGUMENTS = 16;
const ENVIRONMENT = 24;
const OLD_SEGV = 40;
const TERMINAL = 128;

const TCGETS = 0x5401;
const F_SETFD = 2;
const STANDARD_STREAMS = [0, 1, 2];

const SIGSEGV = 11;
/** SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE: what a process does to itself. */
const SIGNALS = [4, 5, 6, 7, 8, SIGSEGV];

// struct sigaction of glibc and musl on both hosts.
const SIGACTION_SIZE = 152;
const SIGACTION_FLAGS = 136;
/** SA_SIGINFO, SA_ONSTACK (whose own may be what overflowed), SA_NODEFER. */
const FLAGS = 0x4800_0004;
const STACK_SIZE = 1 << 16;

/** 1 while the library runs code. */
let running = new Int32Array(1);

/** C's variable `stderr`, what it is, and a stream that nobody reads: the library's last words are its own. */
let stderr = { variable: new BigUint64Array(1), itself: 0n, silent: 0n };

/** To be told whenever the library is entered and left: a fault outside it is not its own. */
export function noteRunning(isRunning: boolean): void {
  running[RUNNING] = isRunning ? 1 : 0;
  stderr.variable[0] = isRunning ? stderr.silent : stderr.itself;
}

/** Native memory that must outlive everything. */
const kept: Uint8Array[] = [];

/**
 * Makes the process turn into `command` if it dies. To be called once.
 * @param command path of the program, then its arguments
 * @param environment its variables, `NAME=value`
 * @returns each variable's bytes, the end (a zero) included: what they hold when the process dies is what the program
 * gets. Null on hosts where this cannot be done.
 */
export function makeLastWill(
  command: readonly string[],
  environment: readonly string[],
): Uint8Array[] | null {
  const code = WILL_CODE[arch];
  if (platform !== 'linux' || !code || env.FAULTLINE_NO_NATIVE) return null;
  try {
    const libc = koffi.load(null);
    const at = mapCode(libc, code);
    if (at === null) return null;
    const data = viewNative(at + BigInt(PAGE), PAGE);
    const words = new BigUint64Array(data);
    const args = command.map(cString);
    const variables = environment.map(cString);
    words[PROGRAM / 8] = addressOf(args[0]);
    words[ARGUMENTS / 8] = pointers(args);
    words[ENVIRONMENT / 8] = pointers(variables);
    install(libc, at, code, words);
    running = new Int32Array(data);
    silence(libc);
    return variables;
  } catch {
    return null;
  }
}

type Libc = ReturnType<typeof koffi.load>;

function mapCode(libc: Libc, { hex }: WillCode): Pointer | null {
  const mmap = libc.func('void *mmap(void *at, size_t n, int prot, int flags, int fd, int64_t o)');
  const mprotect = libc.func('int mprotect(void *at, size_t n, int prot)');
  const at: Pointer = mmap(null, 2 * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (BigInt.asIntN(64, at) === -1n) return null;
  new Uint8Array(viewNative(at, PAGE)).set(Buffer.from(hex, 'hex'));
  return mprotect(at, PAGE, PROT_READ_EXEC) === 0 ? at : null;
}

function install(libc: Libc, at: Pointer, code: WillCode, words: BigUint64Array): void {
  const sigaction = libc.func('int sigaction(int signal, void *action, void *old)');
  const sigaltstack = libc.func('int sigaltstack(void *stack, void *old)');
  const onExit = libc.func('int __cxa_atexit(void *handler, void *argument, void *object)');
  const fcntl = libc.func('int fcntl(int fd, int command, ...)');
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, ...)');
  const stack = keep(STACK_SIZE);
  const stackT = keep(24);
  new BigUint64Array(stackT.buffer).set([addressOf(stack), 0n, BigInt(STACK_SIZE)]);
  sigaltstack(stackT, null);
  const action = keep(SIGACTION_SIZE);
  const old = keep(SIGACTION_SIZE);
  new BigUint64Array(action.buffer)[0] = at;
  new Int32Array(action.buffer)[SIGACTION_FLAGS / 4] = FLAGS;
  sigaction(SIGSEGV, null, old);
  const handler = new BigUint64Array(old.buffer)[0];
  // SIG_DFL and SIG_IGN are no functions.
  words[OLD_SEGV / 8] = handler > 1n ? handler : at + BigInt(code.byDefault);
  for (const signal of SIGNALS) sigaction(signal, action, null);
  ioctl(0, TCGETS, 'void *', new Uint8Array(words.buffer, TERMINAL));
  // Node keeps its own from every program that it does not start itself.
  for (const fd of STANDARD_STREAMS) fcntl(fd, F_SETFD, 'int', 0);
  onExit(at + BigInt(code.exit), null, null);
}

function silence(libc: Libc): void {
  try {
    // Other libraries keep the variable where it cannot be written.
    libc.symbol('gnu_get_libc_version');
  } catch {
    return;
  }
  const variable = new BigUint64Array(viewNative(koffi.address(libc.symbol('stderr')), 8));
  const silent: Pointer = libc.func('void *fopen(const char *path, const char *mode)')(
    '/dev/null',
    'we',
  );
  if (silent) stderr = { variable, itself: variable[0], silent };
}

function keep(size: number): Uint8Array {
  const bytes = sharedBytes(size);
  kept.push(bytes);
  return bytes;
}

function cString(text: string): Uint8Array {
  const encoded = Buffer.from(text);
  const bytes = keep(encoded.length + 1);
  bytes.set(encoded);
  return bytes;
}

/** @returns the address of an array of their addresses that a null pointer ends */
function pointers(strings: readonly Uint8Array[]): Pointer {
  const array = keep(8 * (strings.length + 1));
  new BigUint64Array(array.buffer).set(strings.map(addressOf));
  return addressOf(array);
}
