// One child process that runs worlds (worker.ts): started, asked, watched with a clock, and ended.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Place } from '../testbed/careful.ts';
import { type Answer, NOTE_SIZE, readPlace, type Task } from './worker-protocol.ts';

/** How one attempt at a task ended. All but an answer end the process too. */
export type Attempt =
  | { readonly kind: 'answer'; readonly answer: Answer }
  /** The process died by itself: of a signal, or with an exit code. */
  | { readonly kind: 'death'; readonly how: string; readonly place: Place | null }
  /** The core stood still. */
  | { readonly kind: 'hang'; readonly place: Place | null }
  /** Time was over. */
  | { readonly kind: 'late'; readonly place: Place | null };

/** Milliseconds. */
export interface Patience {
  /** For one attempt. */
  readonly whole: number;
  /** Without a new note while the core runs, where notes are taken. */
  readonly still: number;
}

const NOTES_FD = 4;
const LOOK_EVERY = 200;
/** What a dying process says is kept for a fault of ours, and never shown otherwise. */
const WORDS_KEPT = 4000;

export class WorkerProcess {
  private readonly child: ChildProcess;
  /** The process takes notes in a file, which outlives it. */
  private readonly notes = anonymousFile();
  private words = '';
  private ended: string | null = null;
  private onEnd: (how: string) => void = () => {};
  private onAnswer: (answer: Answer) => void = () => {};
  /** `ready`, or what is wrong; null if the process ended before. */
  private readonly greeting: Promise<Answer | null>;

  constructor(program = workerPath()) {
    this.child = spawn(process.execPath, [...nodeFlags(program), program], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', this.notes],
      serialization: 'advanced',
    });
    this.child.stderr?.on('data', (data) => {
      this.words = (this.words + data).slice(-WORDS_KEPT);
    });
    this.greeting = new Promise((resolve) => {
      this.child.once('message', (answer: Answer) => {
        resolve(answer);
        this.child.on('message', (next: Answer) => this.onAnswer(next));
      });
      const end = (how: string) => {
        this.ended ??= how;
        resolve(null);
        this.onEnd(how);
      };
      this.child.on('error', (error) => end(error.message));
      this.child.on('exit', (code, signal) => end(signal ?? `exit code ${code}`));
    });
    this.hold(false);
  }

  /** Fit for another task. */
  get alive(): boolean {
    return this.ended === null;
  }

  /** What the process wrote to its standard error last. */
  get lastWords(): string {
    return this.words;
  }

  /** Runs one task; only one at a time. */
  async attempt(task: Omit<Task, 'notesFd'>, patience: Patience): Promise<Attempt> {
    // What an earlier task left says nothing of this one.
    writeSync(this.notes, Buffer.alloc(NOTE_SIZE), 0, NOTE_SIZE, 0);
    this.hold(true);
    let clock: NodeJS.Timeout | undefined;
    try {
      const greeting = await this.greeting;
      if (greeting !== null && greeting.kind !== 'ready') {
        return { kind: 'answer', answer: greeting };
      }
      const attempt = await new Promise<Attempt>((resolve) => {
        this.onAnswer = (answer) => resolve({ kind: 'answer', answer });
        this.onEnd = (how) => resolve({ kind: 'death', how, place: this.place() });
        if (this.ended !== null) this.onEnd(this.ended);
        clock = setInterval(this.watch(patience, resolve), LOOK_EVERY);
        this.child.send({ ...task, notesFd: NOTES_FD } satisfies Task, () => {});
      });
      if (attempt.kind !== 'answer') this.close();
      return attempt;
    } finally {
      clearInterval(clock);
      this.onAnswer = () => {};
      this.onEnd = () => {};
      this.hold(false);
    }
  }

  close(): void {
    if (this.ended === null) {
      this.ended = 'closed';
      this.child.kill('SIGKILL');
    }
    if (!this.closed) closeSync(this.notes);
    this.closed = true;
  }

  private closed = false;

  private watch({ whole, still }: Patience, resolve: (attempt: Attempt) => void): () => void {
    const began = performance.now();
    let changed = began;
    let last = this.readNotes();
    return () => {
      const now = performance.now();
      const notes = this.readNotes();
      if (!notes.equals(last)) changed = now;
      last = notes;
      const place = readPlace(notes);
      if (place?.inCore && now - changed > still) resolve({ kind: 'hang', place });
      else if (now - began > whole) resolve({ kind: 'late', place });
    };
  }

  /** An idle process does not keep ours alive. */
  private hold(busy: boolean): void {
    const { child } = this;
    const stderr = child.stderr as unknown as { ref(): void; unref(): void } | null;
    for (const end of [child, child.channel, stderr]) {
      if (busy) end?.ref();
      else end?.unref();
    }
  }

  private readNotes(): Buffer {
    const notes = Buffer.alloc(NOTE_SIZE);
    readSync(this.notes, notes, 0, NOTE_SIZE, 0);
    return notes;
  }

  private place(): Place | null {
    return readPlace(this.readNotes());
  }
}

/** A file that nobody else can open, and that is gone when it is closed. */
function anonymousFile(): number {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-'));
  try {
    return openSync(join(folder, 'notes'), 'w+');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** In the bundle the worker lies beside us, as it does in a source checkout. */
const workerPath = (): string =>
  fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? 'worker.ts' : 'worker.js', import.meta.url),
  );

function nodeFlags(program: string): string[] {
  // As bin/faultline.js: WebAssembly that runs for milliseconds.
  const flags = ['--wasm-tiering-budget=180000000'];
  if (!program.endsWith('.ts')) return flags;
  const tsx = createRequire(import.meta.url).resolve('tsx');
  return [...flags, '--import', pathToFileURL(tsx).href];
}
