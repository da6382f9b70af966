import { hash } from "node:crypto";
import type { EntryHeader, LaneId, Position } from "../entry.ts";

export type EpochOptions = {
  readonly lane: LaneId;
  readonly epoch: number;
  /** Random; tells this opening from any other of the same epoch (L7). */
  readonly nonce: string;
  readonly wallMs: number;
};

const NO_BODY = {
  sha256: hash("sha256", new Uint8Array(0)),
  storedBytes: 0,
  plainBytes: 0,
  encoding: "plain",
  chunkKey: null,
} as const;

/** The entry with which a writer takes the lane (L2). It takes no seq and says nothing of the source. */
export function epochHeader({ lane, epoch, nonce, wallMs }: EpochOptions): EntryHeader {
  return {
    lane,
    seq: 0,
    epoch,
    nonce,
    position: "" as Position,
    committedAtMs: wallMs,
    coverage: { tables: [] },
    detail: { kind: "epoch" },
    body: NO_BODY,
  };
}
