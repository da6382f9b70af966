import type { ServerAddress } from "./mysql.ts";
import { SIDES, type Side, TABLES } from "./schema.ts";

/** The application may act on an answer of the router for 50 ms; twice that is waited after the fence. */
export const FENCE_GRACE_MS = 100;
export const SYSTEM = "shop";
const ADAPTER = "router";

/** The manifest of the demo's system. JSON is YAML. */
export function manifestText(schema: string): string {
  const tables = Object.fromEntries(TABLES.map((table) => [table, { column: "tenant_id" }]));
  return JSON.stringify(
    {
      name: SYSTEM,
      stores: { db: { kind: "mysql", schemas: { [schema]: { tables } } } },
      fence: { steps: [{ adapter: ADAPTER }], grace_ms: FENCE_GRACE_MS },
      routing: [{ adapter: ADAPTER }],
    },
    null,
    2,
  );
}

export interface ServerConfigOptions {
  /** With the product's own accounts. */
  readonly servers: Readonly<Record<Side, ServerAddress>>;
  readonly routerUrl: string;
  readonly log:
    | { readonly kind: "embedded" }
    | { readonly kind: "kafka"; readonly brokers: readonly string[]; readonly topicPrefix: string };
  /** Of the time, that rows are compared in beside other work; absent: the product's own. */
  readonly verifySharePercent?: number;
  /** Where the product keeps its marks and outcomes on both servers. */
  readonly productSchema: string;
}

/** The server's configuration; passwords and token by the environment that `secrets` gives. */
export function serverConfigText(options: ServerConfigOptions): string {
  const clusters = Object.fromEntries(
    SIDES.map((side) => {
      const { host, port, user } = options.servers[side];
      const password = `\${env:${passwordName(side)}}`;
      return [side, { kind: "mysql", host, port, user, password, dray_schema: options.productSchema }];
    }),
  );
  return JSON.stringify(
    {
      clusters,
      log:
        options.log.kind === "embedded"
          ? { kind: "embedded" }
          : {
              kind: "kafka",
              brokers: options.log.brokers,
              topic_prefix: options.log.topicPrefix,
              replication_factor: 1,
            },
      adapters: {
        [ADAPTER]: {
          kind: "http",
          url: `${options.routerUrl}/tenants`,
          token: `\${env:${TOKEN_NAME}}`,
          expiry: "self",
        },
      },
      ...(options.verifySharePercent === undefined ? {} : { verify_share_percent: options.verifySharePercent }),
      allowed_hosts: [new URL(options.routerUrl).host],
    },
    null,
    2,
  );
}

const TOKEN_NAME = "DEMO_ROUTER_TOKEN";
const passwordName = (side: Side): string => `DEMO_${side.toUpperCase()}_PASSWORD`;

export function secrets(options: {
  readonly servers: Readonly<Record<Side, ServerAddress>>;
  readonly token: string;
}): Record<string, string> {
  const passwords = SIDES.map((side) => [passwordName(side), options.servers[side].password]);
  return { ...Object.fromEntries(passwords), [TOKEN_NAME]: options.token };
}
