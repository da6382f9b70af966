import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import type { ChunkStore } from "../pipeline/chunk-store/chunk-store.ts";
import { DirectoryChunkStore } from "../pipeline/chunk-store/directory.ts";
import { type Clock, systemClock } from "../pipeline/clock.ts";
import { DrayError } from "../pipeline/errors.ts";
import { KafkaLog } from "../pipeline/log/kafka-log.ts";
import type { ChangeLog } from "../pipeline/log/log.ts";
import { SqliteLog } from "../pipeline/log/sqlite-log.ts";
import type { Manifest, ManifestStore } from "../pipeline/manifest.ts";
import type { Finding } from "../pipeline/preflight.ts";
import { noProbe, type Probe } from "../pipeline/probe.ts";
import { Throttle } from "../pipeline/throttle.ts";
import { ConfiguredAdapters } from "./adapter-factory.ts";
import { Alarms } from "./alarms.ts";
import { KyselyControlStore } from "./control/kysely-control-store.ts";
import type { ControlStore } from "./control-store.ts";
import { makeFencing } from "./fence-adapters.ts";
import { Journal } from "./journal.ts";
import { VerifyFiles } from "./lane/verify-memory.ts";
import { Move } from "./move.ts";
import type { MoveSettings } from "./move-context.ts";
import type { ServerConfig } from "./server-settings.ts";
import { DrayService } from "./service.ts";
import type { CheckRequest } from "./service-parts.ts";
import { type ClusterAddress, STORE_KINDS, type StoreKind } from "./stores.ts";
import { throttleProbes } from "./throttle-probes.ts";

export type DrayOptions = {
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly probe?: Probe;
  /** The product's version, for evidence. */
  readonly version?: string;
  readonly settings?: Partial<MoveSettings>;
};

export type Dray = { readonly service: DrayService; close(): Promise<void> };

const SETTINGS: Omit<MoveSettings, "heartbeatMs" | "keepAppliedMs" | "verifySharePercent"> = {
  parallelRanges: 3,
  chunkBudget: { rows: 20_000, bytes: 4 * 1024 * 1024 },
  routePatienceMs: 15_000,
  targetWatchMs: 3_000,
  repairPatienceMs: 60_000,
};

/** Takes the data folder for itself (LOG_LOCKED), and every move of it up again. The composition root. */
export async function openDray(config: ServerConfig, options: DrayOptions): Promise<Dray> {
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const root = new Root(config, options);
  try {
    return await root.open();
  } catch (error) {
    await root.close();
    throw error;
  }
}

/** Of the installation's id, in the names of topics. */
const INSTALLATION_CHARS = 8;

class Root {
  readonly #config: ServerConfig;
  readonly #options: DrayOptions;
  readonly #clock: Clock;
  readonly #probe: Probe;
  readonly #installationId: string;
  readonly #chunkStore: ChunkStore;
  readonly #log: ChangeLog;
  readonly #adapters: ConfiguredAdapters;
  readonly #kinds = new Map<string, StoreKind>();
  readonly #closing = new AbortController();
  #control: ControlStore | null = null;
  #service: DrayService | null = null;

  constructor(config: ServerConfig, options: DrayOptions) {
    this.#config = config;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#probe = options.probe ?? noProbe;
    this.#installationId = installation(config.dataDir);
    this.#chunkStore = new DirectoryChunkStore({ folder: join(config.dataDir, "chunks"), clock: this.#clock });
    this.#log = this.#openLog();
    this.#adapters = new ConfiguredAdapters({
      adapters: config.adapters,
      allowedHosts: config.allowedHosts,
      clock: this.#clock,
      book: (cluster) => this.#kindOf(cluster).generationBook(this.#cluster(cluster)),
    });
  }

  async open(): Promise<Dray> {
    const { logger } = this.#options;
    const { dataDir, clusters, adapters, probes } = this.#config;
    this.#control = await KyselyControlStore.open({ file: join(dataDir, "control.db"), clock: this.#clock });
    const control = this.#control;
    const installationId = this.#installationId;
    for (const kind of new Set(Object.values(clusters).map((cluster) => cluster.kind))) {
      const make = STORE_KINDS[kind];
      if (make === undefined) throw new DrayError("STORE_KIND_UNKNOWN", { kind });
      const { heartbeatMs } = this.#config;
      this.#kinds.set(
        kind,
        await make({
          installationId,
          heartbeatMs,
          clock: this.#clock,
          probe: this.#probe,
          lanePositions: async (cluster) => this.#service?.lanePositions(cluster) ?? [],
        }),
      );
    }
    this.#service = await DrayService.open({
      control,
      clock: this.#clock,
      logger,
      installationId,
      leaseMs: this.#config.leaseMs,
      about: { version: this.#options.version ?? null, log: this.#config.log.kind },
      knownNames: {
        adapters: Object.fromEntries(
          Object.entries(adapters).map(([name, adapter]) => [
            name,
            adapter.kind === "http"
              ? { canFence: true, canRoute: true, enforcedByDatabase: false }
              : {
                  canFence: adapter.fence.length > 0 && adapter.unfence.length > 0,
                  canRoute: adapter.route.length > 0,
                  enforcedByDatabase: adapter.enforcedByDatabase,
                },
          ]),
        ),
        probes: Object.keys(probes),
      },
      makeMove: (name) => this.#makeMove(control, name),
      check: (request, signal) => this.#check(request, signal),
      checkWayBack: (request, signal) => this.#checkWayBack(request, signal),
      liveTables: (name, schemas, signal) => this.#kindOf(name).liveTables(this.#cluster(name), schemas, signal),
      httpAdapter: (nameOrUrl) => this.#adapters.http(nameOrUrl),
    });
    return { service: this.#service, close: () => this.close() };
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the server stops"));
    await this.#service?.shutDown();
    for (const kind of this.#kinds.values()) await kind.close();
    await this.#log.close();
    await this.#control?.close();
  }

  async #makeMove(control: ControlStore, name: string): Promise<Move> {
    const { logger } = this.#options;
    const journal = await Journal.open(control, name);
    const { manifest, tenant, from, to } = journal.move;
    const stores = {
      forward: manifest.stores.map((definition) => ({ definition, pair: this.#pair(from, to) })),
      reverse: manifest.stores.map((definition) => ({ definition: swapped(definition), pair: this.#pair(to, from) })),
    };
    const throttle = new Throttle({
      clock: this.#clock,
      probes: throttleProbes({
        manifest,
        probes: this.#config.probes,
        readSql: (on, query, signal) => {
          const cluster = on === "from" ? from : to;
          return this.#kindOf(cluster).readNumber(this.#cluster(cluster), query, signal);
        },
      }),
    });
    const move: Move = new Move({
      journal,
      stores,
      throttle,
      control,
      log: this.#log,
      chunkStore: this.#chunkStore,
      verifyMemory: new VerifyFiles({ folder: join(this.#config.dataDir, "verify") }),
      alarms: new Alarms({ store: control, logger, post: this.#alarmPost() }),
      settings: {
        ...SETTINGS,
        ...this.#options.settings,
        heartbeatMs: this.#config.heartbeatMs,
        keepAppliedMs: this.#config.keepAppliedMs,
        verifySharePercent: this.#config.verifySharePercent,
      },
      clock: this.#clock,
      probe: this.#probe,
      logger,
      install: (signal) => this.#install(manifest, [from, to], signal),
      fencing: (direction) =>
        makeFencing({
          manifest,
          move: name,
          tenant,
          ...(direction === "forward" ? { from, to } : { from: to, to: from }),
          adapters: this.#adapters,
          clock: this.#clock,
          // A fence in the database is that of the tenant's first home: with one there is no way back (C3).
          stores: stores.forward.map(({ definition, pair }) => {
            const lanes = move.lanes.all.filter(({ store }) => store.pair === pair);
            return { definition, pair, tables: lanes.flatMap(({ source }) => source.tables) };
          }),
        }),
    });
    void throttle.run(AbortSignal.any([this.#closing.signal, move.life]));
    return move;
  }

  /** Preflight of every store, and of SQL adapters, which must not write what moves (C4). */
  async #check({ manifest, tenant, from, to, when }: CheckRequest, signal: AbortSignal): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    const fencedSchemas = manifest.fence.steps.flatMap((step) => (step.kind === "adapter" ? [] : [step.schema]));
    for (const store of manifest.stores) {
      const pair = this.#pair(from, to);
      findings.push(...(await pair.check({ store, tenant, when, fencedSchemas, consents: manifest.consents }, signal)));
    }
    for (const [name, adapter] of Object.entries(this.#config.adapters)) {
      if (adapter.kind !== "sql" || !uses(manifest, name)) continue;
      for (const definition of manifest.stores) {
        const { tables } = await this.#pair(from, to).discover(definition, tenant, signal);
        const call = { move: "preflight", tenant, to, generation: 0 };
        findings.push(...((await this.#adapters.sql(name)?.dryRun(call, tables, signal)) ?? []));
      }
    }
    return findings;
  }

  /** C8: the same pair with the roles swapped. */
  async #checkWayBack(
    { manifest, tenant, from, to }: Omit<CheckRequest, "when">,
    signal: AbortSignal,
  ): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    for (const step of manifest.fence.steps) if (step.kind !== "adapter") findings.push(readOnlyFence(step.schema));
    const { consents } = manifest;
    for (const store of manifest.stores.map(swapped)) {
      const options = { store, tenant, when: "rollback", fencedSchemas: [], consents } as const;
      findings.push(...(await this.#pair(to, from).check(options, signal)));
    }
    return findings;
  }

  /** C4: an SQL adapter keeps its generations where its statements run, which may be neither side of the move. */
  async #install(manifest: Manifest, sides: readonly string[], signal: AbortSignal): Promise<void> {
    const adapters = Object.entries(this.#config.adapters);
    const clusters = adapters.flatMap(([name, adapter]) =>
      adapter.kind === "sql" && uses(manifest, name) ? [adapter.cluster] : [],
    );
    for (const cluster of new Set([...sides, ...clusters])) {
      await this.#kindOf(cluster).install(this.#cluster(cluster), signal);
    }
  }

  #pair(from: string, to: string) {
    return this.#kindOf(from).pair(this.#cluster(from), this.#cluster(to));
  }

  #cluster(name: string): ClusterAddress {
    const cluster = this.#config.clusters[name];
    if (cluster === undefined) {
      throw new DrayError("CLUSTER_UNKNOWN", { cluster: name, known: Object.keys(this.#config.clusters) });
    }
    return { name, ...cluster };
  }

  #kindOf(cluster: string): StoreKind {
    this.#cluster(cluster);
    const kind = this.#kinds.get(this.#config.clusters[cluster]?.kind ?? "");
    if (kind === undefined) throw new DrayError("CLUSTER_UNKNOWN", { cluster });
    return kind;
  }

  #openLog(): ChangeLog {
    const { dataDir, log } = this.#config;
    const parts = { chunkStore: this.#chunkStore, clock: this.#clock, probe: this.#probe };
    if (log.kind === "embedded") return new SqliteLog({ ...parts, folder: dataDir });
    const { tls, sasl } = log;
    const ssl = tls === null ? {} : { ssl: { rejectUnauthorized: tls.verify, ...(tls.ca ? { ca: [tls.ca] } : {}) } };
    return new KafkaLog({
      ...parts,
      connection: { brokers: log.brokers, ...ssl, ...(sasl === null ? {} : { sasl: { ...sasl } as never }) },
      // M: moves of one name of two installations must not meet in one topic either.
      topicPrefix: `${log.topicPrefix}.${this.#installationId.slice(0, INSTALLATION_CHARS)}.`,
      replicas: log.replicationFactor,
      warn: (message) => this.#options.logger.warn(message),
    });
  }

  #alarmPost() {
    const { alarm } = this.#config;
    if (alarm === null) return null;
    const headers = {
      "content-type": "application/json",
      ...(alarm.token === null ? {} : { authorization: `Bearer ${alarm.token}` }),
    };
    return async (raised: object, remedy: string) => {
      const body = JSON.stringify({ ...raised, remedy });
      const answer = await fetch(alarm.url, { method: "POST", headers, body, signal: AbortSignal.timeout(5_000) });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    };
  }
}

/** As the way back sees it: what is the target now is its source. */
function swapped(store: ManifestStore): ManifestStore {
  return { ...store, schemas: store.schemas.map((each) => ({ ...each, source: each.target, target: each.source })) };
}

/** C3: it would stop the lane that leads back too. */
function readOnlyFence(schema: string): Finding {
  return {
    id: "mysql.fence-no-rollback",
    severity: "error",
    subject: `source ${schema}`,
    finding: "A READ ONLY schema as fence also stops what would be carried back into it",
    remedy: "Use an adapter as fence where the tenant may have to come back.",
    rule: "C3",
  };
}

function uses({ fence, routing }: Manifest, adapter: string): boolean {
  const fences = fence.steps.some((step) => step.kind === "adapter" && step.adapter === adapter);
  return fences || routing.some((step) => step.adapter === adapter);
}

/** M: the `dray` schemas of all clusters carry this id, so that two installations never share one. */
function installation(dataDir: string): string {
  const file = join(dataDir, "installation");
  if (!existsSync(file)) writeFileSync(file, `${randomUUID()}\n`, { mode: 0o600, flag: "wx" });
  return readFileSync(file, "utf8").trim();
}
