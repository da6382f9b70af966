import type { Clock } from "../pipeline/clock.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { Manifest, ManifestStore } from "../pipeline/manifest.ts";
import type { CoveredTable } from "../pipeline/source.ts";
import type { FenceAdapter, RouteAdapter } from "./adapters/adapter.ts";
import { SchemaFenceAdapter } from "./adapters/schema-fence.ts";
import { Fencing } from "./fencing.ts";
import type { StorePair } from "./store-kind.ts";

/** The adapters of the server configuration, made by name; one that can only fence or only route says so itself. */
export interface AdapterFactory {
  fence(name: string): FenceAdapter;
  route(name: string): RouteAdapter;
}

export type FencingParts = {
  readonly manifest: Manifest;
  readonly move: string;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
  readonly adapters: AdapterFactory;
  /** `tables`: as the lanes were opened with; none before that. */
  readonly stores: readonly {
    readonly definition: ManifestStore;
    readonly pair: StorePair;
    readonly tables: readonly CoveredTable[];
  }[];
  readonly clock: Clock;
};

/** The manifest's fences and routes in its order, as one. */
export function makeFencing(parts: FencingParts): Fencing {
  const { manifest, move, tenant, from, to, adapters, clock } = parts;
  return new Fencing({
    move,
    tenant,
    from,
    to,
    clock,
    graceMs: manifest.fence.graceMs,
    routes: manifest.routing.map(({ adapter }) => adapters.route(adapter)),
    fences: manifest.fence.steps.map((step) =>
      step.kind === "adapter" ? adapters.fence(step.adapter) : schemaFence(step.schema, parts),
    ),
  });
}

function schemaFence(schema: string, { stores, tenant }: FencingParts): FenceAdapter {
  const store = stores.find(({ definition }) => definition.schemas.some(({ source }) => source === schema));
  if (store === undefined) throw new DrayError("TABLE_UNKNOWN", { table: `${schema}.*` });
  return new SchemaFenceAdapter({
    name: `read only schema ${schema}`,
    fence: store.pair.sourceControl.schemaFence({
      schema,
      tenant,
      tables: store.tables.filter(({ id }) => id.startsWith(`${schema}.`)),
      ownedByTenant: "yes",
      waitSeconds: 1,
    }),
  });
}
