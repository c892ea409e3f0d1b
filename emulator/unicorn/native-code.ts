// A few bytes of machine code that the library calls where a JavaScript callback would cost a hundred times more.
// They are position independent and find their data through the hook's user pointer. Where no executable memory is to
// be had, or for another host, callbacks in JavaScript do the same work.
import { arch, platform } from 'node:process';
import koffi from 'koffi';
import { type Pointer, viewNative } from './binding.ts';

const PROT_READ_WRITE = 3;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const PAGE = 4096;

/** Native addresses of the entry points. */
export interface NativeCode {
  /** UC_HOOK_BLOCK; user is the counter's data. */
  readonly block: Pointer;
}

// System V calls: rdi = uc, rsi = address, edx = size, rcx = Counter's data.
//
// block:
//   lea eax, [rsi + rdx*8]          ; entry of the table: 16 bytes {address, size, instructions}
//   and eax, 0xfff
//   shl eax, 4
//   lea rax, [rcx + rax + 0x1000]
//   cmp [rax], rsi
//   jne slow
//   cmp [rax + 8], edx
//   jne repeated
//   mov eax, [rax + 12]
// count:
//   mov r8, [rcx]                   ; remaining -= instructions, unless that makes it negative
//   sub r8, rax
//   js stop
//   mov [rcx], r8
//   mov [rcx + 8], rsi              ; this block is the last one
//   mov [rcx + 16], edx
//   ret
// stop:
//   mov dword ptr [rcx + 20], 1
//   jmp [rcx + 40]                  ; uc_emu_stop(uc)
// repeated:                         ; a string instruction alone in its block: size | 0x10000
//   mov r8d, edx
//   or r8d, 0x10000
//   cmp [rax + 8], r8d
//   jne slow
//   mov eax, 1
//   mov r9, [rcx + 24]              ; the repeat counter; when it is 0 and the last block ended with this very
//   cmp qword ptr [r9], 0           ; instruction, this pass only finds that all repetitions are done
//   jne count
//   mov r8, [rcx + 8]
//   mov r9d, [rcx + 16]
//   add r8, r9
//   lea r9, [rsi + rdx]
//   cmp r8, r9
//   jne count
//   ret
// slow:
//   jmp [rcx + 32]                  ; the JavaScript callback
const X64 =
  '8d04d625ff0f0000c1e004488d840100100000483930755939500875208b400c4c8b014929c0780b4c8901488971088951' +
  '10c3c7411401000000ff61284189d04181c800000100443940087524b8010000004c8b49184983390075c44c8b4108448b' +
  '49104d01c84c8d0c164d39c875b0c3ff6120';

let made: NativeCode | null | undefined;

/** The code for this host, made on first use. @returns null where there is none */
export function nativeCode(): NativeCode | null {
  if (made === undefined) made = make();
  return made;
}

function make(): NativeCode | null {
  if (platform !== 'linux' || arch !== 'x64' || process.env.FAULTLINE_NO_NATIVE) return null;
  try {
    const libc = koffi.load(null);
    const mmap = libc.func(
      'void *mmap(void *at, size_t n, int prot, int flags, int fd, int64_t o)',
    );
    const mprotect = libc.func('int mprotect(void *at, size_t n, int prot)');
    const at: Pointer = mmap(null, PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (BigInt.asIntN(64, at) === -1n) return null;
    new Uint8Array(viewNative(at, PAGE)).set(Buffer.from(X64, 'hex'));
    if (mprotect(at, PAGE, PROT_READ_EXEC) !== 0) return null;
    return { block: at };
  } catch {
    return null;
  }
}
