// Instruction forms with a memory operand, for the engine's tests: text, encoding (GNU as 2.40), kind of the fault
// that the hardware reports (R, W, or A: a read if that fails, else a write), bytes accessed, and where the access lies
// from the address in the base register (rdi, x1). What stands behind a semicolon says which registers hold something else
// than usual.

export type Form<Code> = readonly [
  text: string,
  code: Code,
  kind: 'R' | 'W' | 'A',
  size: number,
  offset: number,
];
