import { switchCommand } from "./switch-command.ts";

export default switchCommand("cutover", "Fences the tenant, drains, commits, and switches the routing.");
