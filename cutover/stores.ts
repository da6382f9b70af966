import type { GenerationBook } from "../connectors/generation-book.ts";
import type { Clock } from "../pipeline/clock.ts";
import type { Position } from "../pipeline/entry.ts";
import type { LiveTable } from "../pipeline/live-schema.ts";
import type { Probe } from "../pipeline/probe.ts";
import type { StorePair } from "./store-kind.ts";

/** A cluster of the server configuration, as its kind of store understands it. */
export type ClusterAddress = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly tls: { readonly ca: string | null; readonly verify: boolean } | null;
  readonly draySchema: string;
  /** C6: the servers that may take it over. */
  readonly candidates: readonly { readonly host: string; readonly port: number }[];
};

export type StoreKindOptions = {
  /** Of this Drayage: its `dray` schemas carry it. */
  readonly installationId: string;
  readonly heartbeatMs: number;
  readonly clock: Clock;
  readonly probe: Probe;
  /** Where the lanes that begin at a cluster stand in their logs; none where one of them is not known yet (M1). */
  readonly lanePositions: (cluster: string) => Promise<readonly Position[]>;
};

/** One kind of store: what all its clusters share, readers above all, lives as long as the server. */
export interface StoreKind {
  pair(from: ClusterAddress, to: ClusterAddress): StorePair;
  /** The cluster's `dray` schema is there and is this installation's (DRAY_SCHEMA_TAKEN). */
  install(cluster: ClusterAddress, signal: AbortSignal): Promise<void>;
  /** The first column of the first row. */
  readNumber(cluster: ClusterAddress, query: string, signal: AbortSignal): Promise<number>;
  /** `dray.generation` of the cluster (C4). */
  generationBook(cluster: ClusterAddress): GenerationBook;
  liveTables(cluster: ClusterAddress, schemas: readonly string[], signal: AbortSignal): Promise<readonly LiveTable[]>;
  close(): Promise<void>;
}

/** A new kind of store is one folder in connectors, one in sinks, and one line here. */
export const STORE_KINDS: Readonly<Record<string, (options: StoreKindOptions) => Promise<StoreKind>>> = {
  mysql: async (options) => new (await import("./stores/mysql.ts")).MysqlKind(options),
};
