import { z } from "zod";

/** Pieces that several answers are made of. */

export const facts = z.record(z.string(), z.unknown());

export const alarm = z.object({
  id: z.int(),
  move: z.string(),
  code: z.string(),
  message: z.string(),
  facts,
  raisedAtMs: z.number(),
  times: z.int(),
});

const tableVerification = z.object({
  table: z.string(),
  covered: z.boolean(),
  rowsVerified: z.number(),
  rowsCopied: z.number(),
  dirtyKeys: z.int(),
  differences: z.int(),
  moreDiffer: z.boolean(),
  passUnderWay: z.boolean(),
});
export const verification = tableVerification.omit({ table: true, rowsCopied: true }).extend({
  coverage: z.number(),
  rowsCompared: z.number(),
  tables: z.array(tableVerification),
});

export const difference = z.object({
  lane: z.string(),
  source: z.string(),
  target: z.string(),
  table: z.string(),
  key: z.string(),
  kind: z.enum(["missing", "differing", "extra"]),
  columns: z.array(z.string()).nullable(),
  seq: z.int(),
  foundAtMs: z.number(),
  values: z.record(z.string(), z.object({ source: z.string().nullable(), target: z.string().nullable() })).nullable(),
});

export const finding = z.object({
  id: z.string(),
  severity: z.enum(["error", "warning", "info"]),
  subject: z.string(),
  finding: z.string(),
  remedy: z.string(),
  fixSql: z.array(z.string()).optional(),
  fixOn: z.string().optional(),
  rule: z.string(),
});

export const gate = z.object({
  name: z.string(),
  verdict: z.enum(["yes", "no", "unknown", "accepted", "absent"]),
  value: z.string(),
  limit: z.string().nullable(),
});

export const journalEntry = z.object({
  move: z.string(),
  seq: z.int(),
  atMs: z.number(),
  from: z.string(),
  event: z.string(),
  to: z.string(),
  facts,
  by: z.string(),
});
