import type { Logger } from "pino";
import type { Clock } from "../pipeline/clock.ts";
import type { LiveTable } from "../pipeline/live-schema.ts";
import type { Manifest } from "../pipeline/manifest.ts";
import type { KnownNames } from "../pipeline/manifest-check.ts";
import type { CheckTime, Finding } from "../pipeline/preflight.ts";
import type { FenceAdapter, RouteAdapter } from "./adapters/adapter.ts";
import type { ControlStore } from "./control-store.ts";
import type { Move } from "./move.ts";

export type CheckRequest = {
  readonly manifest: Manifest;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
  readonly when: CheckTime;
};

/** Null where nobody said which version this is. */
export type About = { readonly version: string | null; readonly log: string };

/** What the composition root gives to the service. */
export type ServiceParts = {
  readonly control: ControlStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Names this Drayage as the holder of leases. */
  readonly installationId: string;
  readonly leaseMs: number;
  /** What this server is, for evidence. */
  readonly about: About;
  readonly knownNames: KnownNames;
  /** Of a move that the control store has: its stores, its journal, its adapters. */
  makeMove(name: string): Promise<Move>;
  /** Preflight: every check of every store and adapter, all findings at once. */
  check(request: CheckRequest, signal: AbortSignal): Promise<readonly Finding[]>;
  /** The checks that tell whether the tenant could be brought back: each error is a reason why not (C8). */
  checkWayBack(request: Omit<CheckRequest, "when">, signal: AbortSignal): Promise<readonly Finding[]>;
  liveTables(cluster: string, schemas: readonly string[], signal: AbortSignal): Promise<readonly LiveTable[]>;
  /** By its name in the server configuration, or by URL. */
  httpAdapter(nameOrUrl: string): FenceAdapter & RouteAdapter;
};
