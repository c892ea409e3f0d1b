// Instructions without operands that the encoder does not know or spells otherwise. SDM Vol. 2, by name.
const table: Record<string, string> = {
  endbr64: 'f30f1efa',
  endbr32: 'f30f1efb',
  sysret: '0f07',
  sysretq: '480f07',
  sysretl: '0f07',
  sysexit: '0f35',
  sysexitq: '480f35',
  clac: '0f01ca',
  stac: '0f01cb',
  ret: 'c3',
  retn: 'c3',
  retf: 'cb',
  lret: 'cb',
  retfq: '48cb',
  iret: 'cf',
  iretd: 'cf',
  iretq: '48cf',
  int1: 'f1',
  icebp: 'f1',
  int3: 'cc',
  pause: 'f390',
  serialize: '0f01e8',
  rdpkru: '0f01ee',
  wrpkru: '0f01ef',
  xgetbv: '0f01d0',
  xsetbv: '0f01d1',
  monitor: '0f01c8',
  mwait: '0f01c9',
  xend: '0f01d5',
  xtest: '0f01d6',
  wbnoinvd: 'f30f09',
  setssbsy: 'f30f01e8',
  saveprevssp: 'f30f01ea',
  pushf: '9c',
  popf: '9d',
  pushfq: '9c',
  popfq: '9d',
  wait: '9b',
  fwait: '9b',
  xlat: 'd7',
  // The string instructions, which without operands the encoder takes for those of SSE2.
  movsd: 'a5',
  cmpsd: 'a7',
  ud2: '0f0b',
  ud2a: '0f0b',
};

/** @returns a fresh copy of the encoding, or null */
export function fixedEncoding(mnemonic: string): Uint8Array | null {
  const hex = Object.hasOwn(table, mnemonic) ? table[mnemonic] : undefined;
  return hex === undefined ? null : Uint8Array.from(Buffer.from(hex, 'hex'));
}

/** Gap fillers of 1 to 9 bytes (SDM Vol. 2B, NOP, table 4-12), then with a segment prefix as GNU as uses them. */
const NOPS = [
  '90',
  '6690',
  '0f1f00',
  '0f1f4000',
  '0f1f440000',
  '660f1f440000',
  '0f1f8000000000',
  '0f1f840000000000',
  '660f1f840000000000',
  '662e0f1f840000000000',
  '66662e0f1f840000000000',
].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));

/** Exactly `length` bytes of no-operations. */
export function nops(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const nop = NOPS[Math.min(length - at, NOPS.length) - 1];
    bytes.set(nop, at);
    at += nop.length;
  }
  return bytes;
}
