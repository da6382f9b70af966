import { z } from "zod";
import type { AdapterConfig, ClusterConfig, LogConfig, ProbeConfig, TlsConfig } from "../cutover/server-settings.ts";

export type SecretSource = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
};

const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/;
const SECRET = /^\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}$/;
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/;

const name = z
  .string()
  .regex(NAME, "a name starts with a letter and goes on with letters, digits, - and _ (63 at most)");
const port = z.int().min(1).max(65_535);
const url = z.url({ protocol: /^https?$/, error: "an http or https URL is expected" });
const statement = z.string().trim().min(1);

/** The file's own shape: YAML names with their units; what comes out is what the server works with. */
export function serverConfigFile(source: SecretSource) {
  const secret = secretField(source);
  const tls = tlsField(source);
  return z.strictObject({
    data_dir: z.string().min(1).optional().describe("Folder of everything the server keeps; ./dray-data where absent"),
    listen: z
      .union([
        z.strictObject({ unix: z.string().min(1).optional().describe("The socket's path, mode 0600; no token") }),
        z.strictObject({
          tcp: z.strictObject({
            host: z.string().min(1).default("127.0.0.1"),
            port: port.describe("Every request needs a token"),
          }),
        }),
      ])
      .default({})
      .describe("{unix: PATH} or {tcp: {host: HOST, port: PORT}}"),
    tokens: z
      .record(
        name,
        z.strictObject({
          role: z.enum(["read", "operate", "admin"]).describe("read: look; operate: move tenants; admin: see rows too"),
          token: secret,
        }),
      )
      .default({})
      .describe("Tokens for TCP, beside those that the first start writes into tokens.json"),
    clusters: z.record(name, clusterField(secret, tls)).describe("The clusters that moves name as from and to"),
    log: logField(secret, tls)
      .default({ kind: "embedded" })
      .describe("Where captured changes wait: {kind: embedded}, which is the default, or {kind: kafka, …}"),
    adapters: z.record(name, adapterField(secret)).default({}).describe("What manifests name to fence and to route"),
    probes: z.record(name, probeField(secret)).default({}).describe("What manifests name to slow the copy down"),
    allowed_hosts: z
      .array(z.string().regex(HOST, "a host, or host:port, is expected"))
      .default([])
      .describe("Hosts that adapters, probes and the alarm may talk to"),
    alarm: z
      .strictObject({ url, token: secret.optional() })
      .transform((alarm) => ({ url: alarm.url, token: alarm.token ?? null }))
      .optional()
      .describe("Every alarm is POSTed there"),
    log_keep: z
      .union([z.literal("all"), z.strictObject({ applied_s: z.int().min(0) })])
      .default({ applied_s: 60 })
      .describe("all, or {applied_s: N}: how long an entry stays in the log after it was applied"),
    verify_share_percent: z
      .int()
      .min(1)
      .max(100)
      .default(10)
      .describe(
        "Of the time, beside a copy and beside changes, that a lane's rows are compared, in larger ranges the more it is; 100: all of it",
      ),
    heartbeat_ms: z.int().min(50).max(60_000).default(250).describe("Between two marks that measure the lag"),
    lease_ms: z.int().min(1_000).max(600_000).default(30_000).describe("After which another process may take over"),
  });
}

/** For editors. */
export function serverConfigJsonSchema(): Record<string, unknown> {
  const file = serverConfigFile({ env: {}, readFile: () => "" });
  return { title: "Drayage server configuration", ...z.toJSONSchema(file, { io: "input", target: "draft-2020-12" }) };
}

function secretField({ env }: SecretSource) {
  return z
    .string()
    .describe(`A secret, as \${env:NAME}`)
    .transform((text, context): string => {
      const variable = SECRET.exec(text)?.[1];
      if (variable === undefined) {
        const remedy = `Write \${env:NAME} here and put the secret into the server's environment.`;
        context.addIssue({ code: "custom", message: "a secret must not stand in the file", params: { remedy } });
        return z.NEVER;
      }
      const value = env[variable];
      if (value === undefined || value === "") {
        const message = `the environment variable ${variable} is not set`;
        context.addIssue({
          code: "custom",
          message,
          params: { remedy: `Set ${variable} where dray serve is started.` },
        });
        return z.NEVER;
      }
      return value;
    });
}

function tlsField({ readFile }: SecretSource) {
  return z
    .strictObject({
      ca: z.string().min(1).optional().describe("The authority's PEM file; the system's own where absent"),
      verify: z
        .boolean()
        .default(true)
        .describe("false accepts any certificate; true asks for the authority, not for the host's name"),
    })
    .transform((entry, context): TlsConfig => {
      let ca: string | null = null;
      try {
        if (entry.ca !== undefined) ca = readFile(entry.ca);
      } catch (error) {
        const message = `${entry.ca} cannot be read (${error instanceof Error && "code" in error ? error.code : error})`;
        const remedy = "Name a readable PEM file, relative to this file.";
        context.addIssue({ code: "custom", message, path: ["ca"], params: { remedy } });
      }
      return { ca, verify: entry.verify };
    });
}

type SecretField = ReturnType<typeof secretField>;
type TlsField = ReturnType<typeof tlsField>;

function clusterField(secret: SecretField, tls: TlsField) {
  return z
    .strictObject({
      kind: z.literal("mysql"),
      host: z.string().min(1).describe("The server that takes the writes"),
      port: port.default(3306),
      user: z.string().min(1).describe("Drayage's own account there"),
      password: secret,
      tls: tls.optional(),
      dray_schema: z
        .string()
        .min(1)
        .max(64)
        .default("dray")
        .describe("The schema that Drayage keeps its own tables in"),
      candidates: z
        .array(
          z.strictObject({
            host: z.string().min(1).describe("Asked with the cluster's own user, password and tls"),
            port: port.default(3306),
          }),
        )
        .default([])
        .describe("Replicas that may take over; a move to here commits only once each has all that it acknowledged"),
    })
    .transform(({ dray_schema: draySchema, tls: tlsEntry, ...entry }): ClusterConfig => {
      return { ...entry, tls: tlsEntry ?? null, draySchema };
    });
}

function logField(secret: SecretField, tls: TlsField) {
  const kafka = z
    .strictObject({
      kind: z.literal("kafka"),
      brokers: z.array(z.string().regex(HOST, "host:port is expected")).min(1).describe("As host:port"),
      topic_prefix: z
        .string()
        .regex(/^[A-Za-z0-9._-]{1,39}$/, "1 to 39 letters, digits, . _ and - are expected")
        .default("dray")
        .describe("Topics are called PREFIX.INSTALLATION.LANE"),
      replication_factor: z
        .int()
        .min(1)
        .max(32)
        .default(3)
        .describe("Of new topics; below 2 a broker's loss loses entries"),
      tls: tls.optional(),
      sasl: z
        .strictObject({
          mechanism: z.enum(["plain", "scram-sha-256", "scram-sha-512"]),
          username: z.string().min(1),
          password: secret,
        })
        .optional(),
    })
    .transform((entry): LogConfig => {
      const { topic_prefix: topicPrefix, replication_factor: replicationFactor, kind, brokers } = entry;
      return { kind, brokers, topicPrefix, replicationFactor, tls: entry.tls ?? null, sasl: entry.sasl ?? null };
    });
  return z.discriminatedUnion("kind", [z.strictObject({ kind: z.literal("embedded") }), kafka]);
}

function adapterField(secret: SecretField) {
  const timeout = z.int().min(10).max(600_000).default(5_000).describe("After which the outcome of a call is unknown");
  const http = z
    .strictObject({
      kind: z.literal("http"),
      url: url.describe("Takes PUT and answers GET with ?tenant="),
      token: secret,
      timeout_ms: timeout,
      expiry: z
        .enum(["self", "supervised"])
        .default("supervised")
        .describe("self: the far side lifts a fence that ran out by itself"),
    })
    .transform(({ timeout_ms: timeoutMs, ...entry }): AdapterConfig => ({ ...entry, timeoutMs }));
  const statements = z.array(statement).min(1);
  const sql = z
    .strictObject({
      kind: z.literal("sql"),
      cluster: name.describe("The cluster whose server runs the statements"),
      timeout_ms: timeout,
      enforced_by_database: z
        .boolean()
        .default(false)
        .describe("The statements make the database refuse the tenant's writes, so that no grace is needed"),
      fence: statements.default([]).describe("With :tenant, :move, :to and :generation, run in one transaction"),
      unfence: statements.default([]).describe("Needed, with `fence`, where a manifest fences with it"),
      retire: statements.default([]).describe("Where a fence that became final needs more than it has"),
      route: statements.default([]).describe("Needed where a manifest routes with it"),
    })
    .transform(({ timeout_ms: timeoutMs, enforced_by_database: enforcedByDatabase, ...entry }): AdapterConfig => {
      return { ...entry, timeoutMs, enforcedByDatabase };
    });
  return z.discriminatedUnion("kind", [http, sql]);
}

function probeField(secret: SecretField) {
  const http = z
    .strictObject({
      kind: z.literal("http"),
      url: url.describe("Answers GET with a number, or with JSON that has one under `value`"),
      token: secret.optional(),
    })
    .transform((entry): ProbeConfig => ({ kind: entry.kind, url: entry.url, token: entry.token ?? null }));
  return z.discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("sql"),
      query: statement.describe("The first column of the first row is the reading"),
    }),
    http,
  ]);
}
