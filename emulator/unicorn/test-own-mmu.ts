// The library's own MMU, as a second opinion in tests: a bare engine that walks the tables in RAM by itself
// (UC_TLB_CPU), and tells what a few instructions came to. It is QEMU 5's model of each architecture, right in most and
// wrong in some; the tests that use it name where. Not part of the product.
import type { CpuDescription } from '../engine.ts';
import type { Ram } from '../ram.ts';
import {
  type Binding,
  dropCallback,
  makeCallback,
  type Pointer,
  readPointer,
  SharedMemory,
  UC_ERR_OK,
  viewNative,
} from './binding.ts';
import {
  UC_CPU_ARM64_MAX,
  UC_CTL_CPU_MODEL,
  UC_CTL_TB_FLUSH,
  UC_CTL_TLB_FLUSH,
  UC_CTL_UC_PAGE_SIZE,
  UC_CTL_UC_USE_EXITS,
  UC_HOOK_INTR,
} from './constants.ts';
import { writeCpl } from './privilege.ts';
import { recipeFor } from './recipes.ts';
import { RegisterFile } from './registers.ts';

/** Icelake-Server: LA57 and protection keys. */
const UC_CPU_X86_ICELAKE_SERVER = 26;

// Offsets of the library that internals.ts knows (OFFSETS_OF).
const UC_CPU = 0x1b8;
const X86_ERROR_CODE = 0x9f58;
const ARM64_SYNDROME = 0xaf20;
const ARM64_VADDRESS = 0xaf28;

/** What the instructions came to. `exception` is the library's number; null: all of them retired. */
export interface OwnOutcome {
  readonly exception: number | null;
  /** x86: error code. arm64: syndrome. */
  readonly code: number;
  /** x86: CR2. arm64: the address of the fault. */
  readonly va: bigint;
  /** The library's own trouble with something else than an exception. */
  readonly error: string | null;
}

export class OwnMmu {
  readonly registers: RegisterFile;
  readonly binding: Binding;
  readonly handle: Pointer;
  private readonly description: CpuDescription;
  private readonly memory = new SharedMemory();
  private readonly callback: Pointer;
  readonly context: { readonly context: Pointer; readonly size: number };
  private readonly cpu: Pointer;
  private readonly fresh: Uint8Array;
  private exception: number | null = null;

  constructor(binding: Binding, description: CpuDescription, ram: Ram) {
    const recipe = recipeFor(description);
    this.binding = binding;
    this.description = description;
    this.handle = binding.open(recipe.arch, recipe.mode);
    const x86 = description.name === 'x86_64';
    const model = x86 ? UC_CPU_X86_ICELAKE_SERVER : UC_CPU_ARM64_MAX;
    binding.control(this.handle, UC_CTL_CPU_MODEL, 'int', model);
    if (!x86) binding.control(this.handle, UC_CTL_UC_PAGE_SIZE, 'uint32_t', 4096);
    binding.control(this.handle, UC_CTL_UC_USE_EXITS, 'int', 1);
    binding.mapRam(this.handle, ram.base, ram.bytes);
    this.callback = makeCallback('interrupt', (uc: Pointer, number: number) => {
      this.exception = number;
      binding.stop(uc);
    });
    binding.addHook(this.handle, UC_HOOK_INTR, this.callback);
    this.registers = new RegisterFile(
      binding,
      this.handle,
      description,
      recipe.registers,
      this.memory,
    );
    if (!x86) {
      // Without RW at EL3 and EL2, EL1 counts as AArch32.
      this.registers.write('scr_el3', 0x431n);
      this.registers.write('hcr_el2', 1n << 31n);
    }
    this.context = binding.newContext(this.handle);
    this.cpu = readPointer(this.handle, UC_CPU);
    binding.check(binding.contextSave(this.handle, this.context.context), 'uc_context_save');
    this.fresh = new Uint8Array(viewNative(this.context.context, this.context.size)).slice();
  }

  /** As it was made: the core has forgotten the last exception and all translations. */
  reset(): void {
    const { binding, handle, context } = this;
    new Uint8Array(viewNative(context.context, context.size)).set(this.fresh);
    binding.check(binding.contextRestore(handle, context.context), 'uc_context_restore');
    binding.control(handle, UC_CTL_TLB_FLUSH);
    binding.control(handle, UC_CTL_TB_FLUSH);
  }

  /** x86: 0 or 3. */
  setCpl(cpl: number): void {
    writeCpl(this, cpl);
  }

  /** Runs `count` instructions from `ip`. */
  run(ip: bigint, count: number): OwnOutcome {
    const { binding, handle, description, registers } = this;
    this.exception = null;
    registers.write(description.instructionPointer, ip);
    const error = binding.emuStart(handle, ip, 0, 0, count);
    const x86 = description.name === 'x86_64';
    const word = (offset: number) => new Uint32Array(viewNative(this.cpu + BigInt(offset), 4))[0];
    const vaddress = () => new BigUint64Array(viewNative(this.cpu + BigInt(ARM64_VADDRESS), 8))[0];
    return {
      exception: this.exception,
      code: word(x86 ? X86_ERROR_CODE : ARM64_SYNDROME),
      va: x86 ? registers.read('cr2') : vaddress(),
      error: error === UC_ERR_OK || this.exception !== null ? null : binding.errorText(error),
    };
  }

  close(): void {
    this.binding.contextFree(this.context.context);
    this.binding.close(this.handle);
    dropCallback(this.callback);
    this.memory.release();
  }
}
