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
  /** UC_HOOK_BLOCK that counts edges too; user is the counter's data. */
  readonly metered: number;
  /** UC_HOOK_MEM_READ and UC_HOOK_MEM_WRITE; user is the data of accesses.ts. */
  readonly access: number;
  /** Called from heads that block-heads.ts rewrote; absent where it knows none. */
  readonly head?: number;
}

// host-x64.S
const X64: HostCode = {
  hex:
    '8d04d6c1e00425f0ff00004839b401001000000f85c800000039940108100000755481ac010c100000000001000f88ae' +
    '0000000fb784010c10000083794c007521482901780f48897108895110c7414808000000c3480101c7411401000000ff' +
    '61284c8b513049c70200000000c7414c00000000ebcb448b84010810000089d24131d04181f80000020074364181f800' +
    '000100754cb8010000004c8b4918498339007597448b49484e8b0409468b5409084d01d04c8d14164d39d00f857affff' +
    'ffc30fb784010c1000004c8b51304c8b49404d890ac7414c01000000e960ffffff488b042448898188000000ff612090' +
    '89d025ff0f00003d000e0000723a418b0141ff0183e07fc1e005498d44014089c9488910894808488d4c0aff4883e1f8' +
    '4883e2f84d8b4108498b1410498b0c084889501048894818c30f1f80000000005141504883ec084889f748c1ef2089f6' +
    '41ff104c8b4424084183781400751a4883c40841585984c0740e498b5008488911418b5010895108c34889042441ff48' +
    '14418b4014498b7820498b74c030418b502841ff50184c8b442408418378140075db488b0424ebb70f1f840000000000' +
    '8d04d6c1e00425f0ff00004839b401001000000f85bb0000003994010810000075470fb784010c10000083794c007525' +
    '482901781348897108895110c7414808000000e98f000000480101c7411401000000ff61284c8b513049c70200000000' +
    'c7414c00000000ebc7448b84010810000089d24131d04181f80000020074364181f800000100754cb8010000004c8b49' +
    '18498339007593448b49484e8b0409468b5409084d01d04c8d14164d39d00f8576ffffffc30fb784010c1000004c8b51' +
    '304c8b49404d890ac7414c01000000e95cffffffff61204c8b4958448b51604569d9b179379e41c1eb118d04d64401d8' +
    '25ff0f0000c1e005480341504c3908752148397008751b443950107515395014751048ff401848897158895160488941' +
    '68c3ff617066662e0f1f840000000000418b01413b4104731641ff01c1e004498954014041894c0148418974014cc341' +
    'ff610866662e0f1f840000000000669083794c0074184c8b513049c70200000000c7414c0000000048832c240fc3488b' +
    '04248b40038b44010c480101c74114010000004883042407488bb980000000ff6128',
  block: 0,
  store: 0xf0,
  fill: 0x140,
  metered: 0x1b0,
  access: 0x2e0,
  head: 0x310,
};

// host-arm64.S; tried in emulation only.
const ARM64: HostCode = {
  hex:
    '290c020b292d7cd32901038b290540912a0140f95f0101eb610500542a0940b92b0d40b94a01024a4a0200356c4c40b9' +
    '8c0100356c0040f98c010beba40000546c0000f9610400f9621000b9c0035fd62c0080526c1400b96c1440f980011fd6' +
    '6c1840f99f0100f97f4c00b9f2ffff175f814071c00100545f414071410200542b0080526c0c40f98c0140f90cfdffb5' +
    '6c0440f96d1040b98c010d8b2d40228b9f010deb41fcff54c0035fd66c1840f96d2040f98d0100f92d0080526d4c00b9' +
    'ddffff176c1040f980011fd6492c00123f01387123020054a90040b92a050011aa0000b929197bd32901058b222100f9' +
    '234900b94a40238b4a0500d14af17d924bf07d92ac0440f98b696bf88a696af82b2900f92a2d00f9c0035fd6fd7bbea9' +
    'e31301a920fc60d3e103012a890040f920013fd6e40f40f9891440b949010035e31341a9fd7bc2a81f1c0072a0000054' +
    '890440f9690000f9891040b9690800b9c0035fd6e00f1ff829050051891400b9801040f98a4c298b411940f9822840b9' +
    '890c40f920013fd6e41740f9891440b9c9feff35e00741f8eaffff17290c020b292d7cd32901038b290540912a0140f9' +
    '5f0101eb610500542a0940b92b0d40b94a01024a4a0200356c4c40b98c0100356c0040f98c010beba40000546c0000f9' +
    '610400f9621000b9200000142c0080526c1400b96c1440f980011fd66c1840f99f0100f97f4c00b9f2ffff175f814071' +
    'c00100545f414071410200542b0080526c0c40f98c0140f90cfdffb56c0440f96d1040b98c010d8b2d40228b9f010deb' +
    '41fcff54c0035fd66c1840f96d2040f98d0100f92d0080526d4c00b9ddffff176c1040f980011fd6692c40f96a6040b9' +
    '2b368f52ebc6b3722b7d0b1b6b7d11532c0c020b8c010b0b8c2d7bd36b2840f98c010b8b8d3940a9bf0109ebe1010054' +
    'df0101eba10100548d394229bf010a6b41010054df01026b010100548d0d40f9ad0500918d0d00f9612c00f9626000b9' +
    '6c3400f9c0035fd66c3840f980011fd6a92840293f010a6be20000542a050011aa0000b9a910098b222100f923050929' +
    'c0035fd6a90440f920011fd6',
  block: 0,
  store: 0xcc,
  fill: 0x11c,
  metered: 0x19c,
  access: 0x2e0,
};

/** For tests: both hosts' code. */
export const HOST_CODE: Readonly<Record<string, HostCode>> = { x64: X64, arm64: ARM64 };

/** Native addresses of the entry points. */
export interface NativeCode {
  readonly block: Pointer;
  readonly store: Pointer;
  readonly fill: Pointer;
  readonly metered: Pointer;
  readonly access: Pointer;
  readonly head: Pointer | null;
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
    return {
      block: entry(code.block),
      store: entry(code.store),
      fill: entry(code.fill),
      metered: entry(code.metered),
      access: entry(code.access),
      head: code.head === undefined ? null : entry(code.head),
    };
  } catch {
    return null;
  }
}
