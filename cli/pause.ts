import { z } from "zod";
import type { ActionResult } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { actionResult } from "./render-status.ts";

export default command({
  name: "pause",
  summary: "Stops copy and apply; capture goes on.",
  options: z.object({ move: moveArgument }),
  flags: { move: "<move>" },
  async run({ api }, { move }) {
    return actionResult(await api.post<ActionResult>(movePath(move, "/pause")));
  },
});
