import { z } from "zod";
import type { MoveStatus } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveLine } from "./render-status.ts";

export default command({
  name: "list",
  summary: "Every move of this server.",
  options: z.object({}),
  flags: {},
  async run({ api }) {
    const moves = await api.get<readonly MoveStatus[]>("/v1/moves");
    const lines = moves.map(moveLine);
    const next = moves.length === 0 ? ["dray manifest init", "dray preflight"] : ["dray status <move>", "dray start"];
    return { lines: moves.length === 0 ? ["no moves"] : lines, json: moves, next };
  },
});
