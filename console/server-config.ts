import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { hostAllowed } from "../cutover/adapters/allowed-hosts.ts";
import type { CandidateConfig, ClusterConfig, Listen, ServerConfig } from "../cutover/server-settings.ts";
import type { FileFinding } from "../pipeline/file-finding.ts";
import { refuses } from "../pipeline/file-finding.ts";
import { readYaml } from "../pipeline/yaml-file.ts";
import { serverConfigFile } from "./server-config-file.ts";

export type ServerConfigOptions = {
  readonly text: string;
  /** For places, and what relative paths are relative to. */
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `--data-dir`, which wins over the file. */
  readonly dataDir: string | null;
};

export type ServerConfigResult = { readonly config: ServerConfig | null; readonly findings: readonly FileFinding[] };

/** Every finding at once, each with place and remedy. The configuration is there where none of them is an error. */
export function readServerConfig(options: ServerConfigOptions): ServerConfigResult {
  const folder = dirname(resolve(options.file));
  const { value, findings, locate } = readYaml(
    serverConfigFile({ env: options.env, readFile: (path) => readFileSync(resolve(folder, path), "utf8") }),
    options.text,
    options.file,
  );
  if (value === null) return { config: null, findings };
  const dataDir = dataDirOf(options.dataDir, value.data_dir, folder);
  const listen: Listen =
    "tcp" in value.listen
      ? { kind: "tcp", ...value.listen.tcp }
      : { kind: "unix", path: resolve(folder, value.listen.unix ?? resolve(dataDir, "dray.sock")) };
  const config: ServerConfig = {
    dataDir,
    listen,
    tokens: Object.entries(value.tokens).map(([name, token]) => ({ name, ...token })),
    clusters: value.clusters,
    log: value.log,
    adapters: value.adapters,
    probes: value.probes,
    allowedHosts: value.allowed_hosts,
    alarm: value.alarm ?? null,
    keepAppliedMs: value.log_keep === "all" ? Number.POSITIVE_INFINITY : value.log_keep.applied_s * 1000,
    verifySharePercent: value.verify_share_percent,
    heartbeatMs: value.heartbeat_ms,
    leaseMs: value.lease_ms,
  };
  const across = [...checkAcross(config, locate)];
  return { config: refuses(across) ? null : config, findings: across };
}

/** Where nothing is said it is the folder that the commands look in too, whatever folder the file lies in. */
function dataDirOf(option: string | null, field: string | undefined, folder: string): string {
  if (option !== null) return resolve(option);
  return field === undefined ? resolve("dray-data") : resolve(folder, field);
}

type Locate = (path: readonly PropertyKey[]) => string;

function* checkAcross(config: ServerConfig, locate: Locate): Iterable<FileFinding> {
  yield* checkListen(config, locate);
  for (const [name, cluster] of Object.entries(config.clusters)) {
    if (cluster.tls?.verify === false) yield unverified(locate(["clusters", name, "tls", "verify"]));
    yield* checkCandidates(name, cluster, locate);
  }
  if (config.log.kind === "kafka") {
    if (config.log.tls?.verify === false) yield unverified(locate(["log", "tls", "verify"]));
    if (config.log.sasl !== null && config.log.tls === null) {
      yield warning(
        locate(["log", "sasl"]),
        "the password goes over the network in the clear",
        "Add `tls` to the log.",
      );
    }
  }
  const called: [readonly PropertyKey[], string][] = [];
  for (const [name, adapter] of Object.entries(config.adapters)) {
    if (adapter.kind === "http") called.push([["adapters", name, "url"], adapter.url]);
    else if (config.clusters[adapter.cluster] === undefined) {
      const known = Object.keys(config.clusters).join(", ");
      const place = locate(["adapters", name, "cluster"]);
      yield error(place, `\`adapters.${name}.cluster\`: no cluster is called ${adapter.cluster}`, `Known: ${known}.`);
    }
  }
  for (const [name, probe] of Object.entries(config.probes)) {
    if (probe.kind === "http") called.push([["probes", name, "url"], probe.url]);
  }
  if (config.alarm !== null) called.push([["alarm", "url"], config.alarm.url]);
  for (const [path, url] of called) {
    if (hostAllowed(url, config.allowedHosts)) continue;
    const { hostname } = new URL(url);
    const remedy = `Add ${hostname} to \`allowed_hosts\` if dray may talk to it.`;
    yield error(locate(path), `\`${path.map(String).join(".")}\`: the host ${hostname} is not allowed`, remedy);
  }
}

/** C6: a server that is confirmed by asking itself would confirm nothing. */
function* checkCandidates(name: string, cluster: ClusterConfig, locate: Locate): Iterable<FileFinding> {
  const text = ({ host, port }: CandidateConfig) => `${host.toLowerCase()}:${port}`;
  const told = new Map([[text(cluster), "the cluster's own server"]]);
  for (const [i, candidate] of cluster.candidates.entries()) {
    const twice = told.get(text(candidate));
    told.set(text(candidate), "named twice");
    if (twice === undefined) continue;
    const message = `\`clusters.${name}.candidates.${i}\`: ${text(candidate)} is ${twice}`;
    yield error(locate(["clusters", name, "candidates", i]), message, "Name each replica that may take over once.");
  }
}

/** Of a socket's path, in bytes: what sockaddr_un holds less its ending zero. */
const LONGEST_SOCKET_PATH = 103;

function* checkListen({ listen }: ServerConfig, locate: Locate): Iterable<FileFinding> {
  if (listen.kind === "unix") {
    if (Buffer.byteLength(listen.path) <= LONGEST_SOCKET_PATH) return;
    const message = `the socket's path is longer than the ${LONGEST_SOCKET_PATH} bytes that systems take: ${listen.path}`;
    yield error(
      locate(["listen"]),
      message,
      "Set `listen: {unix: PATH}` to a shorter one, or use a shorter --data-dir.",
    );
  } else if (!["localhost", "127.0.0.1", "::1"].includes(listen.host)) {
    const message = "tokens go over the network in the clear";
    yield warning(locate(["listen", "tcp", "host"]), message, "Listen on 127.0.0.1 behind a proxy that speaks TLS.");
  }
}

function unverified(place: string): FileFinding {
  return warning(
    place,
    "the server's certificate is not verified",
    "Set `ca` to the authority's file and remove `verify`.",
  );
}

function error(place: string, message: string, remedy: string): FileFinding {
  return { severity: "error", place, message, remedy };
}

function warning(place: string, message: string, remedy: string): FileFinding {
  return { severity: "warning", place, message, remedy };
}
