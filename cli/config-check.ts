import { z } from "zod";
import { command } from "./command.ts";
import { findingsResult } from "./file-findings.ts";
import { readFile } from "./move-request.ts";
import { checkConfig } from "./serve.ts";

export default command({
  name: "config check",
  summary: "Checks the server's configuration: fields, names, hosts, and that every secret is set.",
  options: z.object({ config: z.string().min(1).default("dray.yaml").describe("The server's configuration") }),
  flags: { config: "--config <file>" },
  async run({ env }, { config }) {
    const findings = await checkConfig({ text: readFile(config), file: config, env, dataDir: null });
    return findingsResult({ findings, good: `${config} is right`, next: [`dray serve --config ${config}`] });
  },
});
