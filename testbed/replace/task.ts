// `current` as compiled code of the fault path sees it: the members of task_struct that the model has, laid out as the
// object's debugging data says, in what testbed/environment.ts maps for each CPU. Left out: all other members, which read
// as 0, and everything of the mm but that it is there.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import { allocate, type Structures } from './structures.ts';

/** Bytes of a CPU's cred, mm and what they lead to. */
const BEHIND = 0x1000;

/** Writes the tasks. @param others that have been laid out before @throws CallError for another layout than theirs */
export function layTasks(
  kernel: Kernel,
  structures: Structures,
  path: string,
  others: readonly Structures[],
): void {
  const layout = structures.optional('task_struct');
  if (layout === null) return;
  const { members } = layout;
  for (const one of others) {
    for (const [name, { offset }] of one.optional('task_struct')?.members ?? []) {
      const own = members.get(name);
      if (own === undefined || own.offset === offset) continue;
      throw new CallError(
        `${path}: its struct task_struct has ${name} at ${own.offset}, that of another object at ${offset}`,
        'compile them for the same kernel',
      );
    }
  }
  kernel.environment.use();
  kernel.tasks.forEach((task, cpu) => {
    const cred = structures.virt(allocate(kernel, BEHIND));
    const mm = task.hasMm ? virtAddr(cred + BigInt(BEHIND / 2)) : 0n;
    for (const at of [cred, virtAddr(cred + BigInt(BEHIND - 1))]) structures.pages.provide(at);
    const values = {
      stack: task.stack,
      pid: task.pid,
      tgid: task.pid,
      mm,
      active_mm: mm,
      cred,
      real_cred: cred,
      pagefault_disabled: task.faulthandlerDisabled ? 1 : 0,
    };
    // The mm maps nothing: its table is the first page of RAM, where zeroes are.
    const pgd = structures.optional('mm_struct')?.members.get('pgd');
    if (pgd && mm !== 0n) put(kernel, mm + BigInt(pgd.offset), 8, kernel.layout.directMap);
    const at = kernel.environment.task(cpu);
    for (const [name, value] of Object.entries(values)) {
      const member = members.get(name);
      if (member) put(kernel, at + BigInt(member.offset), member.size, BigInt(value));
    }
    // Where newer kernels find raw_smp_processor_id().
    const info = members.get('thread_info');
    const number = structures.optional('thread_info')?.members.get('cpu');
    if (info && number) {
      put(kernel, at + BigInt(info.offset + number.offset), number.size, BigInt(cpu));
    }
    const comm = members.get('comm');
    const text = new TextEncoder().encode(task.comm.slice(0, (comm?.size ?? 1) - 1));
    if (comm) kernel.memory.write(virtAddr(at + BigInt(comm.offset)), text);
    for (const name of ['uid', 'euid', 'suid', 'fsuid']) {
      const member = structures.optional('cred')?.members.get(name);
      if (member) put(kernel, cred + BigInt(member.offset), member.size, BigInt(task.uid));
    }
    kernel.memory.writeWord(task.stack, STACK_END_MAGIC);
  });
}

/** What lies at the end of a stack until it overruns (include/uapi/linux/magic.h). */
const STACK_END_MAGIC = 0x57ac_6e9dn;

function put(kernel: Kernel, at: bigint, size: number, value: bigint): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  kernel.memory.write(at as VirtAddr, bytes.subarray(0, Math.min(size, 8)));
}
