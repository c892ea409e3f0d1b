// Keystone, used for one thing: to encode a single instruction whose operands are registers and numbers. Labels,
// directives, comments and expressions are ours, so nothing of what makes Keystone hang or trap reaches it, and a
// refusal has a line. That was tried: of every word in its binary, alone and with operands, only the x86 prefixes hang
// (ours, too), and only a high byte register with a REX prefix traps (refused before). What may be left costs the
// statement and not the process: see keystone-worker.ts. Encodings do not depend on the address, so they are kept.
import type { Keystone } from 'keystone-wasm';
import type { Disassembler, Insn } from '../disassembler.ts';
import { AssemblyError } from './error.ts';
import { KeystoneWorker, type WorkerAnswer } from './keystone-worker.ts';
import type { AsmArch, Statement } from './source.ts';

const KS_ARCH_ARM64 = 2;
const KS_ARCH_X86 = 4;
const KS_MODE_64 = 8;

/** Longer than any instruction. Text goes over the encoder's stack, which is small. */
const TEXT_LIMIT = 256;
const BATCH = 100;

/** More than any one run writes; the oldest half is dropped then. */
const CACHE_LIMIT = 20_000;

export interface Encoded {
  readonly bytes: Uint8Array;
  /** What the bytes are, according to Capstone, as if they lay at address 0. */
  readonly insn: Insn;
}

/** The encoder refused. `died` means that it trapped or never came back; it has been replaced. */
export class EncoderRefusal extends Error {
  readonly died: boolean;

  constructor(message: string, died: boolean) {
    super(message);
    this.name = 'EncoderRefusal';
    this.died = died;
  }
}

/** Text to bytes: in this thread, or where that has died in another. */
export type KeystoneCall = (text: string) => Uint8Array;

/** Keystone for one architecture. */
export class Encoder {
  private readonly cache = new Map<string, Encoded>();
  private readonly call: KeystoneCall;
  private readonly disassembler: Disassembler;
  private readonly arch: AsmArch;

  /** @param call throws EncoderRefusal */
  constructor(call: KeystoneCall, disassembler: Disassembler, arch: AsmArch) {
    this.call = call;
    this.disassembler = disassembler;
    this.arch = arch;
  }

  /** Encodes one instruction. @throws EncoderRefusal if Keystone knows none like it */
  encode(text: string): Encoded {
    const known = this.cache.get(text);
    if (known !== undefined) return known;
    if (text.length > TEXT_LIMIT) throw new EncoderRefusal('it is too long', false);
    const insns = this.decode(this.call(text));
    const [insn] = insns;
    if (insn === undefined) throw new EncoderRefusal('the encoder gave nothing', false);
    if (insns.length > 1) {
      const all = insns.map((each) => each.text).join('; ');
      throw new EncoderRefusal(`the encoder gave "${all}"`, false);
    }
    return this.keep(text, insn);
  }

  /**
   * Encodes many at once, which costs a twentieth per instruction of what single calls do. Says nothing about those
   * that cannot be encoded: {@link encode} will.
   */
  prefetch(texts: readonly string[]): void {
    const isNew = (text: string) => !this.cache.has(text) && text.length <= TEXT_LIMIT;
    const wanted = [...new Set(texts)].filter(isNew);
    for (let at = 0; at < wanted.length; at += BATCH)
      this.tryTogether(wanted.slice(at, at + BATCH));
  }

  /** Halves what fails; the last few are left to {@link encode}. */
  private tryTogether(texts: readonly string[]): void {
    if (texts.length < 2 || this.encodeTogether(texts) || texts.length <= 4) return;
    const middle = texts.length >> 1;
    this.tryTogether(texts.slice(0, middle));
    this.tryTogether(texts.slice(middle));
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
}

const FAILED = /^Failed to assemble, error: (.*?)(?: \(KS_ERR_\w+\))?$/;

/** Its own words, except for an operand that the instruction's parser took and its encoder did not. */
function reasonOf(message: string): string {
  const words = FAILED.exec(message)?.[1] ?? message;
  return /^unknown error$/i.test(words)
    ? 'a number or register is out of range'
    : words.toLowerCase();
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
    if (refusal.died) {
      throw new AssemblyError(
        statement,
        `the encoder died of "${statement.text}" (${refusal.message})`,
        'write its bytes with .byte or .inst, and report the statement',
      );
    }
    throw new AssemblyError(
      statement,
      `cannot encode "${statement.text}": ${refusal.message}`,
      'check the mnemonic and the kinds and sizes of its operands; --assembler gnu knows more',
    );
  }
}

/** Milliseconds after which an encoder that does not come back is given up. */
const LIMIT = 2000;

type EncoderOf = (arch: AsmArch, disassembler: Disassembler) => Encoder;

let loading: Promise<EncoderOf> | null = null;

/** Loads Keystone on first use (about 40 ms). @returns the encoder of an architecture, always the same one */
export function loadEncoders(): Promise<EncoderOf> {
  loading ??= load();
  return loading;
}

async function load(): Promise<EncoderOf> {
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
  const calls = keystoneCalls((arch, mode) => new Keystone(arch, mode), new KeystoneWorker(LIMIT));
  return (arch, disassembler) => {
    let encoder = encoders.get(arch);
    if (encoder === undefined) {
      const [number, mode] = arch === 'x86_64' ? [KS_ARCH_X86, KS_MODE_64] : [KS_ARCH_ARM64, 0];
      encoder = new Encoder(calls(number, mode), disassembler, arch);
      encoders.set(arch, encoder);
    }
    return encoder;
  };
}

/**
 * Calls that go to Keystone in this thread until it dies, and to the worker ever after. Exported for tests.
 * @param open makes a Keystone of this thread
 */
export function keystoneCalls(
  open: (arch: number, mode: number) => Pick<Keystone, 'asm'>,
  worker: Pick<KeystoneWorker, 'encode'>,
): (arch: number, mode: number) => KeystoneCall {
  let isDead = false;
  return (arch, mode) => {
    let keystone: Pick<Keystone, 'asm'> | null = null;
    return (text) => {
      if (isDead) return fromWorker(worker.encode(arch, mode, text));
      try {
        keystone ??= open(arch, mode);
        return keystone.asm(text, { address: 0n });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        // What traps leaves the instance in the middle of something.
        isDead = !FAILED.test(message);
        throw new EncoderRefusal(reasonOf(message), isDead);
      }
    };
  };
}

function fromWorker(answer: WorkerAnswer): Uint8Array {
  if ('bytes' in answer) return answer.bytes;
  throw new EncoderRefusal(reasonOf(answer.message), answer.trapped);
}
