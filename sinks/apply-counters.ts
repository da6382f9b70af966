import type { ChangeOp } from "../pipeline/entry.ts";
import type { ReadyEntry } from "./entry-feed.ts";

export type AppliedCounts = Readonly<Record<ChangeOp | "chunkRows" | "bytes", number>>;

/** Rows and plain bytes applied since this applier started, for status and metrics. */
export class ApplyCounters {
  readonly #counts = { insert: 0, update: 0, delete: 0, chunkRows: 0, bytes: 0 };

  add(entries: readonly ReadyEntry[]): void {
    for (const { changes, header, bytes } of entries) {
      for (const change of changes) this.#counts[change.op]++;
      if (header.detail.kind === "chunk") this.#counts.chunkRows += header.detail.rows;
      this.#counts.bytes += bytes;
    }
  }

  counts(): AppliedCounts {
    return { ...this.#counts };
  }
}
