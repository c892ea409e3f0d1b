// What the words of an x86-64 exception-table entry hold beside places (asm/extable_fixup_types.h, bpf_jit_comp.c).

/** EX_FLAG_CLEAR_AX and EX_FLAG_CLEAR_DX, in bits 15:12 of the data. */
export const FLAG_CLEAR_AX = 1 << 12;
export const FLAG_CLEAR_DX = 2 << 12;

/** FIXUP_ARENA_ACCESS of a BPF entry's fixup word. */
export const FIXUP_ARENA_ACCESS = 0x8000_0000;
/** In place of a register's offset: a store, which clears none. */
export const DONT_CLEAR = 1;
