import { z } from "zod";
import type { LogLine } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";

export default command({
  name: "log",
  summary: "The entries of a lane: headers, and with --bodies the rows (role admin; written into the journal).",
  options: z.object({
    move: moveArgument,
    lane: z.string().optional().describe("Where the move has several lanes"),
    after: z.coerce.number().int().min(0).default(0).describe("Only entries above this seq"),
    limit: z.coerce.number().int().min(1).max(10_000).default(100).describe("At most so many"),
    bodies: z.boolean().default(false).describe("The rows too"),
  }),
  flags: { move: "<move>", lane: "--lane <lane>", after: "--after <seq>", limit: "--limit <n>", bodies: "--bodies" },
  async run({ api, json }, { move, lane, after, limit, bodies }) {
    const query = new URLSearchParams({ after: String(after), limit: String(limit), bodies: bodies ? "yes" : "no" });
    if (lane !== undefined) query.set("lane", lane);
    const entries: LogLine[] = [];
    const lines: string[] = [];
    for await (const entry of api.lines<LogLine>("GET", movePath(move, `/log?${query}`))) {
      if (json) entries.push(entry);
      else lines.push(lineOf(entry), ...(entry.body === null ? [] : [`    ${JSON.stringify(entry.body)}`]));
    }
    return { lines, json: entries, next: [`dray status ${move}`] };
  },
});

function lineOf(entry: LogLine): string {
  const tables = Object.entries(entry.tables).map(([table, counts]) => `${table} ${counts}`);
  const at = new Date(entry.committedAtMs).toISOString();
  return `${entry.seq}  ${at}  ${entry.kind}  ${tables.join(", ")}  ${entry.storedBytes} B  ${entry.position}`;
}
