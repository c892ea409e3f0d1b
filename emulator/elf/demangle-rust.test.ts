// Names out of rustc's objects, as GNU nm -C of binutils 2.40 tells them.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { demangleRust } from './demangle-rust.ts';
import { readElf } from './read.ts';

const FOLDER = new URL('../../fixtures/rust/', import.meta.url);

describe('names of Rust functions', () => {
  it.each([
    ['_RNvCsc6j7Ld6AHdi_6kfuncs5scale', 'kfuncs::scale'],
    ['_RINvMNtCsc6j7Ld6AHdi_6kfuncs5wordsNtB3_3Sum3addhEB5_', '<kfuncs::words::Sum>::add::<u8>'],
    [
      '_RNvXNtCsc6j7Ld6AHdi_6kfuncs5wordsOyNtB2_5Scale5scale',
      '<*mut u64 as kfuncs::words::Scale>::scale',
    ],
    ['_ZN6kfuncs5words3Sum3add17h2517edd73a7d99c3E', 'kfuncs::words::Sum::add'],
    ['_ZN4core3ptr15write$LT$u8$GT$17h0123456789abcdefE', 'core::ptr::write<u8>'],
    ['_RNCNvC1a4main0B3_', 'a::main::{closure#0}'],
    ['_RINvC1a1fAhj4_TlmERShEB2_', 'a::f::<[u8; 4], (i32, u32), &[u8]>'],
    ['_RINvC1a1fFUKClEuE', 'a::f::<unsafe extern "C" fn(i32)>'],
    ['_RINvC1a1fKj2a_Kb1_KlnA_E', '_RINvC1a1fKj2a_Kb1_KlnA_E'],
    ['_RINvC1a1fKj2a_Kb1_Klna_E', 'a::f::<42, true, -10>'],
    ['memcpy', 'memcpy'],
    ['_ZN3foo3barEv', '_ZN3foo3barEv'],
    ['_RNvB_', '_RNvB_'],
    ['_R', '_R'],
  ])('%s', (symbol, name) => {
    expect(demangleRust(symbol)).toBe(name);
  });

  it('of the objects are those of nm', () => {
    for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.o'))) {
      const bytes = readFileSync(new URL(file, FOLDER));
      const nm = spawnSync('nm', ['-C', new URL(file, FOLDER).pathname], { encoding: 'utf8' });
      if (nm.status !== 0) continue;
      const told = new Set(nm.stdout.split('\n').map((line) => line.slice(19)));
      for (const { name } of readElf(new Uint8Array(bytes)).symbols) {
        if (name.startsWith('_R') || name.startsWith('_ZN'))
          expect(told).toContain(demangleRust(name));
      }
    }
  });

  it('are told, or left, whatever the symbol is', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^_(?:R|ZN)[A-Za-z0-9_$.]{0,60}$/), (symbol) => {
        expect(typeof demangleRust(symbol)).toBe('string');
      }),
    );
  });
});
