import { z } from "zod";
import type { CutoverResult, MoveEvent, MoveStatus } from "../cutover/move-service.ts";
import { type Command, type CommandContext, command } from "./command.ts";
import { requirePerson, typeName } from "./confirm.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { cutoverExit, cutoverLines, eventLine, gateLines } from "./render-cutover.ts";

type Line = MoveEvent | { readonly type: "result"; readonly result: CutoverResult };

/** A cutover and a rollback are the same with the roles swapped. */
export function switchCommand(name: "cutover" | "rollback", summary: string): Command {
  return command({
    name,
    summary,
    options: z.object({
      move: moveArgument,
      dryRun: z.boolean().default(false).describe("Asks the gate and changes nothing"),
      maxLagSeconds: z.coerce
        .number()
        .positive()
        .optional()
        .describe("No fence above this lag; the manifest's where absent"),
      maxPauseSeconds: z.coerce
        .number()
        .positive()
        .optional()
        .describe("The whole pause at most; past it the attempt is aborted"),
      acceptUnverified: z
        .boolean()
        .default(false)
        .describe("Goes ahead though rows were not compared; journalled, and said in every later line about the move"),
      yes: z.boolean().default(false).describe("Goes ahead without asking"),
    }),
    flags: {
      move: "<move>",
      dryRun: "--dry-run",
      maxLagSeconds: "--max-lag <seconds>",
      maxPauseSeconds: "--max-pause <seconds>",
      acceptUnverified: "--accept-unverified",
      yes: "--yes",
    },
    async run(context, { move, dryRun, maxLagSeconds, maxPauseSeconds, acceptUnverified, yes }) {
      const limits = {
        maxLagSeconds: maxLagSeconds ?? null,
        maxPauseMs: maxPauseSeconds === undefined ? null : maxPauseSeconds * 1000,
        acceptUnverified,
      };
      if (!dryRun && !yes) await confirm(context, name, move, limits);
      const result = await call(context, name, move, { dryRun, ...limits });
      return { lines: cutoverLines(result), json: result, next: result.status.next, exitCode: cutoverExit(result) };
    },
  });
}

type Limits = {
  readonly maxLagSeconds: number | null;
  readonly maxPauseMs: number | null;
  readonly acceptUnverified: boolean;
};

/** The gate is shown before the question, and asked again by the cutover itself. */
async function confirm(context: CommandContext, name: string, move: string, limits: Limits): Promise<void> {
  const { api, terminal } = context;
  requirePerson(terminal, name);
  const status = await api.get<MoveStatus>(movePath(move));
  const dry = await call(context, name, move, { dryRun: true, ...limits });
  for (const line of gateLines(dry.gate)) terminal.say(line);
  const [at, then] = name === "cutover" ? [status.from, status.to] : [status.to, status.from];
  terminal.say(`${move}: tenant ${status.tenant} is fenced at ${at} and then served by ${then}.`);
  terminal.say(`verification: ${status.verification}; rollback: ${status.rollback}`);
  await typeName(terminal, move);
}

type Body = Limits & { readonly dryRun: boolean };

/** Each step is said as it happens: they take milliseconds, and a line that stays tells more than one that moves. */
async function call(
  { api, json, terminal }: CommandContext,
  name: string,
  move: string,
  body: Body,
): Promise<CutoverResult> {
  for await (const line of api.lines<Line>("POST", movePath(move, `/${name}`), { ...body })) {
    if (line.type === "result") return line.result;
    const text = body.dryRun || json ? null : eventLine(line);
    if (text !== null) terminal.say(text);
  }
  throw new Error("the server's answer ended before the cutover did; `dray status` shows how it goes on");
}
