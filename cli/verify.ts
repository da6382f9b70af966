import { z } from "zod";
import type { ActionResult, VerificationReport } from "../cutover/move-service.ts";
import { type CommandContext, command, EXIT } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { isUnderWay, verificationExit, verificationLines } from "./render-verification.ts";
import { UsageError } from "./usage-error.ts";

const LOOK_EVERY_MS = 500;

export default command({
  name: "verify",
  summary: "Compares source and target row by row at exact places of the log, while both go on.",
  options: z.object({
    move: moveArgument,
    table: z.string().optional().describe("SCHEMA.TABLE at the source; every table where absent"),
    watch: z.boolean().default(false).describe("Until everything is compared; exit code 1 where rows differ"),
    repair: z.boolean().default(false).describe("Copies again the ranges of rows that were found to differ"),
    showValues: z.boolean().default(false).describe("The differing values on both sides (role admin, journalled)"),
  }),
  flags: {
    move: "<move>",
    table: "--table <table>",
    watch: "--watch",
    repair: "--repair",
    showValues: "--show-values",
  },
  async run(context, { move, table, watch, repair, showValues }) {
    if (repair && table !== undefined) throw new UsageError("--repair is of every difference: leave --table away");
    const { api } = context;
    const begun = showValues
      ? null
      : await api.post<ActionResult>(movePath(move, "/verify"), { table: table ?? null, repair });
    const report = watch ? await untilCompared(context, move) : await read(context, move, showValues);
    const lines = [...(begun === null ? [] : [begun.done]), ...verificationLines(report)];
    const next = isUnderWay(report)
      ? [`dray verify ${move} --watch`]
      : verificationExit(report) !== EXIT.done
        ? [`dray verify ${move} --repair`, `dray verify ${move} --show-values`]
        : [`dray cutover ${move} --dry-run`];
    return { lines, json: report, next, exitCode: verificationExit(report) };
  },
});

async function untilCompared(context: CommandContext, move: string): Promise<VerificationReport> {
  const { terminal, json, signal } = context;
  for (;;) {
    const report = await read(context, move, false);
    if (!isUnderWay(report)) return report;
    if (!json) for (const line of verificationLines(report)) terminal.say(line);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    signal.throwIfAborted();
  }
}

function read({ api }: CommandContext, move: string, showValues: boolean): Promise<VerificationReport> {
  return api.get<VerificationReport>(movePath(move, `/verification${showValues ? "?values=yes" : ""}`));
}
