import { z } from "zod";
import type { MoveEvent, MoveStatus } from "../cutover/move-service.ts";
import { type CommandContext, type CommandResult, command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { eventLine } from "./render-cutover.ts";
import { statusExit, statusLines } from "./render-status.ts";

export default command({
  name: "status",
  summary: "Where the move stands, what waits and why, and what can be done next.",
  options: z.object({ move: moveArgument, watch: z.boolean().default(false).describe("Every change as it happens") }),
  flags: { move: "<move>", watch: "--watch" },
  async run(context, { move, watch }) {
    if (watch) return watchMove(context, move);
    const status = await context.api.get<MoveStatus>(movePath(move));
    return { lines: statusLines(status), json: status, next: status.next, exitCode: statusExit(status) };
  },
});

async function watchMove({ api, json, print, terminal, signal }: CommandContext, move: string): Promise<CommandResult> {
  let last: MoveStatus | null = null;
  let drawn = 0;
  try {
    for await (const event of api.lines<MoveEvent>("GET", movePath(move, "/events"))) {
      if (event.type === "status") last = event.status;
      if (json) print(JSON.stringify(event));
      else if (event.type === "status") {
        const lines = statusLines(event.status);
        // On a terminal the last picture is drawn over; elsewhere each follows the one before.
        if (terminal.interactive && drawn > 0) print(`\u001b[${drawn + 1}A\u001b[0J${lines.join("\n")}`);
        else print(lines.join("\n"));
        drawn = lines.length;
      } else {
        const line = eventLine(event);
        if (line !== null) print(line);
        drawn = 0;
      }
    }
  } catch (error) {
    // Ctrl-C is how a watch ends.
    if (!signal.aborted) throw error;
  }
  const exitCode = last === null ? {} : { exitCode: statusExit(last) };
  return { lines: [], json: undefined, next: last?.next ?? [], ...exitCode };
}
