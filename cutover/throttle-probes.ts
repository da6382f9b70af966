import { DrayError } from "../pipeline/errors.ts";
import type { Manifest } from "../pipeline/manifest.ts";
import type { ThrottleProbe } from "../pipeline/throttle.ts";
import type { ProbeConfig } from "./server-settings.ts";

export type ThrottleProbesOptions = {
  readonly manifest: Manifest;
  readonly probes: Readonly<Record<string, ProbeConfig>>;
  /** The first column of the first row, on the source or the target. */
  readonly readSql: (on: "from" | "to", query: string, signal: AbortSignal) => Promise<number>;
};

const EVERY_MS = 1_000;

/** W8: the manifest's probes, by their name in the server configuration. */
export function throttleProbes({ manifest, probes, readSql }: ThrottleProbesOptions): readonly ThrottleProbe[] {
  return manifest.throttle.map(({ probe: name, on, limit }): ThrottleProbe => {
    const config = probes[name];
    if (config === undefined) throw new DrayError("PROBE_UNKNOWN", { probe: name });
    const read = (signal: AbortSignal) =>
      config.kind === "sql" ? readSql(on, config.query, signal) : readHttp(config, signal);
    return { name, everyMs: EVERY_MS, measure: async (signal) => ({ value: await read(signal), limit }) };
  });
}

/** A number as it stands, or JSON with a number under `value`. */
async function readHttp(config: ProbeConfig & { kind: "http" }, signal: AbortSignal): Promise<number> {
  const headers = config.token === null ? {} : { authorization: `Bearer ${config.token}` };
  const answer = await fetch(config.url, { headers, signal, redirect: "error" });
  if (!answer.ok) throw new DrayError("PROBE_FAILED", { status: answer.status });
  const text = (await answer.text()).slice(0, 4096).trim();
  const value = text.startsWith("{") ? (JSON.parse(text) as { value?: unknown }).value : Number(text);
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new DrayError("PROBE_FAILED", { why: "not a number" });
  return value;
}
