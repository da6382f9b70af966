import { reasonOf } from "../pipeline/backoff.ts";
import type { LaneId } from "../pipeline/entry.ts";
import { isDrayError } from "../pipeline/errors.ts";
import type { Stray } from "../pipeline/lane-capture.ts";
import type { CoveredTable, LaneSource } from "../pipeline/source.ts";
import type { Json } from "./control-store.ts";
import type { CaptureMode } from "./lane/capture-half.ts";
import { type Half, LaneRuntime } from "./lane/lane-runtime.ts";
import type { LostBody } from "./lane/lost-body.ts";
import type { MoveContext, MoveStore } from "./move-context.ts";

/** What a lane was opened with, as the control store keeps it. */
type LaneSpec = { readonly store: string; readonly firstPass: number; readonly tables: readonly CoveredTable[] };

export type OpenLane = {
  readonly source: LaneSource;
  readonly store: MoveStore;
  readonly runtime: LaneRuntime;
  readonly learned: Learned;
};

/** What the source says for status alone; asked in the background, and never waited for. */
export type Learned = {
  rowsEstimated: Readonly<Record<string, number>>;
  /** Null: unknown, or never purged by age. */
  retentionSeconds: number | null;
};

export type LaneEvents = {
  readonly onCopied: (lane: LaneId) => void;
  readonly onStopped: (lane: LaneId, half: Half, error: unknown) => void;
  /** L6: the tables of a lost body are copied again. */
  readonly makeUpFor: (lane: OpenLane, loss: LostBody, signal: AbortSignal) => Promise<ReadonlyMap<string, number>>;
};

const LEARN_TIMEOUT_MS = 30_000;

/** The lanes of a move: opened once and kept in the control store, started with the process. */
export class MoveLanes {
  readonly #context: MoveContext;
  readonly #events: LaneEvents;
  readonly #lanes: OpenLane[] = [];

  constructor(context: MoveContext, events: LaneEvents) {
    this.#context = context;
    this.#events = events;
  }

  get all(): readonly OpenLane[] {
    return this.#lanes;
  }

  get runtimes(): readonly LaneRuntime[] {
    return this.#lanes.map(({ runtime }) => runtime);
  }

  /** Opens a lane for each store, numbered by the generation; its tables are what the live schema says now. */
  async create(generation: number, firstPass: number, signal: AbortSignal): Promise<void> {
    const { journal, stores, control } = this.#context;
    const { name, tenant } = journal.move;
    for (const { definition, pair } of stores) {
      const { tables } = await pair.discover(definition, tenant, signal);
      const spec: LaneSpec = { store: definition.name, firstPass, tables };
      await control.createLane(`${name}.${definition.name}.f${generation}`, name, spec as unknown as Json);
    }
  }

  async open(mode: CaptureMode): Promise<void> {
    await this.load(mode);
    this.start();
  }

  start(): void {
    for (const lane of this.#lanes) {
      lane.runtime.start();
      void this.#learn(lane);
    }
  }

  /** Every lane of the control store, not started. */
  async load(mode: CaptureMode): Promise<void> {
    if (this.#lanes.length > 0) return; // an abort that is tried again has them already
    const { journal, control, stores } = this.#context;
    for (const record of await control.lanes(journal.move.name)) {
      const spec = record.spec as unknown as LaneSpec;
      const store = stores.find(({ definition }) => definition.name === spec.store);
      if (store === undefined) throw new Error(`the manifest has no store ${spec.store}`);
      const lane = record.lane as LaneId;
      const source: LaneSource = { lane, move: journal.move.name, tenant: journal.move.tenant, tables: spec.tables };
      const runtime = this.#runtime(source, store, spec.firstPass, mode);
      const learned: Learned = { rowsEstimated: {}, retentionSeconds: null };
      this.#lanes.push({ source, store, runtime, learned });
    }
  }

  async stop(reason: string): Promise<void> {
    await Promise.all(this.runtimes.map((runtime) => runtime.stop(reason)));
  }

  /** Stops and forgets every lane: log, bodies, and the control store's record; also those that were never loaded. */
  async drop(): Promise<void> {
    const { journal, log, chunkStore, verifyMemory, control } = this.#context;
    await this.stop("the lane is dropped");
    this.#lanes.splice(0);
    for (const { lane } of await control.lanes(journal.move.name)) {
      await log.drop(lane as LaneId);
      await chunkStore.dropLane(lane as LaneId);
      await verifyMemory.drop(lane as LaneId);
      await control.dropLane(lane);
    }
  }

  #runtime(source: LaneSource, store: MoveStore, firstPass: number, mode: CaptureMode): LaneRuntime {
    const { log, chunkStore, verifyMemory, control, throttle, clock, probe, logger, settings } = this.#context;
    const { lane } = source;
    return new LaneRuntime({
      ...settings,
      source,
      connector: store.pair.connector,
      sink: store.pair.sink,
      log,
      chunkStore,
      verifyMemory,
      throttle,
      clock,
      probe,
      logger,
      mode,
      firstPass,
      memory: {
        raiseEpoch: () => control.raiseLaneEpoch(lane, 0),
        checkpoint: async () => (await control.getLane(lane))?.checkpoint ?? null,
        saveCheckpoint: (checkpoint) => control.saveCheckpoint(lane, checkpoint.epoch, checkpoint),
      },
      columnsOf: (table, found) => store.pair.differingColumns(source, table, found),
      describeKey: (table, key) => store.pair.describeKey(source, { table, key }),
      closeInTarget: (signal) => store.pair.targetControl.closeLane(lane, signal),
      onCopied: () => this.#events.onCopied(lane),
      makeUpFor: (loss, signal) => {
        const open = this.#lanes.find((each) => each.source.lane === lane);
        return open === undefined ? Promise.reject(loss.error) : this.#events.makeUpFor(open, loss, signal);
      },
      onStray: (stray) => this.#onStray(source, store, stray),
      onCarried: () => {
        void this.#context.alarms.clear(this.#context.journal.move.name, "STRAY_WRITE");
      },
      onStopped: (half, error) => {
        const code = isDrayError(error) ? error.code : "INTERNAL";
        this.#context.logger.error({ lane, half, code, error: reasonOf(error) }, `${half} of ${lane} has stopped`);
        this.#events.onStopped(lane, half, error);
      },
    });
  }

  async #learn({ source, store, learned }: OpenLane): Promise<void> {
    const { logger } = this.#context;
    const signal = AbortSignal.timeout(LEARN_TIMEOUT_MS);
    try {
      learned.retentionSeconds = await store.pair.connector.retentionSeconds(signal);
      learned.rowsEstimated = await store.pair.connector.estimateRows(source, signal);
    } catch (error) {
      logger.warn({ lane: source.lane, error: reasonOf(error) }, "no estimate of rows and retention: no eta is shown");
    }
  }

  async #onStray(source: LaneSource, store: MoveStore, stray: Stray): Promise<void> {
    const { alarms, journal } = this.#context;
    const { transaction, changes } = stray;
    const keys = changes.slice(0, 10).map((change) => `${change.table} ${store.pair.describeKey(source, change)}`);
    const message = `the source took a write of the tenant behind the fence: ${keys.join(", ")} in ${transaction}`;
    const facts = { lane: source.lane, transaction, changes: changes.length, keys };
    await alarms.raise(journal.move.name, "STRAY_WRITE", message, facts);
  }
}
