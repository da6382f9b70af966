import { z } from "zod";
import type { JournalEntry } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveArgument, movePath } from "./move-argument.ts";

const LONGEST_FACTS = 600;

export default command({
  name: "journal",
  summary: "What happened to the move, who did it, and when.",
  options: z.object({
    move: moveArgument,
    after: z.coerce.number().int().min(0).default(0).describe("Only entries above this number"),
  }),
  flags: { move: "<move>", after: "--after <seq>" },
  async run({ api }, { move, after }) {
    const entries = await api.get<readonly JournalEntry[]>(movePath(move, `/journal?after=${after}`));
    const lines = entries.map((entry) => {
      const facts = Object.keys(entry.facts).length > 0 ? `  ${shortened(JSON.stringify(entry.facts))}` : "";
      const way = entry.from === entry.to ? entry.to : `${entry.from || "nothing"} -> ${entry.to}`;
      return `${entry.seq}  ${new Date(entry.atMs).toISOString()}  ${entry.event}  ${way}  by ${entry.by}${facts}`;
    });
    return { lines, json: entries, next: [`dray status ${move}`] };
  },
});

/** What a gate or preflight found fills a screen. */
function shortened(facts: string): string {
  return facts.length <= LONGEST_FACTS ? facts : `${facts.slice(0, LONGEST_FACTS)}… (--json has all)`;
}
