/** What of a JSON schema the configuration reference shows. */
export type SchemaNode = {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minItems?: number;
};

type Row = { readonly field: string; readonly type: string; readonly without: string; readonly meaning: string };

/** A file's JSON schema as a Markdown table: one row a field that can be written, in the file's order. */
export function configTable(schema: SchemaNode): string {
  const rows = fieldsOf(schema, "");
  const lines = rows.map(({ field, type, without, meaning }) => `| \`${field}\` | ${type} | ${without} | ${meaning} |`);
  return ["| field | what it is | if absent | meaning |", "|---|---|---|---|", ...lines].join("\n");
}

function fieldsOf(node: SchemaNode, path: string): Row[] {
  const variants = node.anyOf ?? node.oneOf;
  if (variants !== undefined) return variants.flatMap((variant) => variantFields(variant, path));
  if (node.items !== undefined) return fieldsOf(node.items, `${path}[]`);
  if (typeof node.additionalProperties === "object") return namedFields(node.additionalProperties, `${path}.NAME`);
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    if (name === "kind" && child.const !== undefined && path.endsWith(")")) return [];
    const field = path === "" ? name : `${path}.${name}`;
    return [
      rowOf(field, child, node.required?.includes(name) === true && child.default === undefined),
      ...fieldsOf(child, field),
    ];
  });
}

/** Of a record every entry looks alike; it has a row of its own where there is something to say about it. */
function namedFields(entry: SchemaNode, path: string): Row[] {
  const below = fieldsOf(entry, path);
  return below.length === 0 || entry.description !== undefined ? [rowOf(path, entry, false), ...below] : below;
}

/** Variants with a `kind` are told apart by it; others by the fields they have, of which one set is needed. */
function variantFields(variant: SchemaNode, path: string): Row[] {
  const kind = variant.properties?.["kind"]?.const;
  if (typeof kind === "string") return fieldsOf(variant, `${path} (${kind})`);
  const own = new Set(Object.keys(variant.properties ?? {}).map((name) => `${path}.${name}`));
  return fieldsOf(variant, path).map((row) => (own.has(row.field) ? { ...row, without: "one of these" } : row));
}

function rowOf(field: string, node: SchemaNode, needed: boolean): Row {
  const without = needed ? "needed" : node.default === undefined ? "" : `\`${cell(JSON.stringify(node.default))}\``;
  return { field, type: typeOf(node), without, meaning: cell(node.description ?? "") };
}

function typeOf(node: SchemaNode): string {
  if (node.const !== undefined) return `\`${cell(JSON.stringify(node.const))}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${String(value)}\``).join(", ");
  if (node.anyOf !== undefined || node.oneOf !== undefined) return "one of";
  if (node.type === "array") return node.items?.type === "string" ? "list of texts" : "list";
  if (node.type === "object") return typeof node.additionalProperties === "object" ? "by name" : "fields";
  if (node.type === "integer" || node.type === "number") return numberType(node);
  if (node.type === "boolean") return "`true`, `false`";
  return node.type === "string" ? "text" : (node.type ?? "any");
}

function numberType(node: SchemaNode): string {
  const word = node.type === "integer" ? "whole number" : "number";
  const most = node.maximum === undefined || node.maximum === Number.MAX_SAFE_INTEGER ? null : node.maximum;
  const least = node.minimum === undefined || node.minimum === Number.MIN_SAFE_INTEGER ? null : node.minimum;
  if (node.exclusiveMinimum !== undefined) return `${word} above ${node.exclusiveMinimum}`;
  if (least !== null && most !== null) return `${word}, ${least} to ${most}`;
  return least === null ? word : `${word}, ${least} or more`;
}

/** A bar would end the cell. */
export function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
