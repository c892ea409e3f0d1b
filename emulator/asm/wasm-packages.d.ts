// What we use of the two packages, whose own type declarations their `exports` hide from TypeScript.

declare module 'keystone-wasm' {
  export class Keystone {
    constructor(arch: number, mode: number);
    /** @throws Error 'Failed to assemble, error: ...', or whatever a trap throws */
    asm(text: string, options?: { address?: number | bigint }): Uint8Array;
  }
  /** Loads once; later calls do nothing. */
  export function loadKeystone(options?: Record<string, unknown>): Promise<void>;
}

declare module 'capstone-wasm' {
  export class Capstone {
    constructor(arch: number, mode: number);
    setOption(option: number, value: number): number;
    /** @throws Error if not even one instruction was decoded */
    disasm(
      bytes: Uint8Array,
      options?: { address?: number | bigint; count?: number },
    ): { size: number; mnemonic: string; opStr: string }[];
  }
  /** Loads once; later calls do nothing. */
  export function loadCapstone(options?: Record<string, unknown>): Promise<void>;
}
