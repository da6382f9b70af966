import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
} from "yaml";
import { z } from "zod";
import type { FileFinding } from "./file-finding.ts";
import { nearest } from "./nearest.ts";

export type YamlPath = readonly PropertyKey[];

export type YamlFile<T> = {
  /** Null where a finding is an error. */
  readonly value: T | null;
  readonly findings: readonly FileFinding[];
  /** `file:line:column` of what stands there, or of the nearest thing around it. */
  readonly locate: (path: YamlPath) => string;
};

type Issue = z.core.$ZodIssue;
type JsonSchema = { readonly [name: string]: unknown };

/**
 * Reads a YAML file by its schema and tells everything that is wrong with it at once, each with its place and what to
 * do; a field that is not known is refused with the nearest that is. A value is never repeated: it may be a secret (K5).
 */
export function readYaml<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  file: string,
): YamlFile<z.output<Schema>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const locate = (path: YamlPath): string => place(offsetOf(document, path));
  if (document.errors.length > 0) {
    const findings = document.errors.map((error) => ({
      severity: "error" as const,
      place: place(error.pos[0]),
      message: error.message,
      remedy: "Mend the YAML there.",
    }));
    return { value: null, findings, locate };
  }
  const data: unknown = document.toJS() ?? {};
  const parsed = schema.safeParse(data);
  if (parsed.success) return { value: parsed.data, findings: [], locate };
  const shape = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema;
  const findings = parsed.error.issues.flatMap((issue) => describe(issue, shapesAt(shape, data, issue.path)));
  return { value: null, findings: findings.map(({ path, ...rest }) => ({ ...rest, place: locate(path) })), locate };
}

type PathFinding = Omit<FileFinding, "place"> & { readonly path: YamlPath };

function describe(issue: Issue, shapes: readonly JsonSchema[]): PathFinding[] {
  const error = (path: YamlPath, message: string, remedy: string): PathFinding => {
    return { severity: "error", path, message, remedy };
  };
  const { path } = issue;
  const at = path.length === 0 ? "the file" : `\`${text(path)}\``;
  const description = shapes.map((shape) => shape["description"]).find((found) => typeof found === "string") ?? null;
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = shapes.flatMap((shape) => Object.keys(shape["properties"] ?? {}));
      return issue.keys.map((key) => {
        const meant = nearest(key, known);
        const remedy =
          meant === null ? `Known here: ${known.join(", ")}.` : `Did you mean \`${meant}\`? Else remove it.`;
        return error([...path, key], `unknown field \`${text([...path, key])}\``, remedy);
      });
    }
    case "invalid_union": {
      const constants = shapes.flatMap((shape) => shape["const"] ?? []);
      if (constants.length > 0) return [error(path, `${at} is not known`, `One of: ${constants.join(", ")}.`)];
      return [error(path, `${at} has none of the known forms`, `${description ?? "See the JSON schema"}.`)];
    }
    case "invalid_key":
      return [error(path, `${at}: ${issue.issues[0]?.message ?? "the name is not allowed"}`, "Choose another name.")];
    case "custom": {
      const remedy = issue.params?.["remedy"];
      return [error(path, `${at}: ${issue.message}`, String(remedy ?? `${description ?? "Mend it there"}.`))];
    }
    default: {
      const explained = description === null ? "" : `: ${description}`;
      const missing = issue.code === "invalid_type" && issue.message.endsWith("received undefined");
      if (missing) return [error(path, `${at} is missing`, `Add \`${String(path.at(-1))}\`${explained}.`)];
      return [error(path, `${at}: ${issue.message}`, `Mend it${explained}.`)];
    }
  }
}

function text(path: YamlPath): string {
  return path.map(String).join(".");
}

/** The JSON schemas of what a path leads to: several where the file does not say which of several forms it means. */
function shapesAt(shape: JsonSchema, data: unknown, path: YamlPath): readonly JsonSchema[] {
  let shapes: readonly JsonSchema[] = [shape];
  let here: unknown = data;
  for (const part of path) {
    const entry = here;
    shapes = shapes.flatMap((candidate) => formsOf(candidate, entry)).flatMap((form) => step(form, part));
    here = isRecord(here) ? here[String(part)] : undefined;
  }
  return shapes.flatMap((candidate) =>
    candidate["description"] === undefined ? formsOf(candidate, here) : [candidate, ...formsOf(candidate, here)],
  );
}

function step(shape: JsonSchema, part: PropertyKey): readonly JsonSchema[] {
  const named = (shape["properties"] as Record<string, JsonSchema> | undefined)?.[String(part)];
  if (named !== undefined) return [named];
  const others = typeof part === "number" ? shape["items"] : shape["additionalProperties"];
  return isRecord(others) ? [others] : [];
}

/** Alternatives, less those whose `kind` is another than the file's. */
function formsOf(shape: JsonSchema, data: unknown): readonly JsonSchema[] {
  const forms = (shape["anyOf"] ?? shape["oneOf"]) as readonly JsonSchema[] | undefined;
  if (forms === undefined) return [shape];
  const kind = isRecord(data) ? data["kind"] : undefined;
  const meant = forms.filter((form) => {
    const properties = form["properties"] as Record<string, JsonSchema> | undefined;
    return kind !== undefined && properties?.["kind"]?.["const"] === kind;
  });
  return meant.length > 0 ? meant : forms;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Of the key where there is one: that is what a person looks for. Falls back to what is around a thing that is absent. */
function offsetOf(document: Document, path: YamlPath): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? start(node) : 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair: unknown = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part),
      );
      if (!isPair(pair)) return offset;
      if (isNode(pair.key)) offset = start(pair.key);
      node = pair.value;
    } else if (isCollection(node) && typeof part === "number") {
      node = node.items[part];
      if (!isNode(node)) return offset;
      offset = start(node);
    } else return offset;
  }
  return offset;
}

function start(node: Node): number {
  return node.range?.[0] ?? 0;
}
