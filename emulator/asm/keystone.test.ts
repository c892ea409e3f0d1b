import { describe, expect, it } from 'vitest';
import { loadDisassembler } from '../disassembler.ts';
import { Encoder, EncoderRefusal, keystoneCalls } from './keystone.ts';
import { KeystoneWorker } from './keystone-worker.ts';

const X86 = [4, 8] as const;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A Keystone that dies of everything. */
const dying = () => ({
  asm: (): Uint8Array => {
    throw new Error('unreachable');
  },
});

const refusal = (work: () => unknown): EncoderRefusal => {
  try {
    work();
  } catch (error) {
    if (error instanceof EncoderRefusal) return error;
    throw error;
  }
  throw new Error('it was encoded');
};

describe('an encoder that dies', () => {
  it('is replaced by one in another thread', () => {
    const worker = new KeystoneWorker(10_000);
    const call = keystoneCalls(dying, worker)(...X86);
    expect(refusal(() => call('nop')).died).toBe(true);
    expect(hex(call('mov rax, qword ptr [rdi + 8]'))).toBe('488b4708');
    expect(refusal(() => call('bogus')).died).toBe(false);
    // Trap: a directive of its own.
    expect(refusal(() => call('.text')).died).toBe(true);
    expect(hex(call('nop'))).toBe('90');
    worker.end();
  });

  it('is given up when it hangs', () => {
    const worker = new KeystoneWorker(3000);
    const call = keystoneCalls(dying, worker)(...X86);
    refusal(() => call('nop'));
    expect(hex(call('nop'))).toBe('90');
    const hung = refusal(() => call('%rax'));
    expect(hung.died).toBe(true);
    expect(hung.message).toMatch(/no answer within 3000 ms/);
    expect(hex(call('ret'))).toBe('c3');
    worker.end();
  });
});

describe('Encoder', () => {
  it('encodes many in one call and finds the bad one alone', async () => {
    const disassembler = await loadDisassembler();
    const { Keystone, loadKeystone } = await import('keystone-wasm');
    await loadKeystone();
    const keystone = new Keystone(...X86);
    const asked: string[] = [];
    const call = (text: string) => {
      asked.push(text);
      try {
        return keystone.asm(text, { address: 0n });
      } catch (error) {
        throw new EncoderRefusal(String(error), false);
      }
    };
    const encoder = new Encoder(call, disassembler, 'x86_64');
    const texts = Array.from({ length: 40 }, (_, i) => `add rax, ${i}`);
    encoder.prefetch(texts);
    expect(asked.length).toBe(1);
    expect(hex(encoder.encode('add rax, 39').bytes)).toBe('4883c027');
    expect(asked.length).toBe(1);

    encoder.prefetch([...texts.map((text) => text.replace('add', 'sub')), 'bogus']);
    expect(hex(encoder.encode('sub rax, 39').bytes)).toBe('4883e827');
    expect(refusal(() => encoder.encode('bogus')).message).toMatch(/KS_ERR|mnemonic/i);
  });
});
