import { z } from "zod";
import type { ActionResult } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { actionResult } from "./render-status.ts";

export default command({
  name: "recopy",
  summary: "Copies a table again, or every table.",
  options: z.object({
    move: moveArgument,
    table: z.string().optional().describe("SCHEMA.TABLE at the source; every table where absent"),
  }),
  flags: { move: "<move>", table: "--table <table>" },
  async run({ api }, { move, table }) {
    return actionResult(await api.post<ActionResult>(movePath(move, "/recopy"), { table: table ?? null }));
  },
});
