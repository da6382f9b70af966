import { z } from "zod";
import type { FinishResult, FinishStatus, MoveEvent, MoveStatus } from "../cutover/move-service.ts";
import { type CommandContext, type CommandResult, command, EXIT } from "./command.ts";
import { requirePerson, typeName } from "./confirm.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { gateLines } from "./render-cutover.ts";
import { UsageError } from "./usage-error.ts";

const HEADLINE: Readonly<Record<FinishResult["outcome"], string>> = {
  begun: "begun",
  refused: "refused; nothing has happened",
  "would-run": "can be finished; nothing has happened (dry run)",
};

export default command({
  name: "finish",
  summary: "Removes the source's rows of a tenant that has moved, and all that Drayage keeps of the move.",
  options: z.object({
    move: moveArgument,
    dryRun: z.boolean().default(false).describe("Asks and counts, and changes nothing"),
    now: z.boolean().default(false).describe("Before the retention is over; needs --tenant"),
    tenant: z.string().optional().describe("The tenant, typed again, for --now"),
    acceptUnverified: z
      .boolean()
      .default(false)
      .describe("Goes ahead where the sides cannot be compared, or differ; journalled"),
    yes: z.boolean().default(false).describe("Goes ahead without asking"),
  }),
  flags: {
    move: "<move>",
    dryRun: "--dry-run",
    now: "--now",
    tenant: "--tenant <tenant>",
    acceptUnverified: "--accept-unverified",
    yes: "--yes",
  },
  async run(context, { move, dryRun, now, tenant, acceptUnverified, yes }) {
    if (now && tenant === undefined && !dryRun) throw new UsageError("finish --now needs the tenant: --tenant TENANT");
    const { api } = context;
    const status = dryRun ? await api.get<MoveStatus>(movePath(move)) : null;
    const named = tenant ?? status?.tenant ?? null;
    const ask = (isDry: boolean) =>
      api.post<FinishResult>(movePath(move, "/finish"), { dryRun: isDry, now, tenant: named, acceptUnverified });
    if (!dryRun && !yes) await confirm(context, move, await ask(true));
    const result = await ask(dryRun);
    if (result.outcome !== "begun") return said(result);
    for (const line of resultLines(result)) context.terminal.say(line);
    return await follow(context, move);
  },
});

function said(result: FinishResult): CommandResult {
  const exitCode = result.outcome === "refused" ? EXIT.refused : EXIT.done;
  return { lines: resultLines(result), json: result, next: result.status.next, exitCode };
}

function resultLines({ status, outcome, gate, rows }: FinishResult): string[] {
  const counted =
    rows === null
      ? ["  the source's rows cannot be counted now"]
      : Object.entries(rows).map(([table, count]) => `  ${String(count).padStart(12)} rows of ${table} at the source`);
  return [`${status.move}: ${HEADLINE[outcome]}`, ...gateLines(gate), ...counted];
}

async function confirm({ terminal }: CommandContext, move: string, dry: FinishResult): Promise<void> {
  requirePerson(terminal, "finish");
  for (const line of resultLines(dry)) terminal.say(line);
  if (dry.outcome === "refused") return;
  terminal.say(`${move}: these rows are removed at ${dry.status.from}; there is no rollback afterwards.`);
  await typeName(terminal, move);
}

/** It goes on without us: Ctrl-C ends the telling alone. */
async function follow({ api, terminal, json }: CommandContext, move: string): Promise<CommandResult> {
  let told = "";
  for await (const event of api.lines<MoveEvent>("GET", movePath(move, "/events"))) {
    if (event.type !== "status") continue;
    const { status } = event;
    const words = status.finish === null ? "" : progressWords(status.finish);
    if (words !== told && !json) terminal.say(`  ${words}`);
    told = words;
    if (status.phase !== "finishing") return ended(status);
  }
  throw new Error("the server's answer ended before the move was finished; `dray status` shows how it goes on");
}

function progressWords({ stage, rowsRemoved, reason }: FinishStatus): string {
  const rows = Object.values(rowsRemoved).reduce((sum, each) => sum + each, 0);
  const removed = stage === "comparing" ? "" : `, ${rows} rows removed`;
  return `${stage}${removed}${reason === null ? "" : ` (${reason})`}`;
}

function ended(status: MoveStatus): CommandResult {
  const { finish } = status;
  const isDone = status.phase === "finished";
  const left = finish?.left ?? [];
  const rowsLeft = Object.values(finish?.rowsLeft ?? {}).reduce((sum, each) => sum + each, 0);
  const lines = [
    `${status.move}: ${isDone ? "finished" : "not finished; nothing was removed"}`,
    ...(finish === null ? [] : [`  ${progressWords(finish)}`]),
    ...(left.length === 0
      ? []
      : [
          `  ${rowsLeft} rows appeared behind the fence and are left:`,
          ...left.map((row) => `    ${row}`),
          ...(rowsLeft > left.length ? [`    and ${rowsLeft - left.length} more`] : []),
        ]),
    `  verification: ${status.verification}; rollback: ${status.rollback}`,
  ];
  return { lines, json: status, next: status.next, exitCode: isDone ? EXIT.done : EXIT.refused };
}
