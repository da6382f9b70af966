import { withBackoff } from "../pipeline/backoff.ts";
import type { Clock } from "../pipeline/clock.ts";
import type { EntryHeader, LogAnchor } from "../pipeline/entry.ts";
import type { Probe } from "../pipeline/probe.ts";
import { waitFor } from "../pipeline/wait.ts";
import type { LaneSink } from "./sink.ts";
import type { WaitReasons } from "./wait-reasons.ts";
import { Wakeup } from "./wakeup.ts";

/** So that a busy lane does not pay for a second transaction after each of its own. */
const ADVANCE_EVERY_MS = 50;

type Slot = { readonly headers: readonly EntryHeader[]; readonly anchor: LogAnchor; done: boolean };
type Waiter = { readonly seq: number; readonly wake: () => void; readonly fail: (error: unknown) => void };

export type WatermarkOptions = {
  readonly sink: LaneSink;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly reasons: WaitReasons;
  /** In seq order, once everything up to and including the entry is applied. */
  readonly onApplied: (header: EntryHeader) => void;
};

/**
 * Up to where everything is applied. Transactions finish in any order; the watermark moves over completed seqs only
 * (A2) and is made durable by a small transaction of its own: at once where someone waits for it, else every 50 ms.
 */
export class Watermark {
  readonly #options: WatermarkOptions;
  readonly #slots: Slot[] = [];
  readonly #waiters = new Set<Waiter>();
  readonly #moved = new Wakeup();
  #applied: LogAnchor | null = null;
  #durable: LogAnchor | null = null;
  #urgent = false;
  #ended: { readonly why: unknown } | null = null;

  constructor(options: WatermarkOptions) {
    this.#options = options;
  }

  /** Where the target says it stands. */
  startAt(anchor: LogAnchor | null): void {
    this.#applied = anchor;
    this.#setDurable(anchor);
  }

  /** Durable in the target. */
  get seq(): number {
    return this.#durable?.seq ?? 0;
  }

  get appliedSeq(): number {
    return this.#applied?.seq ?? 0;
  }

  /** In log order; call the result once the entries are applied. */
  open(headers: readonly EntryHeader[], anchor: LogAnchor): () => void {
    const slot: Slot = { headers, anchor, done: false };
    this.#slots.push(slot);
    return () => {
      slot.done = true;
      this.#settle();
    };
  }

  /** Pushed by event (C10); rejects with the signal's reason. */
  async whenDurable(seq: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.seq >= seq) return;
    if (this.#ended) throw this.#ended.why;
    const reached = Promise.withResolvers<void>();
    const waiter = { seq, wake: reached.resolve, fail: reached.reject };
    this.#waiters.add(waiter);
    this.#moved.notify();
    try {
      await waitFor(reached, signal);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /** Until aborted: rejects with the signal's reason, or with what the target finally said. */
  async run(signal: AbortSignal): Promise<never> {
    for (;;) {
      while (this.appliedSeq === this.seq) await this.#moved.wait(signal);
      await this.#pace(signal);
      await this.flush(signal);
    }
  }

  /** Makes durable what is applied now. */
  async flush(signal: AbortSignal): Promise<void> {
    const anchor = this.#applied;
    if (!anchor || anchor.seq === this.seq) return;
    const { sink, probe, reasons } = this.#options;
    this.#urgent = false;
    await probe("apply.before-watermark", { seq: anchor.seq });
    await withBackoff(() => sink.advance(anchor, signal), { signal, onRetry: reasons.retrying("watermark") });
    reasons.clear("watermark");
    await probe("apply.after-watermark", { seq: anchor.seq });
    this.#setDurable(anchor);
  }

  /** Nobody will move it any more. */
  end(why: unknown): void {
    this.#ended = { why };
    for (const waiter of this.#waiters) waiter.fail(why);
  }

  #setDurable(anchor: LogAnchor | null): void {
    this.#durable = anchor;
    for (const waiter of this.#waiters) if (waiter.seq <= this.seq) waiter.wake();
  }

  #settle(): void {
    let moved = 0;
    while (this.#slots[moved]?.done) {
      const slot = this.#slots[moved++] as Slot;
      this.#applied = slot.anchor;
      for (const header of slot.headers) {
        const { detail } = header;
        // A cutover or the gate waits for these; chunk windows and heartbeats are not worth a transaction each.
        if (detail.kind === "mark" && (detail.mark.kind === "sentinel" || detail.mark.kind === "count")) {
          this.#urgent = true;
        }
        this.#options.onApplied(header);
      }
    }
    if (moved === 0) return;
    this.#slots.splice(0, moved);
    this.#moved.notify();
  }

  #hurried(): boolean {
    if (this.#urgent) return true;
    for (const waiter of this.#waiters) if (waiter.seq <= this.appliedSeq) return true;
    return false;
  }

  /** Until the next advance is due, or somebody waits for what is applied already. */
  async #pace(signal: AbortSignal): Promise<void> {
    if (this.#hurried()) return;
    const early = new AbortController();
    const either = AbortSignal.any([signal, early.signal]);
    const due = this.#options.clock.sleep(ADVANCE_EVERY_MS, either).then(() => "due" as const);
    try {
      while (!this.#hurried()) {
        const moved = this.#moved.wait(either).then(() => "moved" as const);
        if ((await Promise.race([due, moved])) === "due") return;
      }
    } finally {
      early.abort();
      await due.catch(() => {});
    }
  }
}
