// The order in which straight code enters the scoreboard. A core renames in program order, and where more operations
// get ready together than there are ports the older go first; which of independent instructions is the older one is a
// whim of whoever wrote them, and measured blocks do not tell the two apart. So a stretch is taken level by level of
// what depends on what, on each level the head of the longest chain first: neighbours that do not depend on each
// other give the same cycles either way round. What a core takes alone, and each branch, ends a stretch.
import type { CostedInstruction } from './instruction.ts';

/** True if the instruction keeps its place: nothing passes it. */
export function keepsItsPlace({ flow, microcoded, repeat, locked }: CostedInstruction): boolean {
  return flow !== 'next' || microcoded || repeat !== null || locked !== null;
}

interface Node {
  readonly at: number;
  readonly insn: CostedInstruction;
  readonly reads: ReadonlySet<number>;
  readonly writes: ReadonlySet<number>;
  readonly loads: boolean;
  readonly stores: boolean;
  readonly before: Node[];
  /** Instructions that must come before it, one behind the other. */
  level: number;
  /** Cycles from its start to the end of the longest chain that it heads. */
  height: number;
}

/**
 * @param stretch instructions none of which {@link keepsItsPlace}
 * @param outer values below it outlive an instruction
 * @returns their indices, in the order to issue them in
 */
export function issueOrder(stretch: readonly CostedInstruction[], outer: number): number[] {
  const nodes = stretch.map((insn, at) => nodeOf(insn, at, outer));
  const places = new Map<number, Place>();
  for (const node of nodes) {
    for (const value of node.reads) follow(node, placeOf(places, value), false);
    for (const value of node.writes) follow(node, placeOf(places, value), true);
    if (node.loads || node.stores) follow(node, placeOf(places, MEMORY), node.stores);
    for (const other of node.before) node.level = Math.max(node.level, other.level + 1);
  }
  for (const { before, height } of [...nodes].reverse()) {
    // Those behind it have been added to its height already.
    for (const other of before) other.height = Math.max(other.height, latency(other.insn) + height);
  }
  return nodes.sort(compare).map(({ at }) => at);
}

/** A register, or all memory: who wrote it last, and who has read it since. */
interface Place {
  writer: Node | null;
  readers: Node[];
}

/** No value's number. */
const MEMORY = -1;

function placeOf(places: Map<number, Place>, key: number): Place {
  let place = places.get(key);
  if (place === undefined) {
    place = { writer: null, readers: [] };
    places.set(key, place);
  }
  return place;
}

/** What was written is read, or what was touched is written. */
function follow(node: Node, place: Place, writes: boolean): void {
  const before = writes ? [place.writer, ...place.readers] : [place.writer];
  for (const other of before) if (other !== null && other !== node) node.before.push(other);
  if (writes) {
    place.writer = node;
    place.readers = [];
  } else place.readers.push(node);
}

function nodeOf(insn: CostedInstruction, at: number, outer: number): Node {
  const values = (of: 'reads' | 'writes') =>
    new Set(insn.uops.flatMap((uop) => uop[of]).filter((value) => value < outer));
  return {
    ...{ at, insn, reads: values('reads'), writes: values('writes'), before: [], level: 0 },
    loads: insn.uops.some(({ load }) => load >= 0),
    stores: insn.uops.some(({ store }) => store >= 0),
    height: latency(insn),
  };
}

const latency = ({ uops }: CostedInstruction) => uops.reduce((sum, uop) => sum + uop.latency, 0);

function compare(a: Node, b: Node): number {
  if (a.level !== b.level) return a.level - b.level;
  if (a.height !== b.height) return b.height - a.height;
  const [form, other] = [a.insn.form, b.insn.form];
  if (form !== other) return form < other ? -1 : 1;
  return a.at - b.at;
}
