import type { Clock } from "../pipeline/clock.ts";
import type { LaneState } from "./lane/lane-runtime.ts";

export type Speed = {
  /** Applied in the target, rows of chunks and changes together. */
  readonly rowsPerSecond: number;
  readonly bytesPerSecond: number;
  /** Until the last chunk, from the pace of the last seconds; null where that says nothing. */
  readonly etaSeconds: number | null;
};

type Sample = { readonly atMs: number; readonly rows: number; readonly bytes: number; readonly copied: number };

const WINDOW_MS = 15_000;

/** Pace of each lane over the last seconds, from the applier's counters; asked by status, kept by nobody else. */
export class Pace {
  readonly #clock: Clock;
  readonly #samples = new Map<string, Sample[]>();

  constructor(options: { readonly clock: Clock }) {
    this.#clock = options.clock;
  }

  /** Called in a rhythm, so that two questions in one moment still see a window. */
  sample(lane: string, state: LaneState): void {
    const samples = this.#samples.get(lane) ?? [];
    samples.push(this.#now(state));
    while (samples[1] && this.#clock.monotonicMs() - samples[1].atMs > WINDOW_MS) samples.shift();
    this.#samples.set(lane, samples);
  }

  /** `expectedRows`: what the lane will have copied in the end, as far as the source can guess. */
  of(lane: string, state: LaneState, expectedRows: number): Speed {
    const first = this.#samples.get(lane)?.[0];
    const now = this.#now(state);
    const seconds = first ? (now.atMs - first.atMs) / 1000 : 0;
    if (!first || seconds <= 0) return { rowsPerSecond: 0, bytesPerSecond: 0, etaSeconds: null };
    const copiedPerSecond = (now.copied - first.copied) / seconds;
    const left = Math.max(0, expectedRows - now.copied);
    return {
      rowsPerSecond: Math.max(0, (now.rows - first.rows) / seconds),
      bytesPerSecond: Math.max(0, (now.bytes - first.bytes) / seconds),
      etaSeconds: copiedPerSecond > 0 && left > 0 ? left / copiedPerSecond : null,
    };
  }

  #now(state: LaneState): Sample {
    const applied = state.apply?.applied;
    const copied = (state.coverage?.tables ?? []).reduce((sum, table) => sum + table.rows, 0);
    return {
      atMs: this.#clock.monotonicMs(),
      rows: applied ? applied.chunkRows + applied.insert + applied.update + applied.delete : 0,
      bytes: applied?.bytes ?? 0,
      copied,
    };
  }
}
