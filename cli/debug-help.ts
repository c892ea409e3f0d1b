// The debugger's commands as `help` lists them, and their short forms.

export const HELP = [
  'break PLACE          stop before PLACE (symbol, label, *ADDRESS)',
  'delete [N]           delete a breakpoint, or all',
  'stepi [N]            run one instruction, its faults included',
  'continue             run to a breakpoint or the end',
  'reverse-stepi [N]    back to before the instruction that ran last',
  'reverse-continue     back to the breakpoint that was reached last, or the first entry',
  'checkpoint           keep the present state',
  'restart N            go to the state of checkpoint N',
  'delete checkpoint N  drop checkpoint N',
  'stepfault [N|all]    one stop further on the way of a fault',
  'info registers [R]   registers',
  'info walk ADDRESS    page-table walk of an address, and its TLB entries',
  'info arena           arenas, their addresses and pages',
  'info faults          faults so far',
  'info breakpoints     breakpoints',
  'info checkpoints     checkpoints',
  'x/NFU ADDRESS        examine memory: x/8gx $sp, x/4i $pc, x/s ADDRESS',
  'print EXPRESSION     value of $register, symbol or number, with + and -',
  'disassemble          the code around the instruction pointer',
  'backtrace            the stack as the kernel unwinds it',
  'quit                 leave',
];

/** Names and their short forms, longest name first to resolve. */
export const ALIASES: Readonly<Record<string, string>> = {
  b: 'break',
  br: 'break',
  d: 'delete',
  si: 'stepi',
  c: 'continue',
  rsi: 'reverse-stepi',
  rc: 'reverse-continue',
  sf: 'stepfault',
  i: 'info',
  p: 'print',
  disas: 'disassemble',
  bt: 'backtrace',
  where: 'backtrace',
  h: 'help',
  q: 'quit',
};
