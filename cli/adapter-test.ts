import { z } from "zod";
import type { AdapterReport } from "../cutover/move-service.ts";
import { command, EXIT } from "./command.ts";

export default command({
  name: "adapter test",
  summary: "Tries every promise that a cutover relies on, with a tenant that nobody uses.",
  options: z.object({
    adapter: z.string().min(1).describe("The URL, or the name, of an http adapter of the server configuration"),
    tenant: z.string().min(1).describe("A tenant that the adapter knows and nobody uses: it is fenced and routed"),
    to: z.string().min(1).describe("The cluster where that tenant lives"),
  }),
  flags: { adapter: "<url>", tenant: "--tenant <key>", to: "--to <cluster>" },
  async run({ api }, body) {
    const again = `dray adapter test ${body.adapter} --tenant ${body.tenant} --to ${body.to}`;
    const report = await api.post<AdapterReport>("/v1/adapters/test", body);
    const lines = report.checks.flatMap((check) => {
      const line = `${check.verdict === "passed" ? "passed" : "FAILED"}  ${check.id}: ${check.finding} (${check.rule})`;
      return check.remedy === null ? [line] : [line, `        ${check.remedy}`];
    });
    const summary = report.passed ? "the adapter keeps every promise" : "the adapter is not safe to cut over with";
    return {
      lines: [...lines, summary],
      json: report,
      next: report.passed ? ["dray preflight"] : [again],
      exitCode: report.passed ? EXIT.done : EXIT.failed,
    };
  },
});
