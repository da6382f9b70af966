import { reasonOf } from "../pipeline/backoff.ts";
import type { Begin, Stray } from "../pipeline/capture-options.ts";
import type { Change, LaneId } from "../pipeline/entry.ts";
import { isDrayError } from "../pipeline/errors.ts";
import type { CoveredTable, LaneSource } from "../pipeline/source.ts";
import type { Json, JsonObject, LaneDraft } from "./control-store.ts";
import { type Direction, directionOf, laneName, sidesOf } from "./direction.ts";
import { type Half, LaneRuntime } from "./lane/lane-runtime.ts";
import type { LostBody } from "./lane/lost-body.ts";
import type { MoveContext, MoveStore } from "./move-context.ts";
import type { StrayRow } from "./strays.ts";

/** What a lane was opened with, as the control store keeps it. */
type LaneSpec = {
  readonly store: string;
  readonly firstPass: number;
  readonly leadsBack?: boolean;
  readonly tables: readonly CoveredTable[];
};

/**
 * active: it carries the tenant's changes away from where the tenant lives. standby: it is connected at the other side, and
 * will carry them back once the tenant is switched (C7). watched: the tenant has left its source, which is only watched for
 * strays (C5). closed: it carries nothing for good, and its target's rows are being removed.
 */
export type LaneRole = "active" | "standby" | "watched" | "closed";

export type OpenLane = {
  readonly source: LaneSource;
  readonly store: MoveStore;
  readonly direction: Direction;
  /** It was made to stand by: it does so until a note says otherwise. */
  readonly leadsBack: boolean;
  readonly runtime: LaneRuntime;
  readonly learned: Learned;
};

/** Kept with the move: what each of its lanes is for, and where those that lead back begin (C7). */
export type LaneNote = { readonly role: LaneRole; readonly begins: Begin | null };

/** What the source says for status alone; asked in the background, and never waited for. */
export type Learned = {
  rowsEstimated: Readonly<Record<string, number>>;
  /** Null: unknown, or never purged by age. */
  retentionSeconds: number | null;
};

export type LaneEvents = {
  /** As the move's details say now. */
  readonly notes: () => Readonly<Record<string, LaneNote>>;
  /** Rows that were written behind a fence, before they are told. */
  readonly keepStrays: (lane: LaneId, changes: readonly Change[]) => Promise<void>;
  /** What the lane had told as stray went its way after all. */
  readonly onCarried: (lane: LaneId) => void;
  readonly onCopied: (lane: LaneId) => void;
  readonly onStopped: (lane: LaneId, half: Half, error: unknown) => void;
  /** Awaited before the stray's place is passed. */
  readonly onStray: (facts: JsonObject) => Promise<void>;
  /** L6: the tables of a lost body are copied again. */
  readonly makeUpFor: (lane: OpenLane, loss: LostBody, signal: AbortSignal) => Promise<ReadonlyMap<string, number>>;
};

const MODES = { active: "carrying", standby: "standby", watched: "watching", closed: "watching" } as const;
const LEARN_TIMEOUT_MS = 30_000;
const KEYS_NAMED = 10;

/** The lanes of a move: opened once and kept in the control store, started with the process. */
export class MoveLanes {
  readonly #context: MoveContext;
  readonly #events: LaneEvents;
  readonly #lanes: OpenLane[] = [];
  #alone: Promise<unknown> = Promise.resolve();

  constructor(context: MoveContext, events: LaneEvents) {
    this.#context = context;
    this.#events = events;
  }

  /** Lanes are made and thrown away by one at a time: what comes later finds what the earlier one left. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#alone.then(work);
    this.#alone = done.catch(() => {});
    return done;
  }

  get all(): readonly OpenLane[] {
    return this.#lanes;
  }

  roleOf({ source, leadsBack }: Pick<OpenLane, "source" | "leadsBack">): LaneRole {
    return this.#events.notes()[source.lane]?.role ?? (leadsBack ? "standby" : "active");
  }

  with(role: LaneRole): readonly OpenLane[] {
    return this.#lanes.filter((lane) => this.roleOf(lane) === role);
  }

  get active(): readonly OpenLane[] {
    return this.with("active");
  }

  /** Of the active lanes, in the stores' order. */
  get runtimes(): readonly LaneRuntime[] {
    return this.active.map(({ runtime }) => runtime);
  }

  /**
   * Records a lane for each store, numbered by the generation, and all of them or none; their tables are what the live
   * schema says now. A lane that does not lead back copies first. Where they stand instead of others, a crash leaves either
   * these or those, so that what was copied is always some lane's.
   */
  async create(
    direction: Direction,
    generation: number,
    copy: { readonly firstPass: number } | "leads back",
    signal: AbortSignal,
    insteadOf: readonly OpenLane[] = [],
  ): Promise<void> {
    const { journal, stores, control } = this.#context;
    const { name, tenant } = journal.move;
    const made: LaneDraft[] = [];
    for (const { definition, pair } of stores[direction]) {
      const { tables } = await pair.discover(definition, tenant, signal);
      const how = copy === "leads back" ? { firstPass: 1, leadsBack: true } : { ...copy, leadsBack: false };
      const spec: LaneSpec = { store: definition.name, ...how, tables };
      made.push({ lane: laneName(name, definition.name, direction, generation), spec: spec as unknown as Json });
    }
    await this.#clear(insteadOf);
    const former = insteadOf.map(({ source }) => source.lane);
    await control.createLanes(name, made, former);
    this.#unload(former);
  }

  /** Loads what is not loaded yet, and starts it. */
  async open(): Promise<void> {
    for (const lane of await this.load()) this.#start(lane);
  }

  start(): void {
    for (const lane of this.#lanes) this.#start(lane);
  }

  /** Every lane of the control store that is not loaded yet, not started. */
  async load(): Promise<readonly OpenLane[]> {
    const { journal, control, stores } = this.#context;
    const loaded: OpenLane[] = [];
    for (const record of await control.lanes(journal.move.name)) {
      if (this.#lanes.some(({ source }) => source.lane === record.lane)) continue;
      const spec = record.spec as unknown as LaneSpec;
      const direction = directionOf(record.lane);
      const store = stores[direction].find(({ definition }) => definition.name === spec.store);
      if (store === undefined) throw new Error(`the manifest has no store ${spec.store}`);
      const lane = record.lane as LaneId;
      const source: LaneSource = { lane, move: journal.move.name, tenant: journal.move.tenant, tables: spec.tables };
      const runtime = this.#runtime(source, store, spec);
      const learned: Learned = { rowsEstimated: {}, retentionSeconds: null };
      loaded.push({ source, store, direction, leadsBack: spec.leadsBack ?? false, runtime, learned });
    }
    this.#lanes.push(...loaded);
    return loaded;
  }

  async stop(reason: string): Promise<void> {
    await Promise.all(this.#lanes.map(({ runtime }) => runtime.stop(reason)));
  }

  /** Stops and forgets these lanes: log, bodies, what is verified, and the control store's record. */
  async drop(lanes: readonly OpenLane[]): Promise<void> {
    await this.#clear(lanes);
    for (const { source } of lanes) await this.#context.control.dropLane(source.lane);
    this.#unload(lanes.map(({ source }) => source.lane));
  }

  /** Every lane of the move, also those that were never loaded. */
  async dropAll(): Promise<void> {
    const { journal, control } = this.#context;
    await this.drop([...this.#lanes]);
    for (const { lane } of await control.lanes(journal.move.name)) {
      await this.#forget(lane as LaneId);
      await control.dropLane(lane);
    }
  }

  /** All but the control store's record, so that a crash, or a full disk, finds what is left of them. */
  async #clear(lanes: readonly OpenLane[]): Promise<void> {
    await Promise.all(lanes.map(({ runtime }) => runtime.stop("the lane is dropped")));
    for (const { source } of lanes) await this.#forget(source.lane);
  }

  #unload(lanes: readonly LaneId[]): void {
    for (const name of lanes) {
      const place = this.#lanes.findIndex(({ source }) => source.lane === name);
      if (place >= 0) this.#lanes.splice(place, 1);
    }
  }

  async #forget(lane: LaneId): Promise<void> {
    const { log, chunkStore, verifyMemory } = this.#context;
    await log.drop(lane);
    await chunkStore.dropLane(lane);
    await verifyMemory.drop(lane);
  }

  #start(lane: OpenLane): void {
    if (this.roleOf(lane) === "closed") return;
    lane.runtime.start();
    void this.#learn(lane);
  }

  #runtime(source: LaneSource, store: MoveStore, { firstPass, leadsBack = false }: LaneSpec): LaneRuntime {
    const { log, chunkStore, verifyMemory, control, throttle, clock, probe, logger, settings } = this.#context;
    const { lane } = source;
    const mode = MODES[this.roleOf({ source, leadsBack })];
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
      leadsBack,
      begins: this.#events.notes()[lane]?.begins ?? null,
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
      onCarried: () => this.#events.onCarried(lane),
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
    const { transaction, changes, committedAtMs, session } = stray;
    const keys = changes
      .slice(0, KEYS_NAMED)
      .map((change) => `${change.table} ${store.pair.describeKey(source, change)}`);
    const facts = { lane: source.lane, transaction, committedAtMs, session, changes: changes.length, keys };
    await this.#events.keepStrays(source.lane, changes);
    await this.#events.onStray(facts);
    await this.#alarmStray(source.lane, `${keys.join(", ")} in ${transaction}`, facts);
  }

  /** What a lane had told went its way after all. The alarm is the move's: it names what is left of others, if anything. */
  async tellStrays(left: readonly StrayRow[]): Promise<void> {
    const { alarms, journal } = this.#context;
    const last = left.at(-1);
    if (last === undefined) return await alarms.clear(journal.move.name, "STRAY_WRITE");
    const rows = left.filter((row) => row.lane === last.lane);
    const keys = rows.slice(-KEYS_NAMED).map((row) => this.#describeStray(row));
    await this.#alarmStray(last.lane as LaneId, keys.join(", "), { lane: last.lane, changes: rows.length, keys });
  }

  async #alarmStray(lane: LaneId, what: string, facts: JsonObject): Promise<void> {
    const { alarms, journal } = this.#context;
    const cluster = sidesOf(lane, journal.move).source;
    await alarms.raise(
      journal.move.name,
      "STRAY_WRITE",
      `${cluster} took a write of the tenant behind the fence: ${what}`,
      { cluster, ...facts },
    );
  }

  #describeStray({ lane, table, key }: StrayRow): string {
    const open = this.#lanes.find(({ source }) => source.lane === lane);
    const bytes = Buffer.from(key, "base64");
    return open === undefined ? table : `${table} ${open.store.pair.describeKey(open.source, { table, key: bytes })}`;
  }
}
