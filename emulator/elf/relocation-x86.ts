// x86-64's relocations (System V psABI, 4.4.1) as compilers and kernels use them. A call through the PLT goes straight to
// its function, and loads from the GOT stay loads: no relaxation.
import {
  absolute,
  DYNAMIC,
  distance,
  fitsSigned,
  fitsUnsigned,
  none,
  type Relocation,
  type RelocationTable,
  signed,
  TLS,
  whole,
} from './relocation.ts';

const s = (bits: number) => (value: bigint) => fitsSigned(value, bits);
const u = (bits: number) => (value: bigint) => fitsUnsigned(value, bits);

const known = new Map<number, Relocation>([
  [0, none('R_X86_64_NONE')],
  [1, whole('R_X86_64_64', 8, absolute, null)],
  [2, whole('R_X86_64_PC32', 4, distance, s(32))],
  [3, whole('R_X86_64_GOT32', 4, signed, s(32), 'G-GOT')],
  [4, whole('R_X86_64_PLT32', 4, distance, s(32))],
  [9, whole('R_X86_64_GOTPCREL', 4, distance, s(32), 'G')],
  [10, whole('R_X86_64_32', 4, absolute, u(32))],
  [11, whole('R_X86_64_32S', 4, signed, s(32))],
  [12, whole('R_X86_64_16', 2, absolute, u(16))],
  [13, whole('R_X86_64_PC16', 2, distance, s(16))],
  [14, whole('R_X86_64_8', 1, absolute, u(8))],
  [15, whole('R_X86_64_PC8', 1, distance, s(8))],
  [24, whole('R_X86_64_PC64', 8, distance, null)],
  [25, whole('R_X86_64_GOTOFF64', 8, signed, null, 'S-GOT')],
  [26, whole('R_X86_64_GOTPC32', 4, distance, s(32), 'GOT')],
  [27, whole('R_X86_64_GOT64', 8, signed, null, 'G-GOT')],
  [28, whole('R_X86_64_GOTPCREL64', 8, distance, null, 'G')],
  [29, whole('R_X86_64_GOTPC64', 8, distance, null, 'GOT')],
  [30, whole('R_X86_64_GOTPLT64', 8, signed, null, 'G-GOT')],
  [31, whole('R_X86_64_PLTOFF64', 8, signed, null, 'S-GOT')],
  [32, whole('R_X86_64_SIZE32', 4, absolute, u(32), 'Z')],
  [33, whole('R_X86_64_SIZE64', 8, absolute, null, 'Z')],
  [41, whole('R_X86_64_GOTPCRELX', 4, distance, s(32), 'G')],
  [42, whole('R_X86_64_REX_GOTPCRELX', 4, distance, s(32), 'G')],
  [43, whole('R_X86_64_CODE_4_GOTPCRELX', 4, distance, s(32), 'G')],
]);

const refused = new Map(
  [
    {
      why: DYNAMIC,
      types: [
        [5, 'COPY'],
        [6, 'GLOB_DAT'],
        [7, 'JUMP_SLOT'],
        [8, 'RELATIVE'],
      ],
    },
    {
      why: DYNAMIC,
      types: [
        [37, 'IRELATIVE'],
        [38, 'RELATIVE64'],
      ],
    },
    {
      why: TLS,
      types: [
        [16, 'DTPMOD64'],
        [17, 'DTPOFF64'],
        [18, 'TPOFF64'],
        [19, 'TLSGD'],
      ],
    },
    {
      why: TLS,
      types: [
        [20, 'TLSLD'],
        [21, 'DTPOFF32'],
        [22, 'GOTTPOFF'],
        [23, 'TPOFF32'],
      ],
    },
    {
      why: TLS,
      types: [
        [34, 'GOTPC32_TLSDESC'],
        [35, 'TLSDESC_CALL'],
        [36, 'TLSDESC'],
      ],
    },
    {
      why: TLS,
      types: [
        [44, 'CODE_4_GOTTPOFF'],
        [45, 'CODE_4_GOTPC32_TLSDESC'],
      ],
    },
  ].flatMap(({ why, types }) =>
    types.map(([type, name]) => [type as number, { name: `R_X86_64_${name}`, why }] as const),
  ),
);

export const X86_RELOCATIONS: RelocationTable = { known, refused };
