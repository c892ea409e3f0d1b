// The modelled kernel's symbols: text of the code under test, its callers and BPF images, for %pS and the debugger.
// Left out: modules other than bpf, and symbols of the real kernel that the model does not execute.

import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { demangleRust } from '../emulator/elf/demangle-rust.ts';

export interface KernelSymbol {
  readonly name: string;
  readonly start: VirtAddr;
  /** Bytes. */
  readonly size: number;
  /** Printed in brackets after the symbol, as kallsyms does: "bpf". */
  readonly module: string | null;
}

/** A kernel image's own symbols, which are never taken away. */
export interface SymbolSource {
  around(address: bigint): { name: string; address: bigint; size: number } | null;
  named(name: string): { name: string; address: bigint; size: number } | null;
}

export class SymbolTable {
  private readonly symbols: KernelSymbol[] = [];
  /** Asked for what nobody else knows. */
  image: SymbolSource | null = null;

  add(name: string, start: VirtAddr, size: number, module: string | null = null): KernelSymbol {
    const symbol = { name, start, size, module };
    const at = this.symbols.findIndex((other) => other.start > start);
    this.symbols.splice(at < 0 ? this.symbols.length : at, 0, symbol);
    return symbol;
  }

  remove(symbol: KernelSymbol): void {
    const at = this.symbols.indexOf(symbol);
    if (at >= 0) this.symbols.splice(at, 1);
  }

  all(): readonly KernelSymbol[] {
    return this.symbols;
  }

  /** The symbol whose [start, start + size) holds `ip`: of nested ones the innermost. */
  find(ip: VirtAddr): KernelSymbol | null {
    return (
      this.symbols.findLast((s) => ip >= s.start && ip < s.start + BigInt(Math.max(s.size, 1))) ??
      ofImage(this.image?.around(ip))
    );
  }

  byName(name: string): KernelSymbol | null {
    return this.symbols.find((symbol) => symbol.name === name) ?? ofImage(this.image?.named(name));
  }

  /** %pS: symbol+0xoff/0xsize [module], or 0x and the address where no symbol is known (lib/vsprintf.c symbol_string). */
  format(ip: VirtAddr): string {
    const symbol = this.find(ip);
    if (symbol === null) return hex(ip);
    const text = `${symbol.name}+${hex(virtAddr(ip - symbol.start))}/${hex(symbol.size)}`;
    return symbol.module === null ? text : `${text} [${symbol.module}]`;
  }

  /** The same for people: names of Rust functions as they are written. The kernel itself prints symbols as they are. */
  tell(ip: VirtAddr): string {
    return this.format(ip).replace(/^[^+]+/, demangleRust);
  }
}

const ofImage = (found: ReturnType<SymbolSource['named']> | undefined): KernelSymbol | null =>
  found ? { ...found, start: virtAddr(found.address), module: null } : null;
