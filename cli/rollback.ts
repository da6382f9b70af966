import { switchCommand } from "./switch-command.ts";

export default switchCommand(
  "rollback",
  "Brings the tenant back to where it came from, with all that it wrote meanwhile.",
);
