import type { Position } from "../../pipeline/entry.ts";
import type { FeedState, LaneFeed, SourceEvent } from "../../pipeline/source.ts";

/** What may wait for one lane: 32 slices. */
const LIMIT_BYTES = 16 * 1024 * 1024;
/** What an event weighs beside its rows. */
const EVENT_BYTES = 256;

/**
 * A lane's bounded buffer between its reader and whoever takes. The reader never waits inside `push`: it asks `isFull`
 * afterwards, so that a slice in hand is never lost. Bytes count until the batch they were given out in is done with.
 */
export class FeedBuffer implements LaneFeed {
  readonly #onFull: () => void;
  readonly #onDrained: () => void;
  readonly #onClose: () => Promise<void>;
  #waiting: SourceEvent[] = [];
  #waitingBytes = 0;
  #givenBytes = 0;
  #failure: Error | null = null;
  #wake: (() => void) | null = null;
  #full = false;
  #state: FeedState["state"] = "connecting";
  #reason: string | null = null;
  #position: Position;
  #connects = 0;
  #isTaking = false;
  #heartbeatReason: string | null = null;

  constructor(options: {
    readonly position: Position;
    readonly onFull: () => void;
    /** The buffer was full and has fallen below half. */
    readonly onDrained: () => void;
    readonly onClose: () => Promise<void>;
  }) {
    this.#position = options.position;
    this.#onFull = options.onFull;
    this.#onDrained = options.onDrained;
    this.#onClose = options.onClose;
  }

  get isFull(): boolean {
    return this.#full;
  }

  /** Somebody waits for the next event at this moment. */
  get isTaking(): boolean {
    return this.#isTaking;
  }

  get failure(): Error | null {
    return this.#failure;
  }

  push(event: SourceEvent): void {
    if (this.#failure) return;
    this.#waiting.push(event);
    this.#waitingBytes += EVENT_BYTES + (event.type === "changes" ? event.bytes : 0);
    if (!this.#full && this.#waitingBytes + this.#givenBytes >= LIMIT_BYTES) {
      this.#full = true;
      this.#onFull();
    }
    this.#position = event.position;
    this.#wake?.();
  }

  /** What was pushed before is still given out; then `next` throws. The first failure stands. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#state = "stopped";
    this.#reason = error.message;
    this.#wake?.();
  }

  connected(state: "shared" | "detached"): void {
    if (this.#failure) return;
    this.#state = state;
    this.#reason = null;
    this.#connects++;
  }

  /** The lane goes on with another reader that has read exactly as far: nothing was missed or read again. */
  moved(state: "shared" | "detached"): void {
    if (!this.#failure) this.#state = state;
  }

  waits(reason: string): void {
    if (this.#failure) return;
    this.#state = "connecting";
    this.#reason = reason;
  }

  noHeartbeats(reason: string | null): void {
    this.#heartbeatReason = reason === null ? null : `no heartbeat can be written: ${reason}`;
  }

  async next(signal: AbortSignal): Promise<readonly SourceEvent[]> {
    this.#givenBytes = 0;
    this.#drained();
    while (this.#waiting.length === 0) {
      signal.throwIfAborted();
      if (this.#failure) throw this.#failure;
      this.#isTaking = true;
      try {
        await this.#pushed(signal);
      } finally {
        this.#isTaking = false;
      }
    }
    const events = this.#waiting;
    this.#waiting = [];
    this.#givenBytes = this.#waitingBytes;
    this.#waitingBytes = 0;
    return events;
  }

  state(): FeedState {
    const reason = this.#reason ?? this.#heartbeatReason;
    return { state: this.#state, connects: this.#connects, position: this.#position, reason };
  }

  async close(): Promise<void> {
    this.fail(new Error("the feed is closed"));
    this.#waiting = [];
    await this.#onClose();
  }

  #drained(): void {
    if (!this.#full || this.#waitingBytes + this.#givenBytes > LIMIT_BYTES / 2) return;
    this.#full = false;
    this.#onDrained();
  }

  #pushed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.#wake = null;
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = () => {
        settle();
        reject(signal.reason);
      };
      this.#wake = () => {
        settle();
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
