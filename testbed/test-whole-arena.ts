// Run by whole-arena.test.ts in a process of its own: stores to every page of a 4 GiB arena that has none allocated, with
// the event stream off. Prints what came of it, and the most memory the process ever had.

import { WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

const SCENARIO = `
arch: [x86_64, arm64]
code:
  x86_64: |
    mov ecx, 1048576
    1: mov [rdi], rcx
    add rdi, 0x1000
    dec ecx
    jnz 1b
    ret
  arm64: |
    mov x2, #0x100000
    1: str x2, [x0]
    add x0, x0, #0x1000
    subs x2, x2, #1
    b.ne 1b
    ret
args: [{arena: 0}]
`;

const arch = process.argv[2] as ArchName;
const { worlds } = parseScenario(SCENARIO, 'whole-arena.yaml', () => new Uint8Array());
const run = new WorldRun(await loadTestHost(), worlds[arch]!);
const [{ seen }] = run.steps.map((step) => run.runStep(step));
if (seen.kind !== 'call') throw new Error('not a call');
const { outcome, instructions, faults, stderrBytes } = seen;
const last = faults.at(faults.length - 1);
const page = Number((last.addr - run.places[0].kbase) >> 12n);
const megabytes = process.resourceUsage().maxRSS / 1024;
const { log } = run.kernel.context;
const result = { outcome, instructions, faults: faults.length, page, stderrBytes, megabytes };
process.stdout.write(JSON.stringify({ ...result, resolution: last.resolution, log: log.length }));
