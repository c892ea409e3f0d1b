// Keystone, used for one thing: to encode a single instruction whose operands are registers and numbers. Labels,
// directives, comments and expressions are ours, so nothing of what makes Keystone hang or trap ever reaches it, and a
// refusal has a line. Encodings do not depend on the address (branches are ours too), so they are kept for good.
import type { Keystone } from 'keystone-wasm';
import type { Disassembler, Insn } from '../disassembler.ts';
import { AssemblyError } from './error.ts';
import type { AsmArch, Statement } from './source.ts';

const KS_ARCH_ARM64 = 2;
const KS_ARCH_X86 = 4;
const KS_MODE_64 = 8;

/** More than any one session writes; the oldest half is dropped then. */
const CACHE_LIMIT = 20_000;

export interface Encoded {
  readonly bytes: Uint8Array;
  /** What the bytes are, according to Capstone, as if they lay at address 0. */
  readonly insn: Insn;
}

/** The encoder refused. `fatal` means that its memory can no longer be trusted. */
export class EncoderRefusal extends Error {
  readonly fatal: boolean;

  constructor(message: string, fatal: boolean) {
    super(message);
    this.name = 'EncoderRefusal';
    this.fatal = fatal;
  }
}

/** Keystone for one architecture. */
export class Encoder {
  private readonly cache = new Map<string, Encoded>();
  private broken = false;
  private readonly keystone: Keystone;
  private readonly disassembler: Disassembler;
  private readonly arch: AsmArch;

  constructor(keystone: Keystone, disassembler: Disassembler, arch: AsmArch) {
    this.keystone = keystone;
    this.disassembler = disassembler;
    this.arch = arch;
  }

  /** Encodes one instruction. @throws EncoderRefusal if Keystone knows none like it */
  encode(text: string): Encoded {
    const known = this.cache.get(text);
    if (known !== undefined) return known;
    const [insn, ...more] = this.decode(this.call(text));
    if (insn === undefined || more.length > 0) {
      throw new EncoderRefusal('the encoder did not give exactly one instruction', false);
    }
    return this.keep(text, insn);
  }

  /**
   * Encodes many at once, which costs a twentieth per instruction of what single calls do. Says nothing about those
   * that cannot be encoded: {@link encode} will.
   */
  prefetch(texts: readonly string[]): void {
    const wanted = [...new Set(texts)].filter((text) => !this.cache.has(text));
    if (wanted.length < 2 || this.broken) return;
    if (this.encodeTogether(wanted) || wanted.length <= 4) return;
    const middle = wanted.length >> 1;
    this.prefetch(wanted.slice(0, middle));
    this.prefetch(wanted.slice(middle));
  }

  /** Forgets an encoding, so that the next {@link encode} asks for it alone. */
  forget(text: string): void {
    this.cache.delete(text);
  }

  private encodeTogether(texts: readonly string[]): boolean {
    let insns: Insn[];
    try {
      insns = this.decode(this.call(texts.join('\n')));
    } catch (refusal) {
      if (refusal instanceof EncoderRefusal) return false;
      throw refusal;
    }
    if (insns.length !== texts.length) return false;
    for (let i = 0; i < texts.length; i++) this.keep(texts[i], insns[i]);
    return true;
  }

  private keep(text: string, insn: Insn): Encoded {
    if (this.cache.size >= CACHE_LIMIT) {
      for (const old of [...this.cache.keys()].slice(0, CACHE_LIMIT / 2)) this.cache.delete(old);
    }
    const encoded = { bytes: insn.bytes, insn };
    this.cache.set(text, encoded);
    return encoded;
  }

  private decode(bytes: Uint8Array): Insn[] {
    return this.disassembler.disassemble(bytes, { arch: this.arch, address: 0n });
  }

  private call(text: string): Uint8Array {
    if (this.broken) throw new EncoderRefusal('the encoder failed earlier', true);
    try {
      return this.keystone.asm(text, { address: 0n });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const refusal = /^Failed to assemble, error: (.*?)(?: \(KS_ERR_\w+\))?$/.exec(message);
      if (refusal !== null) throw new EncoderRefusal(refusal[1], false);
      // A WebAssembly trap leaves the instance in the middle of something.
      this.broken = true;
      throw new EncoderRefusal(message, true);
    }
  }
}

/**
 * Encodes and checks by decoding.
 * @param isSame compares what was written with what came out
 * @throws AssemblyError if there is no such instruction, or if the encoding is of another one
 */
export function encodeChecked(
  encoder: Encoder,
  text: string,
  statement: Statement,
  isSame: (insn: Insn) => boolean,
): Uint8Array {
  let encoded = ask(encoder, text, statement);
  if (isSame(encoded.insn)) return encoded.bytes;
  // It may have been cut at the wrong place out of many.
  encoder.forget(text);
  encoded = ask(encoder, text, statement);
  if (isSame(encoded.insn)) return encoded.bytes;
  encoder.forget(text);
  throw new AssemblyError(
    statement,
    `the encoder turned "${statement.text}" into "${encoded.insn.text}"`,
    'write another form of the instruction, or its bytes with .byte or .inst',
  );
}

function ask(encoder: Encoder, text: string, statement: Statement): Encoded {
  try {
    return encoder.encode(text);
  } catch (refusal) {
    if (!(refusal instanceof EncoderRefusal)) throw refusal;
    if (refusal.fatal) {
      throw new AssemblyError(
        statement,
        `the encoder died of "${statement.text}" (${refusal.message})`,
        'start again without this statement, or write its bytes with .byte or .inst',
      );
    }
    throw new AssemblyError(
      statement,
      `cannot encode "${statement.text}": ${refusal.message.toLowerCase()}`,
      'check the mnemonic and the kinds and sizes of its operands',
    );
  }
}

let loading: Promise<(arch: AsmArch, disassembler: Disassembler) => Encoder> | null = null;

/** Loads Keystone on first use (about 40 ms). @returns the encoder of an architecture, always the same one */
export function loadEncoders(): Promise<(arch: AsmArch, disassembler: Disassembler) => Encoder> {
  loading ??= load();
  return loading;
}

async function load(): Promise<(arch: AsmArch, disassembler: Disassembler) => Encoder> {
  const { Keystone, loadKeystone } = await import('keystone-wasm');
  // LLVM prints complaints of its own and, where it gives up, exits; nothing below the command line may do either.
  await loadKeystone({
    print: () => {},
    printErr: () => {},
    quit: (_status: number, reason: unknown) => {
      throw reason;
    },
  });
  const encoders = new Map<AsmArch, Encoder>();
  return (arch, disassembler) => {
    let encoder = encoders.get(arch);
    if (encoder === undefined) {
      const keystone =
        arch === 'x86_64' ? new Keystone(KS_ARCH_X86, KS_MODE_64) : new Keystone(KS_ARCH_ARM64, 0);
      encoder = new Encoder(keystone, disassembler, arch);
      encoders.set(arch, encoder);
    }
    return encoder;
  };
}
