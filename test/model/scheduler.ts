import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";

/** Something that may happen next. The scheduler's choice among them is all that differs between two runs. */
export type Happening = { readonly label: string; readonly weight: number; readonly run: () => void };

/** A process that coordinates: nothing of it goes on while it is stalled, and never again once it is dead. */
export type Process = { readonly name: string; state: "running" | "stalled" | "dead" };

type Ready = { readonly process: Process; readonly label: string; readonly run: () => void };
type Timer = Ready & { readonly dueMs: number };
type Message = {
  readonly process: Process;
  readonly label: string;
  /** Its answer is on the way back; or there at once, if the sender can hear. */
  readonly arrive: () => void;
  readonly answer: () => void;
  /** It arrives, and its sender never hears of it. */
  readonly loseAnswer: () => void;
  /** The sender is told that the connection is gone; it may still arrive, or not. */
  readonly giveUp: () => void;
  isLate: "yes" | "no";
};

/**
 * Time, messages and wakings of the simulated world. A message that was sent arrives whatever becomes of its sender; an
 * answer, a due timer and a step of a process wait until they are chosen, so that any order of them can be tried.
 */
export class Scheduler {
  nowMs = 0;
  /** What is left of messages that may be lost, or come late. */
  faultsLeft: number;
  readonly #ready: Ready[] = [];
  readonly #timers: Timer[] = [];
  readonly #messages: Message[] = [];

  constructor(options: { readonly faults: number }) {
    this.faultsLeft = options.faults;
  }

  clockOf(process: Process): Clock {
    return {
      monotonicMs: () => this.nowMs,
      wallMs: () => this.nowMs,
      sleep: (ms, signal) => {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        if (signal?.aborted) return Promise.reject(signal.reason);
        const timer = { process, label: `slept ${Math.round(ms)} ms`, dueMs: this.nowMs + ms, run: resolve };
        this.#timers.push(timer);
        return untilAborted({ promise, resolve, reject }, signal, () => remove(this.#timers, timer));
      },
    };
  }

  /** Runs in the process once it is chosen to. */
  wake(process: Process, label: string, run: () => void): void {
    this.#ready.push({ process, label, run });
  }

  /** Asks a server; MYSQL_UNREACHABLE where no answer comes. What `atServer` throws is an answer too. */
  call<T>(process: Process, label: string, atServer: () => T, signal?: AbortSignal): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    if (signal?.aborted) return Promise.reject(signal.reason);
    const lost = () =>
      this.wake(process, `hears nothing of ${label}`, () => reject(new DrayError("MYSQL_UNREACHABLE", { label })));
    const arrive = (hear: (said: string, run: () => void) => void) => {
      try {
        const value = atServer();
        hear(say(value), () => resolve(value));
      } catch (error) {
        hear(String(error), () => reject(error));
      }
    };
    const message: Message = {
      process,
      label: `${process.name}: ${label}`,
      isLate: "no",
      // Whoever gave up hears nothing: its promise is settled.
      arrive: () => arrive((said, run) => this.wake(process, `hears of ${label}: ${said}`, run)),
      answer: () => arrive((_, run) => run()),
      loseAnswer: () => arrive(lost),
      giveUp: lost,
    };
    this.#messages.push(message);
    return untilAborted({ promise, resolve, reject }, signal, () => {});
  }

  /** Everything of processes and messages that may happen now; the usual first. */
  happenings(): Happening[] {
    const found: Happening[] = [];
    for (const ready of this.#ready) {
      if (ready.process.state !== "running") continue;
      const run = () => {
        remove(this.#ready, ready);
        ready.run();
      };
      found.push({ label: `${ready.process.name} ${ready.label}`, weight: 10, run });
    }
    for (const timer of this.#timers) {
      if (timer.process.state !== "running" || timer.dueMs > this.nowMs) continue;
      const run = () => {
        remove(this.#timers, timer);
        timer.run();
      };
      found.push({ label: `${timer.process.name} ${timer.label}`, weight: 10, run });
    }
    for (const message of this.#messages) if (message.isLate === "no") found.push(...this.#fates(message));
    return found;
  }

  /** What was given up by its sender, and may arrive at any time. */
  lateArrivals(): Happening[] {
    return this.#messages.filter(({ isLate }) => isLate === "yes").flatMap((message) => this.#fates(message));
  }

  /** The process died before it sent what it was about to send. */
  dropMessages(process: Process): void {
    for (const message of this.#messages.filter((each) => each.process === process)) remove(this.#messages, message);
  }

  /** When the next timer of a living process is due; null where there is none. */
  nextDueMs(): number | null {
    const due = this.#timers.filter(({ process }) => process.state === "running").map(({ dueMs }) => dueMs);
    return due.length === 0 ? null : Math.min(...due);
  }

  #fates(message: Message): Happening[] {
    const end = (run: () => void) => () => {
      remove(this.#messages, message);
      run();
    };
    const late = message.isLate === "yes";
    const isAwaited = message.process.state === "running" && !late;
    // What a stalled process was about to send stays with it for long, mostly.
    const fates: Happening[] = [
      { label: `arrives: ${message.label}`, weight: isAwaited ? 2 : 0.2, run: end(message.arrive) },
    ];
    if (isAwaited) {
      fates.unshift({ label: message.label, weight: 8, run: end(message.answer) });
    }
    if (this.faultsLeft <= 0 || message.isLate === "yes") return fates;
    const fault = (run: () => void) => () => {
      this.faultsLeft--;
      run();
    };
    fates.push(
      { label: `lost: ${message.label}`, weight: 0.4, run: fault(end(message.giveUp)) },
      { label: `answer lost: ${message.label}`, weight: 0.4, run: fault(end(message.loseAnswer)) },
      {
        label: `late, and its sender gives up: ${message.label}`,
        weight: 0.8,
        run: fault(() => {
          message.isLate = "yes";
          message.giveUp();
        }),
      },
    );
    return fates;
  }
}

/** The signal's abort rejects it; no listener is left behind, for some signals live as long as a process. */
export function untilAborted<T>(
  waiting: PromiseWithResolvers<T>,
  signal: AbortSignal | undefined,
  onAborted: () => void,
): Promise<T> {
  if (signal === undefined) return waiting.promise;
  const abort = () => {
    onAborted();
    waiting.reject(signal.reason);
  };
  signal.addEventListener("abort", abort);
  return waiting.promise.finally(() => signal.removeEventListener("abort", abort));
}

export function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
}

function say(value: unknown): string {
  return value === undefined ? "done" : (JSON.stringify(value) ?? "done").slice(0, 120);
}
