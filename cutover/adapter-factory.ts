import type { GenerationBook } from "../connectors/generation-book.ts";
import type { Clock } from "../pipeline/clock.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { FenceAdapter, RouteAdapter } from "./adapters/adapter.ts";
import { HttpAdapter } from "./adapters/http-adapter.ts";
import { SqlAdapter } from "./adapters/sql-adapter.ts";
import type { AdapterFactory } from "./fence-adapters.ts";
import type { AdapterConfig } from "./server-settings.ts";

export type AdapterFactoryOptions = {
  readonly adapters: Readonly<Record<string, AdapterConfig>>;
  readonly allowedHosts: readonly string[];
  /** `dray.generation` of a cluster, for its SQL adapters. */
  readonly book: (cluster: string) => GenerationBook;
  readonly clock: Clock;
};

/** The server configuration's adapters, made once each and shared by all moves. */
export class ConfiguredAdapters implements AdapterFactory {
  readonly #options: AdapterFactoryOptions;
  readonly #made = new Map<string, HttpAdapter | SqlAdapter>();

  constructor(options: AdapterFactoryOptions) {
    this.#options = options;
  }

  fence(name: string): FenceAdapter {
    return this.#adapter(name);
  }

  route(name: string): RouteAdapter {
    return this.#adapter(name);
  }

  sql(name: string): SqlAdapter | null {
    const adapter = this.#adapter(name);
    return adapter instanceof SqlAdapter ? adapter : null;
  }

  /** For `dray adapter test`: one of the configuration by name, or any allowed URL with its configured token. */
  http(nameOrUrl: string): HttpAdapter {
    const { adapters } = this.#options;
    const named = Object.entries(adapters).find(
      ([name, config]) => name === nameOrUrl || (config.kind === "http" && config.url === nameOrUrl),
    );
    if (named === undefined) throw new DrayError("ADAPTER_UNKNOWN", { adapter: nameOrUrl });
    const adapter = this.#adapter(named[0]);
    if (!(adapter instanceof HttpAdapter)) throw new DrayError("ADAPTER_NOT_HTTP", { adapter: nameOrUrl });
    return adapter;
  }

  #adapter(name: string): HttpAdapter | SqlAdapter {
    const known = this.#made.get(name);
    if (known) return known;
    const config = this.#options.adapters[name];
    if (config === undefined) throw new DrayError("ADAPTER_UNKNOWN", { adapter: name });
    const adapter = this.#make(name, config);
    this.#made.set(name, adapter);
    return adapter;
  }

  #make(name: string, config: AdapterConfig): HttpAdapter | SqlAdapter {
    const { allowedHosts, clock, book } = this.#options;
    if (config.kind === "http") return new HttpAdapter({ ...config, name, allowedHosts, clock });
    const { timeoutMs, enforcedByDatabase, cluster, fence, unfence, retire, route } = config;
    const statements = { fence, unfence, retire, route };
    return new SqlAdapter({ name, timeoutMs, enforcedByDatabase, statements, book: book(cluster), clock });
  }
}
