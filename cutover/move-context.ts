import type { Logger } from "pino";
import type { ChunkStore } from "../pipeline/chunk-store/chunk-store.ts";
import type { Clock } from "../pipeline/clock.ts";
import type { ChangeLog } from "../pipeline/log/log.ts";
import type { ManifestStore } from "../pipeline/manifest.ts";
import type { Probe } from "../pipeline/probe.ts";
import type { ChunkBudget } from "../pipeline/source.ts";
import type { Throttle } from "../pipeline/throttle.ts";
import type { Alarms } from "./alarms.ts";
import type { ControlStore } from "./control-store.ts";
import type { Direction } from "./direction.ts";
import type { Fencing } from "./fencing.ts";
import type { Journal } from "./journal.ts";
import type { VerifyMemory } from "./lane/verify-memory.ts";
import type { StorePair } from "./store-kind.ts";

/** Numbers of the server that hold for every move. */
export type MoveSettings = {
  readonly heartbeatMs: number;
  readonly parallelRanges: number;
  readonly chunkBudget: ChunkBudget;
  readonly keepAppliedMs: number;
  readonly verifySharePercent: number;
  readonly routePatienceMs: number;
  /** Between two looks, behind the commit, at which server answers as the target (C6). */
  readonly targetWatchMs: number;
  /** How long the repair of one table may hold its move. */
  readonly repairPatienceMs: number;
};

/** One store of the manifest in one direction: its definition, with the schemas' names swapped on the way back. */
export type MoveStore = { readonly definition: ManifestStore; readonly pair: StorePair };

/** What a move is made of, handed in by the composition root. */
export type MoveContext = {
  readonly journal: Journal;
  /** In the manifest's order; the first is the home store (C1). The way back is the same with the roles swapped (C8). */
  readonly stores: Readonly<Record<Direction, readonly MoveStore[]>>;
  /** The `dray` schemas of every cluster that the move writes to, those of its SQL adapters too, are there and ours. */
  readonly install: (signal: AbortSignal) => Promise<void>;
  readonly fencing: (direction: Direction) => Fencing;
  readonly throttle: Throttle;
  readonly control: ControlStore;
  readonly log: ChangeLog;
  readonly chunkStore: ChunkStore;
  readonly verifyMemory: VerifyMemory;
  readonly alarms: Alarms;
  readonly settings: MoveSettings;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly logger: Logger;
};
