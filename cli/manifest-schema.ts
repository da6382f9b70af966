import { z } from "zod";
import { command } from "./command.ts";
import { jsonSchemas } from "./serve.ts";

export default command({
  name: "manifest schema",
  summary: "The manifest's JSON schema, for editors.",
  options: z.object({}),
  flags: {},
  async run() {
    const { manifest } = await jsonSchemas();
    return { lines: [JSON.stringify(manifest, null, 2)], json: manifest, next: [] };
  },
});
