import { z } from "zod";
import type { ActionResult } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { actionResult } from "./render-status.ts";

type Closed = ActionResult & { readonly sql: readonly string[] };

export default command({
  name: "close",
  summary: "Releases the lanes of a move that is done, and prints the SQL that would remove the source's rows.",
  options: z.object({ move: moveArgument }),
  flags: { move: "<move>" },
  async run({ api }, { move }) {
    const closed = await api.post<Closed>(movePath(move, "/close"));
    const result = actionResult(closed);
    const sql = closed.sql.length === 0 ? [] : ["The source's rows are left; this would remove them:", ...closed.sql];
    return { ...result, lines: [...result.lines, ...sql], json: closed };
  },
});
