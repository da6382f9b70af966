import type { FileFinding } from "./file-finding.ts";
import { refuses } from "./file-finding.ts";
import type { LiveTable } from "./live-schema.ts";
import { type Manifest, type ManifestSchema, manifestFile } from "./manifest.ts";
import { guessBelonging, tableLine } from "./manifest-init.ts";
import { nearest } from "./nearest.ts";
import { readYaml, type YamlPath } from "./yaml-file.ts";

export type ManifestText = { readonly text: string; readonly file: string };

export type ReadManifest = {
  /** Null where a finding is an error. */
  readonly manifest: Manifest | null;
  readonly findings: readonly FileFinding[];
  readonly locate: (path: YamlPath) => string;
};

/** What the server configuration offers to manifests by name. */
export type KnownNames = {
  readonly adapters: Readonly<
    Record<string, { readonly canFence: boolean; readonly canRoute: boolean; readonly enforcedByDatabase: boolean }>
  >;
  readonly probes: readonly string[];
};

/** The file alone: its form, and what contradicts itself in it. */
export function readManifest({ text, file }: ManifestText): ReadManifest {
  const { value, findings, locate } = readYaml(manifestFile, text, file);
  if (value === null) return { manifest: null, findings, locate };
  const own = [...checkItself(value, locate)];
  return { manifest: refuses(own) ? null : value, findings: own, locate };
}

/** The names it uses of the server configuration. */
export function checkNames(manifest: Manifest, known: KnownNames, locate: ReadManifest["locate"]): FileFinding[] {
  const findings: FileFinding[] = [];
  const named = (path: YamlPath, what: string, name: string, offered: readonly string[]): boolean => {
    if (offered.includes(name)) return true;
    const meant = nearest(name, offered);
    const remedy = meant === null ? `Known: ${offered.join(", ") || "none"}.` : `Did you mean \`${meant}\`?`;
    findings.push(error(locate(path), `the server configuration has no ${what} \`${name}\``, remedy));
    return false;
  };
  const adapters = Object.keys(known.adapters);
  manifest.fence.steps.forEach((step, index) => {
    const path = ["fence", "steps", index];
    if (step.kind !== "adapter" || !named([...path, "adapter"], "adapter", step.adapter, adapters)) return;
    if (known.adapters[step.adapter]?.canFence === true) return;
    const remedy = "Give it `fence` and `unfence` statements in the server configuration, or name another.";
    findings.push(error(locate(path), `the adapter \`${step.adapter}\` cannot fence`, remedy));
  });
  manifest.routing.forEach((step, index) => {
    const path = ["routing", index];
    if (!named([...path, "adapter"], "adapter", step.adapter, adapters)) return;
    if (known.adapters[step.adapter]?.canRoute === true) return;
    const remedy = "Give it `route` statements in the server configuration, or name another.";
    findings.push(error(locate(path), `the adapter \`${step.adapter}\` cannot route`, remedy));
  });
  manifest.throttle.forEach((step, index) => {
    named(["throttle", index, "probe"], "probe", step.probe, known.probes);
  });
  const enforced = manifest.fence.steps.some(
    (step) => step.kind === "read-only-schema" || known.adapters[step.adapter]?.enforcedByDatabase === true,
  );
  if (manifest.fence.graceMs === 0 && !enforced) {
    const remedy = "Set it to the longest time the application may act on a stale flag, in ms.";
    findings.push(error(locate(["fence", "grace_ms"]), "0 is only for a fence that the database enforces", remedy));
  }
  return findings;
}

/** T2: against the live schema, every table of it is classified, and what is classified is there. */
export function checkTables(
  manifest: Manifest,
  live: readonly LiveTable[],
  locate: ReadManifest["locate"],
): FileFinding[] {
  const guesses = guessBelonging(live);
  return manifest.stores.flatMap((store) =>
    store.schemas.flatMap((schema) => {
      const path = ["stores", store.name, "schemas", schema.source, "tables"];
      const inSchema = guesses.filter(({ table }) => table.schema === schema.source);
      const classified = new Set(schema.tables.map((table) => table.name));
      const missing = inSchema
        .filter(({ table }) => !classified.has(table.name))
        .map(({ table, guess }) => {
          const message = `table \`${schema.source}.${table.name}\` is not classified`;
          const remedy =
            guess.kind === "unclear"
              ? `Decide and add its line, \`${table.name}: …\`: ${guess.decide}.`
              : `Add the line: ${tableLine(table.name, guess)}`;
          return error(locate(path), message, remedy);
        });
      return [
        ...missing,
        ...checkClassified(
          schema,
          inSchema.map(({ table }) => table),
          (table) => locate([...path, table]),
        ),
      ];
    }),
  );
}

function checkClassified(
  schema: ManifestSchema,
  live: readonly LiveTable[],
  place: (table: string) => string,
): FileFinding[] {
  return schema.tables.flatMap(({ name, belonging }): FileFinding[] => {
    const table = live.find((candidate) => candidate.name === name);
    const id = `${schema.source}.${name}`;
    if (table === undefined) {
      const names = live.map((candidate) => candidate.name);
      const meant = nearest(name, names);
      return [
        error(
          place(name),
          `there is no table \`${id}\``,
          meant === null ? "Remove the line." : `Did you mean \`${meant}\`?`,
        ),
      ];
    }
    if (belonging.kind === "column" && !table.columns.includes(belonging.column)) {
      const meant = nearest(belonging.column, table.columns);
      const remedy = meant === null ? `Its columns: ${table.columns.join(", ")}.` : `Did you mean \`${meant}\`?`;
      return [error(place(name), `table \`${id}\` has no column \`${belonging.column}\``, remedy)];
    }
    if (belonging.kind === "root" && table.primaryKey.length !== 1) {
      const remedy = "A root's primary key is the tenant key alone; use {column: NAME} instead.";
      return [error(place(name), `table \`${id}\` has a primary key of ${table.primaryKey.length} columns`, remedy)];
    }
    return [];
  });
}

function* checkItself(manifest: Manifest, locate: ReadManifest["locate"]): Iterable<FileFinding> {
  const roots: string[] = [];
  let covered = 0;
  for (const store of manifest.stores) {
    const targets = new Map<string, string>();
    for (const schema of store.schemas) {
      const path = ["stores", store.name, "schemas", schema.source];
      const other = targets.get(schema.target.toLowerCase());
      if (other !== undefined) {
        const message = `the schemas \`${other}\` and \`${schema.source}\` have the same target \`${schema.target}\``;
        yield error(locate(path), message, "Give each its own `target`.");
      }
      targets.set(schema.target.toLowerCase(), schema.source);
      for (const table of schema.tables) {
        if (table.belonging.kind === "root") roots.push(`${schema.source}.${table.name}`);
        if (table.belonging.kind === "root" || table.belonging.kind === "column") covered += 1;
        if (roots.length > 1 && table.belonging.kind === "root") {
          const remedy = "Keep the one whose primary key is the tenant key; the others are {column: NAME}.";
          yield error(locate([...path, "tables", table.name]), `there are two roots: ${roots.join(", ")}`, remedy);
        }
      }
    }
    if (covered === 0) {
      const remedy = "Classify at least one table as {root: true} or {column: NAME}.";
      yield error(locate(["stores", store.name]), "no table moves with a tenant", remedy);
    }
  }
  for (const [index, step] of manifest.fence.steps.entries()) {
    if (step.kind !== "read-only-schema") continue;
    const schemas = manifest.stores.flatMap((store) => store.schemas.map((schema) => schema.source));
    if (schemas.includes(step.schema)) continue;
    const path = ["fence", "steps", index, "read_only_schema", "schema"];
    yield error(locate(path), `the manifest has no schema \`${step.schema}\``, `Known: ${schemas.join(", ")}.`);
  }
}

function error(place: string, message: string, remedy: string): FileFinding {
  return { severity: "error", place, message, remedy };
}

/** The file by itself, and the names it uses of a server's configuration; no manifest where either is refused. */
export function readKnown(known: KnownNames, text: string, file: string): ReadManifest {
  const read = readManifest({ text, file });
  if (read.manifest === null) return read;
  const names = checkNames(read.manifest, known, read.locate);
  return { ...read, manifest: refuses(names) ? null : read.manifest, findings: [...read.findings, ...names] };
}
