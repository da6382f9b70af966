import { z } from "zod";
import type { ActionResult } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";
import { actionResult } from "./render-status.ts";

export default command({
  name: "skip",
  summary: "Leaves out one entry that cannot be applied; its table must then be copied again before a cutover.",
  options: z.object({
    move: moveArgument,
    seq: z.coerce.number().int().min(1).describe("The entry's number, as the problem names it"),
    lane: z.string().optional().describe("Where the move has several lanes"),
  }),
  flags: { move: "<move>", seq: "--seq <number>", lane: "--lane <lane>" },
  async run({ api }, { move, seq, lane }) {
    return actionResult(await api.post<ActionResult>(movePath(move, "/skip"), { seq, lane: lane ?? null }));
  },
});
