import { writeFileSync } from "node:fs";
import { z } from "zod";
import type { FileFinding } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { UsageError } from "./usage-error.ts";

type Answer = { readonly manifest: string; readonly findings: readonly FileFinding[] };

export default command({
  name: "manifest init",
  summary: "Writes a manifest from a live schema; what names and keys do not show is left to you as a comment.",
  options: z.object({
    cluster: z.string().min(1).describe("The cluster to look at"),
    schema: z.string().min(1).describe("Its schema; several with commas between them"),
    out: z.string().min(1).optional().describe("The file to write; stdout where absent"),
  }),
  flags: { cluster: "--cluster <cluster>", schema: "--schema <schema>", out: "--out <file>" },
  async run({ api }, { cluster, schema, out }) {
    const schemas = schema.split(",").map((name) => name.trim());
    const answer = await api.post<Answer>("/v1/manifests/init", { cluster, schemas });
    if (out === undefined) return { lines: [answer.manifest.trimEnd()], json: answer, next: [] };
    try {
      // Never over a manifest that somebody has worked on.
      writeFileSync(out, answer.manifest, { flag: "wx" });
    } catch (error) {
      const why = error instanceof Error && "code" in error ? String(error.code) : String(error);
      throw new UsageError(`${out} cannot be written (${why})`);
    }
    const next = [`decide what ${out} marks with DECIDE`, `dray manifest check --manifest ${out} --cluster ${cluster}`];
    return { lines: [`wrote ${out}`], json: answer, next };
  },
});
