// The machine code of a dying process, on data of its own: as it would run on each host, up to every system call. That it
// works is cli/survive.test.ts's to say, on this one.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { arm64Description } from '../../arch/arm64/registers.ts';
import { x86Description } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import { PERM_R } from '../engine.ts';
import { isInstalled } from '../test-tools.ts';
import { WILL_CODE } from './last-will.ts';
import { CODE, CODE_PA, DATA, DATA_PA, TestMachine } from './test-machine.ts';

const HOSTS = [
  {
    host: 'x64',
    description: x86Description,
    number: 'rax',
    parameters: ['rdi', 'rsi', 'rdx', 'r10'],
    ip: 'rip',
    stack: 'rsp',
    calls: {
      rtSigprocmask: 14n,
      ioctl: 16n,
      execve: 59n,
      rtSigaction: 13n,
      getpid: 39n,
      kill: 62n,
    },
    as: 'as',
    objcopy: 'objcopy',
  },
  {
    host: 'arm64',
    description: arm64Description,
    number: 'x8',
    parameters: ['x0', 'x1', 'x2', 'x3'],
    ip: 'pc',
    stack: 'sp',
    calls: {
      rtSigprocmask: 135n,
      ioctl: 29n,
      execve: 221n,
      rtSigaction: 134n,
      getpid: 172n,
      kill: 129n,
    },
    as: 'aarch64-linux-gnu-as',
    objcopy: 'aarch64-linux-gnu-objcopy',
  },
] as const;

const RETURN = virtAddr(0xffff_ffff_a000_0000n);
const OLD_HANDLER = virtAddr(0xffff_ffff_a000_1000n);
/** Where the code has its data: a page after itself. */
const WILL = CODE + 0x1000n;
const WILL_PA = DATA_PA + 0x1000;
const INFO = DATA + 0x100n;
const ZEROS = WILL + 64n;
const TERMINAL = WILL + 128n;

const SIGABRT = 6n;
const SIGSEGV = 11n;
const SI_USER = 0n;
const SI_TKILL = -6n;
const SEGV_MAPERR = 1n;
const PID = 4321n;
const MOST_CALLS = 20;

describe.each(HOSTS)(
  '$host',
  ({ host, description, number, parameters, ip, stack, calls, ...tools }) => {
    const code = WILL_CODE[host];
    const there = isInstalled(tools.as, tools.objcopy);
    const native = host !== 'x64' || process.arch === 'x64';

    it.skipIf(!there || !native)('has the bytes that its source makes', () => {
      const folder = mkdtempSync(`${tmpdir()}/faultline-test-`);
      const source = fileURLToPath(new URL(`will-${host}.S`, import.meta.url));
      execFileSync(tools.as, [source, '-o', `${folder}/o`]);
      execFileSync(tools.objcopy, ['-O', 'binary', '-j', '.text', `${folder}/o`, `${folder}/bin`]);
      expect(readFileSync(`${folder}/bin`).toString('hex')).toBe(code.hex);
      rmSync(folder, { recursive: true });
    });

    const m = new TestMachine(description, '');
    m.load(CODE_PA, code.hex);
    m.pages.map(WILL, WILL_PA, PERM_R);
    m.mapData(0);
    m.cpu.setExits([RETURN, OLD_HANDLER]);
    for (const [i, word] of [0x1111n, 0x2222n, 0x3333n].entries()) {
      m.ram.write64(WILL_PA + 8 + 8 * i, word);
    }
    m.ram.write64(WILL_PA + 40, OLD_HANDLER);

    /** System calls in order, each with its first `count` arguments, and where the code left to. */
    function run(entry: number, given: { signal?: bigint; why?: bigint; running?: boolean }) {
      const { signal = 0n, why = SI_TKILL, running = true } = given;
      m.ram.write64(WILL_PA, running ? 1n : 0n);
      m.ram.write64(DATA_PA + 0x108, BigInt.asUintN(32, why));
      m.ram.write64(DATA_PA + 0x800, RETURN);
      m.set({ [parameters[0]]: signal, [parameters[1]]: INFO, [stack]: DATA + 0x800n });
      m.set({ [ip]: CODE + BigInt(entry) });
      if (host === 'arm64') m.set({ x30: RETURN });
      const made: (string | bigint)[][] = [];
      for (;;) {
        const stop = m.cpu.run(1000);
        if (stop.reason === 'exit') return { made, left: stop.ip };
        if (made.length > MOST_CALLS) throw new Error(`no end at 0x${stop.ip.toString(16)}`);
        // x86 calls end the run before themselves.
        if (stop.reason === 'engine') m.set({ [ip]: stop.ip + 2n });
        const [name] = Object.entries(calls).find(([, n]) => n === m.get(number)) ?? [''];
        made.push([name, ...parameters.map((register) => m.get(register))]);
        // Those that fail and those that work look alike here; getpid says who we are.
        m.set({ [host === 'x64' ? 'rax' : 'x0']: name === 'getpid' ? PID : 0n });
      }
    }

    const becomes = [
      ['rtSigprocmask', 2n, ZEROS, 0n, 8n],
      ['ioctl', 0n, 0x5402n, TERMINAL],
      ['execve', 0x1111n, 0x2222n, 0x3333n],
    ];
    const diesOf = (signal: bigint) => [
      ['rtSigaction', signal, ZEROS, 0n, 8n],
      ['getpid'],
      ['kill', PID, signal],
    ];
    /** Arguments that a call does not have are nobody's business. */
    const expectCalls = (made: (string | bigint)[][], wanted: (string | bigint)[][]) =>
      expect(made.map((call, i) => call.slice(0, wanted[i]?.length))).toEqual(wanted);

    it.each([
      ['abort()', { signal: SIGABRT, why: SI_TKILL, running: true }],
      ['abort() outside the library', { signal: SIGABRT, why: SI_TKILL, running: false }],
      ['a fault of the library', { signal: SIGSEGV, why: SEGV_MAPERR, running: true }],
    ])('becomes another program by %s, and dies of the signal if it cannot', (_, given) => {
      const { made, left } = run(0, given);
      expectCalls(made, [...becomes, ...diesOf(given.signal)]);
      expect(left).toBe(RETURN);
    });

    it('becomes another program by exit() in the library, and by no other', () => {
      expectCalls(run(code.exit, { running: true }).made, [...becomes, ...diesOf(SIGABRT)]);
      expect(run(code.exit, { running: false })).toEqual({ made: [], left: RETURN });
    });

    it('leaves faults outside the library to whoever handled them before', () => {
      const given = { signal: SIGSEGV, why: SEGV_MAPERR, running: false };
      expect(run(0, given)).toEqual({ made: [], left: OLD_HANDLER });
      expect(m.get(parameters[0])).toBe(SIGSEGV);
      expect(m.get(parameters[1])).toBe(INFO);
    });

    it('obeys signals that somebody sent', () => {
      for (const signal of [SIGABRT, SIGSEGV]) {
        expectCalls(run(0, { signal, why: SI_USER }).made, diesOf(signal));
      }
    });
  },
);
