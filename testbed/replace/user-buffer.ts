// A buffer of user space that the kernel copies to: no memory of the modelled machine is behind its address.

/** An address of user space that no arena is mapped at. */
export const USER_BUFFER = 0x7000_0000n;

/** More than a stream holds. */
const LARGEST = 1 << 20;

export class UserBuffers {
  /** Of the calls that are under way, by CPU. */
  private readonly buffers: (Uint8Array | null)[] = [];

  /** Runs a call that copies to {@link USER_BUFFER}. @param writable bytes that can be written there */
  during<T>(
    cpu: number,
    writable: number,
    call: () => T,
  ): { readonly result: T; readonly buffer: Uint8Array } {
    const buffer = new Uint8Array(Math.min(writable, LARGEST));
    const outer = this.buffers[cpu] ?? null;
    this.buffers[cpu] = buffer;
    try {
      return { result: call(), buffer };
    } finally {
      this.buffers[cpu] = outer;
    }
  }

  /** copy_to_user() of what `bytes` gives. @returns bytes that could not be copied */
  copy(cpu: number, to: bigint, length: number, bytes: (count: number) => Uint8Array): number {
    const buffer = this.buffers[cpu] ?? null;
    const offset = Number(to - USER_BUFFER);
    if (buffer === null || offset < 0 || offset > buffer.length) return length;
    const count = Math.min(length, buffer.length - offset);
    buffer.set(bytes(count), offset);
    return length - count;
  }
}
