// Areas, flushes and pages of maps in compiled code: mistakes show, and code that misbehaves ends the step with a reason.
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import { finish } from '../../mm/context.ts';
import { flushTlbKernelRange, flushTlbOneKernel } from '../../mm/tlb-control.ts';
import type { WorldRun } from '../run.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { compiler } from './test-compile.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const host = await loadTestHost();
const compile = compiler();

/** Pages allocated, freed and found by user space; a flush that must reach the entry of each page. */
const STEPS = `arena: {alloc: [[0, 3]]}
steps:
  - user: {page: 1, access: write, value: 7}
    expect: {result: ok}
  - call:
      code: {x86_64: "mov rax, [rdi]\\nmov rcx, [rsi]\\nret", arm64: "ldr x0, [x0]\\nldr x1, [x1]\\nret"}
      args: [{arena: 0x1000}, {arena: 0x2000}]
    expect: {ret: 7, faults: []}
  - free: {page: 1, count: 2}
    expect: {freed: 2}
  - call:
      code: {x86_64: "mov [rdi], rdi\\nret", arm64: "str x0, [x0]\\nret"}
      args: [{arena: 0x2000}]
    expect: {outcome: returned, faults: [{page: 2, resolution: scratch}]}
  - alloc: {page: 4, count: 40}
  - free: {page: 4, count: 40}
  - user: {page: 1, access: read}
    expect: {result: ok, value: 0}
  - destroy: {}
    expect: {leaked: 0}
`;

const run = (
  arch: ArchName,
  replace: Record<string, string>,
  text = STEPS,
  look?: (run: WorldRun) => void,
): TestRun =>
  runYaml(
    host,
    `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${text}`,
    arch,
    look,
  );

const NAMES = [
  ...['vmalloc_to_page', 'is_vmalloc_addr', 'get_vm_area', 'free_vm_area'],
  ...['flush_tlb_kernel_range', 'bpf_map_alloc_pages'],
];

describe.each(ARCHS)('areas, flushes and pages of maps in compiled code (%s)', (arch) => {
  it.each(['O0', 'O2'])('are the model’s, -%s', (level) => {
    const object = `replace/vmalloc-${arch}-${level}.o`;
    expect(run(arch, {}).failures).toEqual([]);
    for (const name of NAMES) {
      const { events, failures } = run(arch, { [name]: object });
      expect([name, failures]).toEqual([name, []]);
      const ran = events.flat().some((one) => one.type === 'decision' && one.fn === name);
      // Areas are got before the first step, and arm64's fault path does not ask where an address lies.
      const unseen = arch === 'arm64' ? ['get_vm_area', 'is_vmalloc_addr'] : ['get_vm_area'];
      expect([name, ran]).toEqual([name, !unseen.includes(name)]);
    }
  });

  it('answer as the model does where no step asks', () => {
    const answers = (replace: Record<string, string>) => {
      const seen: unknown[] = [];
      run(arch, replace, STEPS, ({ kernel }) => {
        const { vmalloc, layout, context, bpf, cpus } = kernel;
        for (const at of [layout.vmallocStart, layout.directMap, layout.vmallocStart - 1n, 0n]) {
          seen.push(vmalloc.isVmallocAddr(virtAddr(at)));
        }
        const area = vmalloc.getVmArea(0x3000, 0)!;
        seen.push(area, vmalloc.getVmArea(0, 0), vmalloc.getVmArea(0x1000, 0x40));
        finish(vmalloc.freeVmArea(area));
        seen.push(vmalloc.getVmArea(0x2000, 0), context.cpu);
        const far = virtAddr(layout.vmallocStart + 0x1_0000_0000n);
        flushTlbKernelRange(context, bpf.tlb, area.addr, virtAddr(area.addr + 0x2000n));
        flushTlbKernelRange(context, bpf.tlb, area.addr, far);
        if (arch === 'x86_64') flushTlbOneKernel(context, bpf.tlb, area.addr);
        seen.push(cpus.map(({ cpu }) => cpu.readRegister(kernel.arch.description.stackPointer)));
      });
      return seen;
    };
    const names = [...NAMES, ...(arch === 'x86_64' ? ['flush_tlb_one_kernel'] : [])];
    const object = `replace/vmalloc-${arch}-O2.o`;
    expect(answers(Object.fromEntries(names.map((name) => [name, object])))).toEqual(answers({}));
  });
});

for (const arch of ARCHS) {
  describeWith(GCC[arch], `areas, flushes and pages that are wrong (${arch})`, () => {
    const broken = (mistake: number, name: string, text = STEPS) => {
      try {
        const object = compile(arch, 'vmalloc.c', '-O2', `-DBROKEN=${mistake}`);
        const { failures, steps } = run(arch, { [name]: object }, text);
        const stuck = steps.flatMap(({ seen }) => (seen.kind === 'stuck' ? [seen.why] : []));
        return [...failures, ...stuck].join('\n');
      } catch (error) {
        return (error as Error).message;
      }
    };

    it.each([
      [2, 'free_vm_area', /free_vm_area .*(?:leaves the area|no memory of its own)|frees 0x/],
      [3, 'vmalloc_to_page', /./],
      [5, 'flush_tlb_kernel_range', /faults|scratch/],
    ])('mistake %i shows: %s', (mistake, name, why) => {
      expect(broken(mistake, name)).toMatch(why);
    });

    it('mistake 1 shows: get_vm_area', () => {
      const sizeOf = (replace: Record<string, string>) => {
        let size = 0;
        run(arch, replace, 'steps: [{alloc: {page: 0, count: 1}}]', ({ kernel }) => {
          size = kernel.arenas.get('arena')!.kernVm.size;
        });
        return size;
      };
      const object = compile(arch, 'vmalloc.c', '-O2', '-DBROKEN=1');
      expect(sizeOf({ get_vm_area: object })).toBe(sizeOf({}) - 0x1000);
    });

    it('mistake 4 shows: bpf_map_alloc_pages', () => {
      const text = `inject: [{at: alloc_page, nth: 3}]
steps:
  - alloc: {page: 0, count: 4}
    expect: {failed: true}
  - destroy: {}
    expect: {leaked: 0}`;
      const withModel = run(arch, {}, text.replace('{failed: true}', '{}')).steps[1].seen;
      expect(withModel).toMatchObject({ kind: 'destroy', leaked: 0 });
      expect(broken(4, 'bpf_map_alloc_pages', text.replace('{failed: true}', '{}'))).toMatch(
        /leaked/,
      );
    });
  });
}
