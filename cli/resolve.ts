import { z } from "zod";
import type { ActionResult } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { actionResult } from "./render-status.ts";
import { UsageError } from "./usage-error.ts";

export default command({
  name: "resolve",
  summary: "Says who owns the tenant, where only a person can know: read the routing by hand first.",
  options: z.object({
    move: moveArgument,
    owner: z.enum(["from", "to"]).describe("from: the source serves the tenant; to: the target does"),
    confirm: z.string().optional().describe("The move's name, where there is no terminal to type it in"),
  }),
  flags: { move: "<move>", owner: "--owner <side>", confirm: "--confirm <move>" },
  async run({ api, terminal }, { move, owner, confirm }) {
    let typed = confirm;
    if (typed === undefined && terminal.interactive) {
      terminal.say(
        `The tenant of ${move} will be taken to live at its \`${owner}\`. If that is wrong, writes are lost.`,
      );
      typed = await terminal.ask("Type the move's name to go on: ");
    }
    if (typed !== move) throw new UsageError("resolve needs the move's name typed again, or --confirm <move>");
    return actionResult(await api.post<ActionResult>(movePath(move, "/resolve"), { owner, confirm: typed }));
  },
});
