// What the scoreboard needs to know of an instruction. An architecture decodes machine code into these; the scoreboard
// knows no instruction set. Registers, flags and an instruction's inner temporaries are small integers, called values.

/** One operation that a port executes. */
export interface Uop {
  /**
   * Ports it may go to, one bit each. 0: nothing executes, the renamer does it. With one value read, the written ones
   * become other names of it (an eliminated move); with none they are ready at once (a zero idiom).
   */
  readonly ports: number;
  /** Cycles from start to result. */
  readonly latency: number;
  /** Ticks for which it keeps {@link unit} to itself, or without one its port; 0: the port for a cycle. */
  readonly busy: number;
  /** Number of the unpipelined unit (a divider), 0 or 1, or -1. */
  readonly unit: number;
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Which of the instruction's accesses it loads, or stores the data of, or -1. */
  readonly load: number;
  readonly store: number;
}

/** One access to memory. The address is base + index * scale + disp. */
export interface Access {
  /** Value numbers of the registers, or -1. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: number;
  /** The address counts from the instruction's end (x86 rip). */
  readonly relative: boolean;
  /** Bytes. */
  readonly width: number;
  /**
   * Ticks from the data of a store that holds all its bytes to a load's result: in code that is run once, and where a
   * core that renames memory has learnt which store feeds which load.
   */
  readonly forwarding: number;
  readonly loopForwarding: number;
}

/** How an instruction moves the addresses of later accesses, as far as it can be told without running the code. */
export type AddressEffect =
  | { readonly kind: 'copy'; readonly to: number; readonly from: number; readonly add: number }
  | {
      /** The same operation on the same values gives the same result. */
      readonly kind: 'function';
      readonly to: number;
      readonly name: string;
      readonly of: readonly number[];
    }
  | { readonly kind: 'constant'; readonly to: number; readonly value: number }
  | { readonly kind: 'unknown'; readonly to: number };

/** A string instruction with a repeat prefix. */
export interface Repeat {
  /** Value that holds the count. */
  readonly counter: number;
  /** Slots of the renamer for so many elements. @param loop the code comes from the micro-op cache */
  slots(count: number, loop: boolean): number;
}

/** What an instruction does to the flow of control. */
export type Flow = 'next' | 'jump' | 'branch' | 'call' | 'return';

/** Cycles of a locked operation: from the last one's end, and from its operands or the last store before it. */
export interface Locked {
  readonly apart: number;
  readonly alone: number;
}

/** One instruction as the scoreboard sees it. */
export interface CostedInstruction {
  /** The form under which its costs were found, for people. */
  readonly form: string;
  /** Bytes of machine code. */
  readonly length: number;
  /** Places it takes of the renamer's width. */
  readonly slots: number;
  /** Slots come from the microcode store: its results count from the last of them. */
  readonly microcoded: boolean;
  /** Its length is not known until its prefix was seen (x86 length-changing prefix). */
  readonly slowLength: boolean;
  /** Only the first of the legacy decoders can make it. */
  readonly complex: boolean;
  readonly uops: readonly Uop[];
  readonly accesses: readonly Access[];
  readonly effects: readonly AddressEffect[];
  readonly flow: Flow;
  /** It can become one operation with a conditional branch right after it. */
  readonly fusible: boolean;
  /** Slots by count, with a repeat prefix. */
  readonly repeat: Repeat | null;
  readonly locked: Locked | null;
}
