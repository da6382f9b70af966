import type { Connector } from "../connectors/connector.ts";
import type { SourceControl } from "../connectors/source-control.ts";
import type { Consent } from "../pipeline/consents.ts";
import type { Change } from "../pipeline/entry.ts";
import type { ManifestStore } from "../pipeline/manifest.ts";
import type { CheckTime, Finding } from "../pipeline/preflight.ts";
import type { CoveredTable, LaneSource } from "../pipeline/source.ts";
import type { FoundRow } from "../pipeline/verify/compare.ts";
import type { Removal, Sink } from "../sinks/sink.ts";
import type { TargetControl } from "../sinks/target-control.ts";

export type Discovered = {
  /** In the order in which they are copied: roots last (T2). */
  readonly tables: readonly CoveredTable[];
  readonly findings: readonly Finding[];
};

export type PairCheck = {
  readonly store: ManifestStore;
  readonly tenant: string;
  readonly when: CheckTime;
  /** Schemas of the source with a READ ONLY fence. */
  readonly fencedSchemas: readonly string[];
  readonly consents: readonly Consent[];
};

/** One store of a move between two clusters of one kind: everything that the coordinator asks of it. */
export interface StorePair {
  readonly connector: Connector;
  readonly sink: Sink;
  readonly sourceControl: SourceControl;
  readonly targetControl: TargetControl;
  /** What the manifest says, with the live schemas' definitions. Findings name what is not classified or not accepted. */
  discover(store: ManifestStore, tenant: string, signal: AbortSignal): Promise<Discovered>;
  /** All findings at once; what cannot be asked is an error among them. */
  check(options: PairCheck, signal: AbortSignal): Promise<readonly Finding[]>;
  /** The tenant's rows in the target of a lane that is closed: guarded, in small paced batches; may be repeated. */
  removeRows(lane: LaneSource, removal: Removal, signal: AbortSignal): Promise<void>;
  /** The id that the table's copy in the target has as a source, in the lane that goes the other way. */
  idAtTarget(table: CoveredTable): string;
  /**
   * Both sides forget a move's lanes of a store: marks and progress. What keeps a copy of an old control store from doing
   * harm stays: that the lanes are closed, and the outcomes (C2). May be repeated.
   */
  forget(move: string, store: string, signal: AbortSignal): Promise<void>;
  /** Guarded statements that would remove the tenant's rows at the source; nothing runs them. */
  removalSql(lane: LaneSource): readonly string[];
  /** For `dray log --bodies`: columns and values of a change, as text. */
  describeChange(lane: LaneSource, change: Change): Readonly<Record<string, string | null>>;
  /** For alarms, errors and differences: the key's columns, as text. */
  describeKey(lane: LaneSource, row: Pick<Change, "table" | "key">): string;
  /** For `dray verify --show-values`: the differing columns' values on both sides, as text. */
  describeDifference(
    lane: LaneSource,
    table: string,
    found: FoundRow,
  ): Readonly<Record<string, { readonly source: string | null; readonly target: string | null }>>;
  /** The columns in which a row differs between the sides; none where it stands on one side alone. */
  differingColumns(lane: LaneSource, table: string, found: FoundRow): readonly string[];
  close(): Promise<void>;
}
