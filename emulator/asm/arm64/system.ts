// System registers by name and the instructions that move them: mrs, msr, and msr of a PSTATE field. The table holds what
// an operating system's fault, entry and memory code names; S3_0_C1_C0_0 spells any other. Encodings: Arm ARM D17 (the
// register's page) and C6.2 MSR (immediate).
import { registerOf } from './registers.ts';
import type { Resolved } from './resolve.ts';

/** `op0 op1 CRn CRm op2` of each register. */
const TABLE = `
midr_el1 30000 mpidr_el1 30005 revidr_el1 30006
id_pfr0_el1 30010 id_pfr1_el1 30011 id_dfr0_el1 30012 id_mmfr0_el1 30014 id_mmfr1_el1 30015 id_mmfr2_el1 30016
id_mmfr3_el1 30017 id_isar0_el1 30020 id_isar1_el1 30021 id_isar2_el1 30022 id_isar3_el1 30023 id_isar4_el1 30024
id_isar5_el1 30025 id_mmfr4_el1 30026 mvfr0_el1 30030 mvfr1_el1 30031 mvfr2_el1 30032
id_aa64pfr0_el1 30040 id_aa64pfr1_el1 30041 id_aa64pfr2_el1 30042 id_aa64zfr0_el1 30044 id_aa64smfr0_el1 30045
id_aa64dfr0_el1 30050 id_aa64dfr1_el1 30051 id_aa64afr0_el1 30054 id_aa64afr1_el1 30055
id_aa64isar0_el1 30060 id_aa64isar1_el1 30061 id_aa64isar2_el1 30062
id_aa64mmfr0_el1 30070 id_aa64mmfr1_el1 30071 id_aa64mmfr2_el1 30072 id_aa64mmfr3_el1 30073
sctlr_el1 30100 actlr_el1 30101 cpacr_el1 30102 rgsr_el1 30105 gcr_el1 30106 zcr_el1 30120
ttbr0_el1 30200 ttbr1_el1 30201 tcr_el1 30202 tcr2_el1 30203
apiakeylo_el1 30210 apiakeyhi_el1 30211 apibkeylo_el1 30212 apibkeyhi_el1 30213 apdakeylo_el1 30220
apdakeyhi_el1 30221 apdbkeylo_el1 30222 apdbkeyhi_el1 30223 apgakeylo_el1 30230 apgakeyhi_el1 30231
spsr_el1 30400 elr_el1 30401 sp_el0 30410 spsel 30420 currentel 30422 pan 30423 uao 30424
icc_pmr_el1 30460 afsr0_el1 30510 afsr1_el1 30511 esr_el1 30520 erridr_el1 30530 errselr_el1 30531
tfsr_el1 30560 tfsre0_el1 30561 far_el1 30600 par_el1 30740
mair_el1 30a20 amair_el1 30a30 vbar_el1 30c00 rvbar_el1 30c01 rmr_el1 30c02 isr_el1 30c10 disr_el1 30c11
contextidr_el1 30d01 tpidr_el1 30d04 scxtnum_el1 30d07 cntkctl_el1 30e10
ccsidr_el1 31000 clidr_el1 31001 ccsidr2_el1 31002 gmid_el1 31004 aidr_el1 31007 csselr_el1 32000
ctr_el0 33001 dczid_el0 33007 rndr 33240 rndrrs 33241 nzcv 33420 daif 33421 dit 33425 ssbs 33426 tco 33427
fpcr 33440 fpsr 33441 dspsr_el0 33450 dlr_el0 33451
pmcr_el0 339c0 pmcntenset_el0 339c1 pmcntenclr_el0 339c2 pmovsclr_el0 339c3 pmswinc_el0 339c4 pmselr_el0 339c5
pmceid0_el0 339c6 pmceid1_el0 339c7 pmccntr_el0 339d0 pmxevtyper_el0 339d1 pmxevcntr_el0 339d2 pmuserenr_el0 339e0
pmovsset_el0 339e3 pmintenset_el1 309e1 pmintenclr_el1 309e2
tpidr_el0 33d02 tpidrro_el0 33d03 scxtnum_el0 33d07
cntfrq_el0 33e00 cntpct_el0 33e01 cntvct_el0 33e02 cntpctss_el0 33e05 cntvctss_el0 33e06
cntp_tval_el0 33e20 cntp_ctl_el0 33e21 cntp_cval_el0 33e22
cntv_tval_el0 33e30 cntv_ctl_el0 33e31 cntv_cval_el0 33e32
vpidr_el2 34000 vmpidr_el2 34005 sctlr_el2 34100 actlr_el2 34101 hcr_el2 34110 mdcr_el2 34111 cptr_el2 34112
hstr_el2 34113 hacr_el2 34117 ttbr0_el2 34200 ttbr1_el2 34201 tcr_el2 34202 vttbr_el2 34210 vtcr_el2 34212
spsr_el2 34400 elr_el2 34401 sp_el1 34410 esr_el2 34520 far_el2 34600 hpfar_el2 34604 mair_el2 34a20 vbar_el2 34c00
contextidr_el2 34d01 tpidr_el2 34d02 cntvoff_el2 34e03 cnthctl_el2 34e10
sctlr_el12 35100 cpacr_el12 35102 ttbr0_el12 35200 ttbr1_el12 35201 tcr_el12 35202 spsr_el12 35400 elr_el12 35401
esr_el12 35520 far_el12 35600 mair_el12 35a20 vbar_el12 35c00 contextidr_el12 35d01 cntkctl_el12 35e10
sctlr_el3 36100 scr_el3 36110 cptr_el3 36112 ttbr0_el3 36200 tcr_el3 36202 spsr_el3 36400 elr_el3 36401 sp_el2 36410
esr_el3 36520 far_el3 36600 mair_el3 36a20 vbar_el3 36c00 tpidr_el3 36d02
mdccint_el1 20020 mdscr_el1 20022 oslar_el1 20104 oslsr_el1 20114 osdlr_el1 20134 mdccsr_el0 23010
osdtrrx_el1 20002 osdtrtx_el1 20032 oseccr_el1 20062 mdrar_el1 20100 dbgprcr_el1 20144
dbgclaimset_el1 20786 dbgclaimclr_el1 20796 dbgauthstatus_el1 207e6 brbcr_el1 21900
brbfcr_el1 21901 brbts_el1 21902 brbidr0_el1 21920 dbgdtr_el0 23040 dbgdtrrx_el0 23050
dbgdtrtx_el0 23050 dbgvcr32_el2 24070 id_afr0_el1 30013 id_isar6_el1 30027 id_pfr2_el1 30034
id_dfr1_el1 30035 id_mmfr5_el1 30036 trfcr_el1 30121 smpri_el1 30124 smcr_el1 30126 allint 30430
erxfr_el1 30540 erxctlr_el1 30541 erxstatus_el1 30542 erxaddr_el1 30543 erxpfgf_el1 30544
erxpfgctl_el1 30545 erxpfgcdn_el1 30546 erxmisc0_el1 30550 erxmisc1_el1 30551 erxmisc2_el1 30552
erxmisc3_el1 30553 pmscr_el1 30990 pmsnevfr_el1 30991 pmsicr_el1 30992 pmsirr_el1 30993
pmsfcr_el1 30994 pmsevfr_el1 30995 pmslatfr_el1 30996 pmsidr_el1 30997 pmblimitr_el1 309a0
pmbptr_el1 309a1 pmbsr_el1 309a3 pmbidr_el1 309a7 trblimitr_el1 309b0 trbptr_el1 309b1
trbbaser_el1 309b2 trbsr_el1 309b3 trbmar_el1 309b4 trbtrg_el1 309b6 trbidr_el1 309b7
pmmir_el1 309e6 lorsa_el1 30a40 lorea_el1 30a41 lorn_el1 30a42 lorc_el1 30a43 mpamidr_el1 30a44
lorid_el1 30a47 mpam1_el1 30a50 mpam0_el1 30a51 icc_iar0_el1 30c80 icc_eoir0_el1 30c81
icc_hppir0_el1 30c82 icc_bpr0_el1 30c83 icc_ap0r0_el1 30c84 icc_ap0r1_el1 30c85
icc_ap0r2_el1 30c86 icc_ap0r3_el1 30c87 icc_ap1r0_el1 30c90 icc_ap1r1_el1 30c91
icc_ap1r2_el1 30c92 icc_ap1r3_el1 30c93 icc_nmiar1_el1 30c95 icc_dir_el1 30cb1 icc_rpr_el1 30cb3
icc_sgi1r_el1 30cb5 icc_asgi1r_el1 30cb6 icc_sgi0r_el1 30cb7 icc_iar1_el1 30cc0
icc_eoir1_el1 30cc1 icc_hppir1_el1 30cc2 icc_bpr1_el1 30cc3 icc_ctlr_el1 30cc4 icc_sre_el1 30cc5
icc_igrpen0_el1 30cc6 icc_igrpen1_el1 30cc7 accdata_el1 30d05 smidr_el1 31006 svcr 33422
tpidr2_el0 33d05 amcr_el0 33d20 amcfgr_el0 33d21 amuserenr_el0 33d23 hfgrtr_el2 34114
hfgwtr_el2 34115 hfgitr_el2 34116 zcr_el2 34120 trfcr_el2 34121 hcrx_el2 34122 smcr_el2 34126
hdfgrtr_el2 34314 hdfgwtr_el2 34315 hafgrtr_el2 34316 vsesr_el2 34523 tfsr_el2 34560
vdisr_el2 34c11 scxtnum_el2 34d07 cntpoff_el2 34e06 cnthp_tval_el2 34e20 cnthp_ctl_el2 34e21
cnthp_cval_el2 34e22 cnthv_tval_el2 34e30 cnthv_ctl_el2 34e31 cnthv_cval_el2 34e32
cnthvs_tval_el2 34e40 cnthvs_ctl_el2 34e41 cnthvs_cval_el2 34e42 cnthps_tval_el2 34e50
cnthps_ctl_el2 34e51 cnthps_cval_el2 34e52 zcr_el12 35120 trfcr_el12 35121 smcr_el12 35126
afsr0_el12 35510 afsr1_el12 35511 tfsr_el12 35560 amair_el12 35a30 scxtnum_el12 35d07
cntp_tval_el02 35e20 cntp_ctl_el02 35e21 cntp_cval_el02 35e22 cntv_tval_el02 35e30
cntv_ctl_el02 35e31 cntv_cval_el02 35e32 zcr_el3 36120 smcr_el3 36126 tfsr_el3 36560
scxtnum_el3 36d07 cntps_tval_el1 37e20 cntps_ctl_el1 37e21 cntps_cval_el1 37e22
`;

/** Bits 19 to 5 of mrs and msr: `op0<0> op1 CRn CRm op2`, op0 being 2 or 3. */
const encodings = new Map<string, number>();
for (const [, name, digits] of TABLE.matchAll(/(\w+) ([0-9a-f]{5})\b/g)) {
  const [op0, op1, crn, crm, op2] = [...digits].map((digit) => Number.parseInt(digit, 16));
  encodings.set(name, field(op0, op1, crn, crm, op2));
}

function field(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return ((op0 & 1) << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}

/** @returns the register's field in mrs and msr, or null if the name is not known here */
export function systemRegister(name: string): number | null {
  const known = encodings.get(name);
  if (known !== undefined) return known;
  const debug = /^dbg([bw])([cv])r(\d+)_el1$/.exec(name);
  if (debug !== null && Number(debug[3]) < 16) {
    const op2 = (debug[1] === 'b' ? 4 : 6) + (debug[2] === 'c' ? 1 : 0);
    return field(2, 0, 0, Number(debug[3]), op2);
  }
  const counter = /^pmev(cntr|typer)(\d+)_el0$/.exec(name);
  if (counter !== null && Number(counter[2]) < 31) {
    const n = Number(counter[2]);
    return field(3, 3, 14, (counter[1] === 'cntr' ? 8 : 12) + (n >> 3), n & 7);
  }
  const branch = /^brb(inf|src|tgt)(\d+)_el1$/.exec(name);
  if (branch !== null && Number(branch[2]) < 32) {
    const n = Number(branch[2]);
    const op2 = ((n >> 4) << 2) + ['inf', 'src', 'tgt'].indexOf(branch[1]);
    return field(2, 1, 8, n & 15, op2);
  }
  const generic = /^s([23])_([0-7])_c(\d+)_c(\d+)_([0-7])$/.exec(name);
  if (generic === null) return null;
  const [op0, op1, crn, crm, op2] = generic.slice(1).map(Number);
  return crn > 15 || crm > 15 ? null : field(op0, op1, crn, crm, op2);
}

/** op1 and op2 of the PSTATE fields that msr sets from an immediate. */
const PSTATE_FIELDS: Readonly<Record<string, readonly [number, number]>> = {
  uao: [0, 3],
  pan: [0, 4],
  spsel: [0, 5],
  ssbs: [3, 1],
  dit: [3, 2],
  tco: [3, 4],
  daifset: [3, 6],
  daifclr: [3, 7],
};

const generalX = (operand: Resolved | undefined): number | null => {
  if (operand?.kind !== 'register' || operand.lane !== null) return null;
  const register = registerOf(operand.name);
  return register?.file === 'x' && !register.isStackPointer ? register.number : null;
};

/** @returns the word of an mrs or msr, or null if it is none or names something that is not in the table */
export function encodeSystemMove(mnemonic: string, operands: readonly Resolved[]): number | null {
  if (operands.length !== 2) return null;
  const [first, second] = operands;
  if (mnemonic === 'mrs') {
    const rt = generalX(first);
    const register = second.kind === 'name' ? systemRegister(second.text) : null;
    return rt === null || register === null ? null : 0xd530_0000 + register * 32 + rt;
  }
  if (mnemonic !== 'msr' || first.kind !== 'name') return null;
  if (second.kind === 'value') {
    const named = Object.hasOwn(PSTATE_FIELDS, first.text) ? PSTATE_FIELDS[first.text] : null;
    const most = first.text.startsWith('daif') ? 15n : 1n;
    if (named === null || second.value < 0n || second.value > most) return null;
    return 0xd500_401f + named[0] * 0x1_0000 + Number(second.value) * 0x100 + named[1] * 0x20;
  }
  const rt = generalX(second);
  const register = systemRegister(first.text);
  return rt === null || register === null ? null : 0xd510_0000 + register * 32 + rt;
}
