// A second, slow walker for tests: AArch64.S1Translate() and what it calls, written down in bigints as the Arm ARM's
// pseudocode goes (DDI 0487, J1.1.5), one variable a pseudocode variable. It shares no code with the paging unit; its
// IMPLEMENTATION DEFINED and CONSTRAINED UNPREDICTABLE choices are the same.
import type { Ram } from '../../emulator/ram.ts';
import type { Arm64PagingState } from './paging-state.ts';

/** AccessDescriptor, as far as stage 1 looks at it. */
export interface AccDesc {
  readonly acctype: 'GPR' | 'IFETCH' | 'DC' | 'DCZero' | 'AT';
  readonly el: 0 | 1;
  readonly read: boolean;
  readonly write: boolean;
  readonly atomicRW: boolean;
  readonly pan: boolean;
  /** CacheOp_Invalidate, of a DC. */
  readonly invalidate: boolean;
  readonly aligned: boolean;
}

type Status = 'Translation' | 'AddressSize' | 'AccessFlag' | 'Permission' | 'Alignment' | 'Abort';

export type Reference =
  | { status: Status; level: number; write: boolean }
  | { status: null; pa: bigint; attr: number; sh: number; descaddr: bigint; newDesc: bigint };

const slice = (word: bigint, high: number, low: number) =>
  (word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
const bitOf = (word: bigint, at: number) => slice(word, at, at) === 1n;
const isZero = (word: bigint, high: number, low: number) =>
  high < low || slice(word, high, low) === 0n;
const isOnes = (word: bigint, high: number, low: number) =>
  high < low || slice(word, high, low) === (1n << BigInt(high - low + 1)) - 1n;
const alignDown = (word: bigint, log2: number) => (word >> BigInt(log2)) << BigInt(log2);

export function s1Translate(
  ram: Ram,
  state: Arm64PagingState,
  va: bigint,
  accdesc: AccDesc,
): Reference {
  const { sctlr, tcr, features } = state;
  const fail = (status: Status, level: number, write = accdesc.write && !accdesc.atomicRW) => ({
    status,
    level,
    write,
  });
  const upper = bitOf(va, 55);
  const tbi =
    bitOf(tcr, upper ? 38 : 37) &&
    !(accdesc.acctype === 'IFETCH' && features.pauth && bitOf(tcr, upper ? 52 : 51));
  const addrtop = tbi ? 55 : 63;
  const faultsOnDevice =
    accdesc.acctype === 'DCZero' || (!accdesc.aligned && accdesc.acctype === 'GPR');

  if (!bitOf(sctlr, 0)) {
    if (!isZero(va, addrtop, features.paBits)) return fail('AddressSize', 0);
    if (faultsOnDevice) return fail('Alignment', 0);
    const pa = slice(va, features.paBits - 1, 0);
    return { status: null, pa, attr: 0, sh: 2, descaddr: -1n, newDesc: 0n };
  }

  const tg = slice(tcr, upper ? 31 : 15, upper ? 30 : 14);
  const tgx = (upper ? ['4K', '16K', '4K', '64K'] : ['4K', '64K', '16K', '4K'])[Number(tg)];
  const granulebits = { '4K': 12, '16K': 14, '64K': 16 }[tgx]!;
  const ds = features.lpa2 && tgx !== '64K' && bitOf(tcr, 59);
  const txsz = Number(slice(tcr, upper ? 21 : 5, upper ? 16 : 0));
  const mintxsz = ds || (tgx === '64K' && features.lva) ? 12 : 16;
  let maxtxsz = 39;
  if (features.ttst) maxtxsz = tgx === '64K' ? 47 : 48;
  if (txsz < mintxsz || txsz > maxtxsz) return fail('Translation', 0);
  const iasize = 64 - txsz;
  const inRange = upper ? isOnes(va, addrtop, iasize) : isZero(va, addrtop, iasize);
  if (!inRange) return fail('Translation', 0);
  if (features.e0pd && accdesc.el === 0 && bitOf(tcr, upper ? 56 : 55)) {
    return fail('Translation', 0);
  }
  if (bitOf(tcr, upper ? 23 : 7)) return fail('Translation', 0);

  const ips = Number(slice(tcr, 34, 32));
  const maxPs = tgx === '64K' || ds ? 52 : 48;
  const oasize = Math.min([32, 36, 40, 42, 44, 48, 52, 52][ips], maxPs, features.paBits);
  const lpa = tgx === '64K' && features.paBits === 52;
  const stride = granulebits - 3;
  const startlevel = 3 - Math.trunc((iasize - 1 - granulebits) / stride);
  let tsize = iasize - ((3 - startlevel) * stride + granulebits) + 3;
  const ttbr = upper ? state.ttbr1 : state.ttbr0;
  let baseaddress: bigint;
  if (ds || (lpa && ips === 6)) {
    tsize = Math.max(tsize, 6);
    baseaddress = (slice(ttbr, 5, 2) << 48n) | (slice(ttbr, 47, 6) << 6n);
  } else baseaddress = slice(ttbr, 47, 1) << 1n;
  baseaddress = alignDown(baseaddress, tsize);
  if (!isZero(baseaddress, 63, oasize)) return fail('AddressSize', 0);

  const ha = features.hafdbs !== 'none' && bitOf(tcr, 39);
  const hd = ha && features.hafdbs === 'AF+dirty' && bitOf(tcr, 40);
  const hpd = features.hpds && bitOf(tcr, upper ? 42 : 41);
  let apTable = 0n;
  let xnTable = 0n;
  let pxnTable = 0n;
  let descriptor: bigint;
  let descaddr: bigint;
  let level = startlevel;
  let high = iasize - 1;
  let low: number;
  for (; ; level++) {
    low = granulebits + (3 - level) * stride;
    descaddr = baseaddress + 8n * slice(va, high, low);
    if (!ram.contains(Number(descaddr), 8)) return fail('Abort', level);
    descriptor = ram.read64(Number(descaddr));
    const type = slice(descriptor, 1, 0);
    const blockSupported = {
      '4K': level === 1 || level === 2 || (level === 0 && ds),
      '16K': level === 2 || (level === 1 && ds),
      '64K': level === 2 || (level === 1 && features.paBits >= 52),
    }[tgx]!;
    if (type === 0n || type === 2n || (type === 1n && !blockSupported)) {
      return fail('Translation', level);
    }
    const leaf = type === 1n || level === 3;
    baseaddress = alignDown(slice(descriptor, 47, 0), leaf ? low : granulebits);
    if (lpa) baseaddress |= slice(descriptor, 15, 12) << 48n;
    if (ds) baseaddress |= (slice(descriptor, 49, 48) << 48n) | (slice(descriptor, 9, 8) << 50n);
    if (!isZero(baseaddress, 63, oasize)) return fail('AddressSize', level);
    if (leaf) break;
    if (!hpd) {
      apTable |= slice(descriptor, 62, 61);
      xnTable |= slice(descriptor, 60, 60);
      pxnTable |= slice(descriptor, 59, 59);
    }
    high = low - 1;
  }
  if (!bitOf(descriptor, 10) && !ha) return fail('AccessFlag', level);
  const pa = baseaddress | slice(va, low - 1, 0);

  let attr = Number(
    slice(state.mair, Number(slice(descriptor, 4, 2)) * 8 + 7, Number(slice(descriptor, 4, 2)) * 8),
  );
  const device = attr >> 4 === 0;
  if (!device && !bitOf(sctlr, 2)) attr = 0x44;
  const sh = Number(ds ? slice(tcr, upper ? 29 : 13, upper ? 28 : 12) : slice(descriptor, 9, 8));
  if (device && faultsOnDevice) return fail('Alignment', level);

  // S1DirectBasePermissions
  const dbm = hd && bitOf(descriptor, 51);
  const ap = dbm ? slice(descriptor, 6, 6) : slice(descriptor, 7, 6);
  let [pr, pw, ur, uw] = [
    [true, true, false, false],
    [true, true, true, true],
    [true, false, false, false],
    [true, false, true, false],
  ][Number(ap)];
  if (apTable === 1n) [ur, uw] = [false, false];
  if (apTable === 2n) [pw, uw] = [false, false];
  if (apTable === 3n) [pw, ur, uw] = [false, false, false];
  const px = !(bitOf(descriptor, 53) || pxnTable === 1n || uw);
  const ux = !(bitOf(descriptor, 54) || xnTable === 1n);
  if (features.pan && state.pan && accdesc.pan && (ur || uw)) [pr, pw] = [false, false];
  const [r, w] = accdesc.el === 0 ? [ur, uw] : [pr, pw];
  const wxn = bitOf(sctlr, 19);
  const x = accdesc.el === 0 ? ux && !(wxn && uw) : px && !(wxn && w);

  // S1HasPermissionsFault
  if (accdesc.acctype === 'IFETCH') {
    if (!x) return fail('Permission', level, false);
  } else if (accdesc.acctype === 'DC') {
    if (accdesc.invalidate ? !w : accdesc.el === 0 && !r) return fail('Permission', level, true);
  } else if (accdesc.read && !r) return fail('Permission', level, false);
  else if (accdesc.write && !w) return fail('Permission', level, true);

  let newDesc = descriptor;
  if (ha) newDesc |= 1n << 10n;
  if (dbm && accdesc.write && !['AT', 'IC', 'DC'].includes(accdesc.acctype)) newDesc &= ~(1n << 7n);
  return { status: null, pa, attr, sh, descaddr, newDesc };
}
