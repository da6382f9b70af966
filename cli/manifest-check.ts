import { z } from "zod";
import type { FileFinding } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { findingsResult } from "./file-findings.ts";
import { readFile } from "./move-request.ts";

export default command({
  name: "manifest check",
  summary: "Checks a manifest: alone, against the server's names, and against a live schema.",
  options: z.object({
    manifest: z.string().min(1).describe("The manifest"),
    cluster: z
      .string()
      .min(1)
      .optional()
      .describe("Also against this cluster's schema: every table must be classified"),
  }),
  flags: { manifest: "--manifest <file>", cluster: "--cluster <cluster>" },
  async run({ api }, { manifest, cluster }) {
    const body = { manifest: readFile(manifest), manifestFile: manifest, cluster: cluster ?? null };
    const { findings } = await api.post<{ readonly findings: readonly FileFinding[] }>("/v1/manifests/check", body);
    const next =
      cluster === undefined ? [`dray manifest check --manifest ${manifest} --cluster <cluster>`] : ["dray preflight"];
    return findingsResult({ findings, good: `${manifest} is right`, next });
  },
});
