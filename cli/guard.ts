// Runs worlds in a child process, so that an engine that aborts or hangs takes nothing else down. The child is warm and
// runs plainly: at full speed, and without a trace of where it is. When it dies, the same world is run again in a new
// one that notes its place before each stretch of code, and once more before each instruction of the stretch in which
// it died: that is where, exactly. Then the encoding found there is refused and the world run again, so that its result
// is what it would be had the engine known: outcome `engine`, with everything that happened before and after.
import type { Condemned } from '../emulator/condemn.ts';
import type { Place } from '../testbed/careful.ts';
import type { ArchName } from '../testbed/scenario.ts';
import { CliError } from './errors.ts';
import { type Attempt, type Patience, WorkerProcess } from './worker-process.ts';
import type { Answer, Job, Ran, Task } from './worker-protocol.ts';

/** Encodings of one world that may take the engine down before it is given up. */
const MOST_CONDEMNED = 8;
/** Seconds in which the core does something, be it one instruction; or a part of what it has in all. */
const STILL = 10;
const STILL_PART = 4;

/** How a world ended. */
export type Verdict =
  | {
      readonly kind: 'ran';
      readonly ran: Ran;
      /** What had to be kept from the engine. */
      readonly condemned: readonly Condemned[];
    }
  /** Bad input that shows only when it is run. */
  | { readonly kind: 'refused'; readonly message: string; readonly remedy: string }
  /** It still ran when its time was over. `place` is where, if that is known. */
  | { readonly kind: 'late'; readonly place: Place | null }
  /** The engine died there, though the encoding was kept from it. */
  | { readonly kind: 'died'; readonly place: Place };

export class Guard {
  private readonly patience: Patience;
  private readonly program: string | undefined;
  private worker: WorkerProcess | null = null;

  /**
   * @param seconds on the clock that one world may run: for the code that has no limit of its own
   * @param program of the worker; its own
   */
  constructor(seconds: number, program?: string) {
    const still = Math.min(STILL, seconds / STILL_PART);
    this.patience = { whole: seconds * 1000, still: still * 1000 };
    this.program = program;
  }

  /** Starts the process, which takes a while, ahead of the first world. */
  warmUp(): void {
    if (!this.worker?.alive) this.worker = new WorkerProcess(this.program);
  }

  /**
   * The name of a file's scenario, and which worlds it has.
   * @throws CliError for a file that cannot be used and if no engine is to be had, Error for a fault of ours
   */
  async read(job: Job): Promise<{ readonly name: string; readonly archs: readonly ArchName[] }> {
    const attempt = await this.attempt({ ...job, arch: null, condemned: [], notesFrom: null });
    const answer = attempt.kind === 'answer' ? attempt.answer : null;
    if (answer?.kind === 'read') return answer;
    if (answer === null) throw new Error(`the worker ended reading ${job.file}\n${this.lastWords}`);
    const verdict = verdictOf(answer, []);
    if (verdict.kind === 'refused') throw new CliError(verdict.message, verdict.remedy);
    throw new Error('the worker answered another question');
  }

  /**
   * Runs one of its worlds.
   * @throws CliError if no engine is to be had, Error for a fault of ours
   */
  async run(job: Job, arch: ArchName): Promise<Verdict> {
    const condemned: Condemned[] = [];
    for (;;) {
      const task = { ...job, arch, condemned };
      const plain = await this.attempt({ ...task, notesFrom: null });
      if (plain.kind === 'answer') return verdictOf(plain.answer, condemned);
      const found = await this.findCulprit(task);
      if (!('bytes' in found)) return found;
      const { place, bytes, why } = found;
      const known = condemned.some((old) => Buffer.compare(old.bytes, bytes) === 0);
      if (known || condemned.length === MOST_CONDEMNED) return { kind: 'died', place };
      condemned.push({ arch, bytes, why });
    }
  }

  close(): void {
    this.worker?.close();
    this.worker = null;
  }

  /** Where a world that just took its process down does so; or how it ends when it is run with care. */
  private async findCulprit(
    task: Omit<Task, 'notesFrom' | 'notesFd'>,
  ): Promise<Verdict | (Omit<Condemned, 'arch'> & { readonly place: Place })> {
    const rough = await this.attempt({ ...task, notesFrom: Number.POSITIVE_INFINITY });
    if (rough.kind === 'answer') return verdictOf(rough.answer, task.condemned);
    if (rough.kind === 'late') return rough;
    const from = this.placeOf(rough).retired;
    const exact = await this.attempt({ ...task, notesFrom: from });
    if (exact.kind === 'answer') return verdictOf(exact.answer, task.condemned);
    if (exact.kind === 'late') return exact;
    const place = this.placeOf(exact);
    const did = exact.kind === 'hang' ? 'hangs' : 'aborts';
    return { place, bytes: place.code, why: `the engine ${did} at this instruction` };
  }

  /** @throws Error if the process died outside the core: that is no instruction's doing */
  private placeOf(attempt: Exclude<Attempt, { kind: 'answer' }>): Place {
    if (attempt.place?.inCore) return attempt.place;
    const how = attempt.kind === 'death' ? attempt.how : attempt.kind;
    throw new Error(`the worker ended outside the engine (${how})\n${this.lastWords}`);
  }

  private lastWords = '';

  private async attempt(task: Omit<Task, 'notesFd'>): Promise<Attempt> {
    this.warmUp();
    const worker = this.worker!;
    const attempt = await worker.attempt(task, this.patience);
    this.lastWords = worker.lastWords;
    return attempt;
  }
}

function verdictOf(answer: Answer, condemned: readonly Condemned[]): Verdict {
  switch (answer.kind) {
    case 'ran':
      return { ...answer, condemned };
    case 'refused':
      return answer;
    case 'unusable':
      throw new CliError(answer.message, answer.remedy);
    default:
      throw new Error(`in the worker: ${answer.kind === 'fault' ? answer.stack : answer.kind}`);
  }
}
