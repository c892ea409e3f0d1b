// Text, for compiled code that prints into streams: buffers, formats with a va_list or with arguments in a row, the source
// line of a program's instruction; and copies to user space. Left out: what bpf_bprintf_prepare() checks of a format.
import { virtAddr } from '../../../emulator/address.ts';
import { ERRNO, KernelStuck } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { formatText, readText } from '../printk-format.ts';
import { vaList } from '../va-list.ts';
import { type CalleeParts, plain } from './index.ts';

/** struct bpf_bprintf_buffers: bin_args, and buf behind it. */
const BIN_ARGS = 512;
const BUF = 1024;
/** Prints within prints. */
const MOST_BUFFERS = 3;

const ENCODER = new TextEncoder();

export function printCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures, state } = parts;
  const { memory } = state;
  const arch = kernel.arch.name;
  const buffers: bigint[][] = [];
  const onCpu = (): bigint[] => {
    const { cpu } = kernel.context;
    buffers[cpu] ??= [];
    return buffers[cpu];
  };
  const take = (): bigint => {
    const taken = onCpu();
    // What a call did not give back is gone with it.
    while (taken.length > 0 && parts.heap.sizeOf(taken.at(-1)!) === 0) taken.pop();
    if (taken.length >= MOST_BUFFERS) return 0n;
    const at = state.lendBytes(new Uint8Array(BIN_ARGS + BUF));
    taken.push(at);
    return at;
  };
  const giveBack = plain(() => {
    const at = onCpu().pop();
    if (at !== undefined) parts.heap.free(at);
    return null;
  });
  /** Writes at most `size` bytes, the last of them 0. @returns the bytes that there would have been */
  const print = (to: bigint, size: number, text: string): number => {
    const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
    if (size === 0) return bytes.length;
    const fits = bytes.subarray(0, size - 1);
    memory.writeBytes(to, fits);
    memory.write(to + BigInt(fits.length), 0n, 1);
    return bytes.length;
  };
  const format = (from: bigint, next: () => bigint) =>
    formatText(kernel, readText(kernel, from), next);
  const vsnprintf = (argument: (i: number) => bigint): number =>
    print(argument(0), Number(argument(1)), format(argument(2), vaList(arch, memory, argument(3))));
  const cut = (length: number, size: bigint): bigint =>
    BigInt(Math.min(length, Math.max(0, Number(size) - 1)));
  const data = (name: 'bin_args' | 'buf', at: bigint): bigint => {
    const member = structures.optional('bpf_bprintf_data')?.members.get(name);
    return at + BigInt(member?.offset ?? (name === 'buf' ? 8 : 0));
  };
  return [
    [
      'bpf_try_get_buffers',
      plain((argument) => {
        const at = take();
        if (at === 0n) return BigInt(ERRNO.EBUSY);
        memory.write(argument(0), at);
        return 0n;
      }),
    ],
    ['bpf_put_buffers', giveBack],
    ['vsnprintf', plain((argument) => BigInt(vsnprintf(argument)))],
    ['vscnprintf', plain((argument) => cut(vsnprintf(argument), argument(1)))],
    [
      // int bpf_bprintf_prepare(fmt, fmt_size, const u64 *raw_args, u32 num_args, struct bpf_bprintf_data *data)
      'bpf_bprintf_prepare',
      plain((argument) => {
        const [args, count, at] = [argument(2), Number(argument(3) & 0xffff_ffffn), argument(4)];
        if (count * 8 > BIN_ARGS) return BigInt(ERRNO.E2BIG);
        const buffer = take();
        if (buffer === 0n) return BigInt(ERRNO.EBUSY);
        for (let i = 0n; i < BigInt(count); i++) {
          memory.write(buffer + i * 8n, memory.read(args + i * 8n));
        }
        memory.write(data('bin_args', at), buffer);
        memory.write(data('buf', at), buffer + BigInt(BIN_ARGS));
        return 0n;
      }),
    ],
    [
      // int bstr_printf(char *buf, size_t size, const char *fmt, const u32 *bin_buf)
      'bstr_printf',
      plain((argument) => {
        let at = argument(3) - 8n;
        const next = () => {
          at += 8n;
          return memory.read(at);
        };
        return BigInt(print(argument(0), Number(argument(1)), format(argument(2), next)));
      }),
    ],
    ['bpf_bprintf_cleanup', giveBack],
    [
      // int bpf_prog_get_file_line(prog, unsigned long ip, const char **filep, const char **linep, int *nump)
      'bpf_prog_get_file_line',
      plain((argument) => {
        const prog = structures.progAt(argument(0));
        if (prog === null) throw new KernelStuck('asks for a line of what is no struct bpf_prog');
        const info = prog.lineInfo(virtAddr(argument(1)));
        if (info === null) return BigInt(ERRNO.ENOENT);
        const text = (value: string) => state.lendBytes(ENCODER.encode(`${value}\0`));
        memory.write(argument(2), text(info.file));
        memory.write(argument(3), text(info.line));
        memory.write(argument(4), BigInt(info.num), 4);
        return 0n;
      }),
    ],
    ...['_copy_to_user', '__arch_copy_to_user'].map((name): [string, Callee] => [
      name,
      plain((argument) => {
        const [to, from, length] = [argument(0), argument(1), Number(argument(2))];
        const bytes = (count: number) => memory.readBytes(from, count);
        return BigInt(state.userBuffers.copy(kernel.context.cpu, to, length, bytes));
      }),
    ]),
  ];
}
