import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Servers } from "../docker/servers.ts";
import type { MovedTenant } from "./check.ts";
import { Product } from "./product.ts";
import type { DriveResult } from "./product-answers.ts";
import { manifestText, type ServerConfigOptions, secrets, serverConfigText } from "./product-files.ts";
import { type Stage, TenantMove, type TenantMoveOptions } from "./tenant-move.ts";

export interface DriveOptions
  extends ServerConfigOptions,
    Omit<TenantMoveOptions, "product" | "manifestFile" | "tenant" | "check"> {
  readonly folder: string;
  /** Of the product's processes, so that none outlives the demo. */
  readonly guard: ReturnType<Servers["guard"]>;
  readonly token: string;
  /** Moved one after the other. */
  readonly tenants: readonly string[];
  readonly check: (stage: CheckedStage) => Promise<"well" | "wrong">;
}

/** Where the tenants are when a check is due; after the last one nothing more is asked of the product. */
export interface CheckedStage {
  readonly name: Stage["name"];
  readonly moved: readonly MovedTenant[];
  readonly position: "on the way" | "last";
}

/** Drives the product by its command line alone. Any refusal is an error; it ends at the first check that finds something. */
export async function drive(options: DriveOptions): Promise<DriveResult[]> {
  const { folder, guard, say, signal, tenants } = options;
  const configFile = join(folder, "server.yaml");
  const manifestFile = join(folder, "manifest.yaml");
  writeFileSync(configFile, serverConfigText(options));
  writeFileSync(manifestFile, manifestText(options.servers.source.schema));
  const environment = secrets(options);
  say(`dray serve: one process that captures, applies and controls; the log is ${options.log.kind}`);
  const product = await Product.serve({ folder, configFile, environment, guard, signal });
  try {
    const results: DriveResult[] = [];
    const settled: MovedTenant[] = [];
    for (const tenant of tenants) {
      const isLastTenant = tenant === tenants.at(-1);
      let moved: MovedTenant = { tenant, switches: [], left: "mirror" };
      const verdicts: ("well" | "wrong")[] = [];
      const check = async (stage: Stage): Promise<"well" | "wrong"> => {
        moved = stage.moved;
        const isLast = stage.isLast === "of all" || (stage.isLast === "of the tenant" && isLastTenant);
        const position = isLast ? "last" : "on the way";
        const verdict = await options.check({ name: stage.name, moved: [...settled, moved], position });
        verdicts.push(verdict);
        return verdict;
      };
      const stray = isLastTenant ? options.stray : null;
      const move = new TenantMove({ ...options, product, manifestFile, tenant, stray, check });
      const result = await move.run();
      results.push(result);
      settled.push(moved);
      if (verdicts.includes("wrong") || result.found.length > 0) break;
    }
    return results;
  } finally {
    await product.stop();
  }
}
