import { defineConfig } from "vitest/config";
import { keepFoldersInMemory } from "./test/setup/memory-folder.ts";

keepFoldersInMemory();

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/setup/shared-servers.ts"],
    pool: "forks",
    // Every worker drives servers of its own size; more of them than cores only makes each slower.
    maxWorkers: 2,
    execArgv: ["--disable-warning=ExperimentalWarning", "--disable-warning=TimeoutNegativeWarning"],
    // Guards against a hang, never a measure of speed.
    testTimeout: 120_000,
    hookTimeout: 180_000,
    teardownTimeout: 60_000,
  },
});
