// A few bytes of machine code that the library calls where a JavaScript callback would cost a hundred times more.
// They are position independent and find their data through the hook's user pointer. Where no executable memory is to
// be had, or for another host, callbacks in JavaScript do the same work.
import { arch, env, platform } from 'node:process';
import koffi from 'koffi';
import { type Pointer, viewNative } from './binding.ts';

const PROT_READ_WRITE = 3;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const PAGE = 4096;

/** Machine code of one host, with the offsets of its entry points. */
export interface HostCode {
  readonly hex: string;
  /** UC_HOOK_BLOCK; user is the counter's data. */
  readonly block: number;
  /** UC_HOOK_MEM_WRITE; user is the journal's data. */
  readonly store: number;
  /** UC_HOOK_TLB_FILL; user is the fill's data. */
  readonly fill: number;
}

// System V calls. block: rdi = uc, rsi = address, edx = size, rcx = data.
//
//         lea eax, [rsi + rdx*8]          ; entry of the table: {address, size, instructions: 2 bytes, wide: 2 bytes}
//         and eax, 0xfff
//         shl eax, 4
//         lea rax, [rcx + rax + 0x1000]
//         cmp [rax], rsi
//         jne slow
//         cmp [rax + 8], edx
//         jne repeated
//         movzx r9d, word ptr [rax + 14]
//         movzx eax, word ptr [rax + 12]
// count:  mov r10, [rcx + 48]             ; the store hook is on in blocks with wide stores only
//         mov r9, [rcx + r9*8 + 56]
//         mov [r10], r9
//         mov r8, [rcx]                   ; remaining -= instructions, unless that makes it negative
//         sub r8, rax
//         js stop
//         mov [rcx], r8
//         mov [rcx + 8], rsi              ; this block is the last one
//         mov [rcx + 16], edx
//         ret
// stop:   mov dword ptr [rcx + 20], 1
//         jmp [rcx + 40]                  ; uc_emu_stop(uc)
// repeated:                               ; a string instruction alone in its block has size | 0x10000
//         mov r8d, edx
//         or r8d, 0x10000
//         cmp [rax + 8], r8d
//         jne slow
//         mov eax, 1
//         mov r9, [rcx + 24]              ; the repeat counter: when it is 0 and the last block ended with this very
//         cmp qword ptr [r9], 0           ; instruction, this pass only finds that no repetition is left
//         mov r9d, 0
//         jne count
//         mov r8, [rcx + 8]
//         mov r10d, [rcx + 16]
//         add r8, r10
//         mov edx, edx
//         lea r10, [rsi + rdx]
//         cmp r8, r10
//         jne count
//         ret
// slow:   jmp [rcx + 32]                  ; the JavaScript callback
//
// store: rdi = uc, esi = type, rdx = physical address, ecx = size, r8 = value, r9 = data.
//
//         mov eax, edx
//         and eax, 0xfff
//         cmp eax, 0xe00                  ; only the end of a page can be left half written
//         jb done
//         mov eax, [r9]
//         inc dword ptr [r9]
//         and eax, 0x7f
//         shl eax, 5
//         lea rax, [r9 + rax + 64]        ; entry of the ring: {address, size, word before, word before}
//         mov ecx, ecx
//         mov [rax], rdx
//         mov [rax + 8], ecx
//         lea rcx, [rdx + rcx - 1]
//         and rcx, -8
//         and rdx, -8
//         mov r8, [r9 + 8]                ; host address of physical 0
//         mov rdx, [r8 + rdx]
//         mov rcx, [r8 + rcx]
//         mov [rax + 16], rdx
//         mov [rax + 24], rcx
// done:   ret
//
// fill: rdi = uc, rsi = address, edx = type, rcx = result, r8 = data.
//
//         push rcx
//         push r8
//         sub rsp, 8
//         mov rdi, rsi                    ; the callback gets halves: a pointer or an address of 64 bits would cost it
//         shr rdi, 32                     ; a bigint each
//         mov esi, esi
//         call [r8]                       ; bool callback(hi, lo, type)
//         add rsp, 8
//         pop r8
//         pop rcx
//         test al, al
//         je refused
//         mov rdx, [r8 + 8]               ; physical address
//         mov [rcx], rdx
//         mov edx, [r8 + 16]              ; permissions
//         mov [rcx + 8], edx
// refused: ret
const X64: HostCode = {
  hex:
    '8d04d625ff0f0000c1e004488d84010010000048393075733950087532440fb7480e0fb7400c4c8b51304e8b4cc9384d' +
    '890a4c8b014929c0780b4c890148897108895110c3c7411401000000ff61284189d04181c80000010044394008752cb8' +
    '010000004c8b49184983390041b90000000075b24c8b4108448b51104d01d089d24c8d14164d39d0759cc3ff61206690' +
    '89d025ff0f00003d000e0000723a418b0141ff0183e07fc1e005498d44014089c9488910894808488d4c0aff4883e1f8' +
    '4883e2f84d8b4108498b1410498b0c084889501048894818c30f1f80000000005141504883ec084889f748c1ef2089f6' +
    '41ff104883c40841585984c0740e498b5008488911418b5010895108c3',
  block: 0,
  store: 0x90,
  fill: 0xe0,
};

// AAPCS64, the same line by line with x0 to x5 as parameters and x9 to x13 as scratch. Tried in emulation only.
const ARM64: HostCode = {
  hex:
    '290c020b292d7cd32901038b290540912a0140f95f0101eb810400542a0940b95f01026b410200542b1940792a1d4079' +
    '6a0c0a8b4a1d40f96d1840f9aa0100f96c0040f98c010beba40000546c0000f9610400f9621000b9c0035fd62c008052' +
    '6c1400b96c1440f980011fd64b0010325f010b6ba10100542b0080520a0080526c0c40f98c0140f94cfdffb56c0440f9' +
    '6d1040b98c010d8b2d40228b9f010deb81fcff54c0035fd66c1040f980011fd6492c00123f01387123020054a90040b9' +
    '2a050011aa0000b929197bd32901058b222100f9234900b94a40238b4a0500d14af17d924bf07d92ac0440f98b696bf8' +
    '8a696af82b2900f92a2d00f9c0035fd6fd7bbea9e31301a920fc60d3e103012a890040f920013fd6e31341a9fd7bc2a8' +
    '1f1c0072a0000054890440f9690000f9891040b9690800b9c0035fd6',
  block: 0,
  store: 0xb0,
  fill: 0x100,
};

/** For tests: both hosts' code. */
export const HOST_CODE: Readonly<Record<string, HostCode>> = { x64: X64, arm64: ARM64 };

/** Native addresses of the entry points. */
export interface NativeCode {
  readonly block: Pointer;
  readonly store: Pointer;
  readonly fill: Pointer;
}

let made: NativeCode | null | undefined;

/** The code for this host, made on first use. @returns null where there is none */
export function nativeCode(): NativeCode | null {
  if (made === undefined) made = make();
  return made;
}

function make(): NativeCode | null {
  const code = HOST_CODE[arch];
  if (platform !== 'linux' || !code || env.FAULTLINE_NO_NATIVE) return null;
  try {
    const libc = koffi.load(null);
    const mmap = libc.func(
      'void *mmap(void *at, size_t n, int prot, int flags, int fd, int64_t o)',
    );
    const mprotect = libc.func('int mprotect(void *at, size_t n, int prot)');
    const at: Pointer = mmap(null, PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (BigInt.asIntN(64, at) === -1n) return null;
    new Uint8Array(viewNative(at, PAGE)).set(Buffer.from(code.hex, 'hex'));
    if (mprotect(at, PAGE, PROT_READ_EXEC) !== 0) return null;
    const entry = (offset: number): Pointer => at + BigInt(offset);
    return { block: entry(code.block), store: entry(code.store), fill: entry(code.fill) };
  } catch {
    return null;
  }
}
