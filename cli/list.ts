import { z } from "zod";
import type { MoveStatus } from "../cutover/move-service.ts";
import { command } from "./command.ts";

export default command({
  name: "list",
  summary: "Every move of this server.",
  options: z.object({}),
  flags: {},
  async run({ api }) {
    const moves = await api.get<readonly MoveStatus[]>("/v1/moves");
    const lines = moves.map((move) => {
      const alarms = move.alarms.length > 0 ? `  ALARM ${move.alarms.map((alarm) => alarm.code).join(", ")}` : "";
      return `${move.move}  ${move.phase}  ${move.from} -> ${move.to}${alarms}`;
    });
    const next = moves.length === 0 ? ["dray manifest init", "dray preflight"] : ["dray status <move>", "dray start"];
    return { lines: moves.length === 0 ? ["no moves"] : lines, json: moves, next };
  },
});
