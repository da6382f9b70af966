import type { Servers } from "../docker/servers.ts";
import type { Hosts } from "./hosts.ts";
import type { BenchOptions } from "./options.ts";
import type { Line } from "./report.ts";

/** What every part is given. */
export interface BenchRun {
  readonly options: BenchOptions;
  readonly servers: Servers;
  readonly hosts: Hosts;
  /** A folder of the run's own, for data folders of the product. */
  readonly folder: string;
  readonly say: (text: string) => void;
}

/** What a part has found: lines of the table, and all it measured, for the JSON. */
export interface Found {
  readonly lines: readonly Line[];
  readonly details: Readonly<Record<string, unknown>>;
}

/** What must be reached, by the kind of log. */
export const REQUIRED = {
  embedded: {
    copyOfLimit: 0.8,
    copyOfDump: 1.3,
    drain: 1.0,
    latencyMs: { p50: 5, p99: 15 },
    pauseMs: { p50: 50, max: 150 },
    cpuSecondsPerMillion: 6,
    peakMegabytes: 350,
  },
  kafka: {
    copyOfLimit: 0.7,
    copyOfDump: null,
    drain: 0.9,
    latencyMs: { p50: 8, p99: 25 },
    pauseMs: { p50: 80, max: 200 },
    cpuSecondsPerMillion: 9,
    peakMegabytes: 400,
  },
} as const;
