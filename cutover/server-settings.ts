import type { Role } from "./move-service.ts";

/** What `dray serve` was told: where things are, and the secrets, which stand nowhere else (K5). */
export type ServerConfig = {
  /** Absolute. Control store, embedded log, chunk store, socket and tokens lie in it. */
  readonly dataDir: string;
  readonly listen: Listen;
  /** By token's name; those of `tokens.json` come on top where the server listens on TCP. */
  readonly tokens: readonly TokenConfig[];
  readonly clusters: Readonly<Record<string, ClusterConfig>>;
  readonly log: LogConfig;
  readonly adapters: Readonly<Record<string, AdapterConfig>>;
  readonly probes: Readonly<Record<string, ProbeConfig>>;
  /** `host` or `host:port` of everything outside that adapters, probes and the alarm may talk to. */
  readonly allowedHosts: readonly string[];
  readonly alarm: { readonly url: string; readonly token: string | null } | null;
  /** How long an applied entry stays in the log; Infinity: for good. */
  readonly keepAppliedMs: number;
  /** Of the time, beside a copy and beside changes, that verification of a lane takes. */
  readonly verifySharePercent: number;
  readonly heartbeatMs: number;
  readonly leaseMs: number;
};

export type Listen =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

export type TokenConfig = { readonly name: string; readonly role: Role; readonly token: string };

export type TlsConfig = {
  /** PEM; null: the system's own authorities. */
  readonly ca: string | null;
  readonly verify: boolean;
};

export type ClusterConfig = {
  readonly kind: "mysql";
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly tls: TlsConfig | null;
  readonly draySchema: string;
  /** C6: the servers that may take the cluster over; asked with its user, password and TLS. */
  readonly candidates: readonly CandidateConfig[];
};

export type CandidateConfig = { readonly host: string; readonly port: number };

export type LogConfig =
  | { readonly kind: "embedded" }
  | {
      readonly kind: "kafka";
      readonly brokers: readonly string[];
      readonly topicPrefix: string;
      readonly replicationFactor: number;
      readonly tls: TlsConfig | null;
      readonly sasl: { readonly mechanism: SaslMechanism; readonly username: string; readonly password: string } | null;
    };
export type SaslMechanism = "plain" | "scram-sha-256" | "scram-sha-512";

export type HttpAdapterConfig = {
  readonly kind: "http";
  readonly url: string;
  readonly token: string;
  readonly timeoutMs: number;
  readonly expiry: "self" | "supervised";
};

/** Statements with `:tenant`, `:move`, `:to` and `:generation`, bound as parameters, in one transaction a call (C4). */
export type SqlAdapterConfig = {
  readonly kind: "sql";
  readonly cluster: string;
  readonly timeoutMs: number;
  /** The statements make the database itself refuse the writes: no grace is needed. */
  readonly enforcedByDatabase: boolean;
  readonly fence: readonly string[];
  readonly unfence: readonly string[];
  readonly retire: readonly string[];
  readonly route: readonly string[];
};
export type AdapterConfig = HttpAdapterConfig | SqlAdapterConfig;

export type ProbeConfig =
  /** The first column of the first row is the reading. */
  | { readonly kind: "sql"; readonly query: string }
  /** The body is a number, or JSON with a number under `value`. */
  | { readonly kind: "http"; readonly url: string; readonly token: string | null };
