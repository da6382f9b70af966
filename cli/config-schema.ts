import { z } from "zod";
import { command } from "./command.ts";
import { jsonSchemas } from "./serve.ts";

export default command({
  name: "config schema",
  summary: "The server configuration's JSON schema, for editors.",
  options: z.object({}),
  flags: {},
  async run() {
    const { config } = await jsonSchemas();
    return { lines: [JSON.stringify(config, null, 2)], json: config, next: [] };
  },
});
