import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { CASES } from "./preflight-cases.ts";
import { PreflightSystem } from "./preflight-system.ts";

describeWithMysql("preflight of a MySQL pair", (mysql) => {
  let system: PreflightSystem;
  beforeAll(async () => {
    system = await PreflightSystem.create({ source: mysql.a, target: mysql.b });
    await system.install();
  });
  afterAll(() => system?.drop());

  test("a clean system has no errors, under accounts with the grants asked for and no others", async () => {
    const findings = await system.preflight();
    expect(findings.filter((finding) => finding.severity === "error")).toEqual([]);
    expect(findings.filter((finding) => finding.id === "mysql.key-class").map((finding) => finding.severity)).toEqual([
      "info",
      "info",
      "info",
    ]);
    expect(findings.every((finding) => finding.remedy !== "" && /^[A-Z]\d+$/.test(finding.rule))).toBe(true);
  });

  test("what the gate asks again has no errors on a clean system either", async () => {
    const gate = await system.preflight({ when: "gate" });
    expect(gate.filter((finding) => finding.severity === "error")).toEqual([]);
  });

  test.each(CASES)("$rule: $name is told", async (given) => {
    await using scratch = await scratchSystem(mysql);
    await scratch.system.install();
    await scratch.system.run("source", given.source ?? []);
    await scratch.system.run("target", given.target ?? []);
    const options = {
      schemas: scratch.system.schemas(given.manifest),
      fencedSchemas: given.fenced ? [scratch.system.names.source] : [],
    };
    const found = (await scratch.system.preflight(options)).filter(
      (finding) => finding.id === given.id && finding.severity === (given.severity ?? "error"),
    );
    expect(found.map((finding) => `${finding.subject}: ${finding.finding}`).join("\n")).toMatch(given.says);
    expect(found.every((finding) => finding.rule === given.rule)).toBe(true);

    if (given.consent) {
      const consented = await scratch.system.preflight({ ...options, consents: [given.consent] });
      expect(consented.filter((finding) => finding.id === given.id && finding.severity === "error")).toEqual([]);
    }
    for (const finding of found) await scratch.system.applyFixes(finding);
    const side = given.target && !given.source ? "target" : "source";
    await scratch.system.run(side, given.undo ?? []);
    if (given.undo || found.some((finding) => finding.fixSql)) {
      const mended = await scratch.system.preflight(options);
      const left = mended.filter(
        (finding) => finding.id === given.id && finding.severity === (given.severity ?? "error"),
      );
      expect(left).toEqual([]);
    }
  });

  test("C9: clashes are found in every page of keys", async () => {
    await using scratch = await scratchSystem(mysql);
    await scratch.system.install();
    await scratch.system.run("source", [
      "INSERT INTO {s}.users (id, tenant_id, email) VALUES (11, 'acme', 'h@x'), (13, 'acme', 'i@x'), (15, 'acme', 'j@x')",
    ]);
    await scratch.system.run("target", [
      "INSERT INTO {t}.users (id, tenant_id, email) VALUES (3, 'fjord', 'b@x'), (15, 'fjord', 'c@x')",
    ]);
    const clashes = async (batchKeys: number, listedKeys: number) =>
      (await scratch.system.preflight({ limits: { batchKeys, listedKeys } }))
        .filter((finding) => finding.id === "mysql.clashing-id")
        .map((finding) => finding.finding);
    expect((await clashes(1, 20)).join()).toMatch(/rows: 3, 15\.$/);
    expect((await clashes(2, 20)).join()).toMatch(/rows: 3, 15\.$/);
    expect((await clashes(2, 1)).join()).toMatch(/rows: 3 and 1 more\.$/);
  });

  test("a schema that is not there is named on its side", async () => {
    const [schema] = system.schemas();
    if (!schema) throw new Error("no schema");
    const findings = await system.preflight({ schemas: [{ ...schema, target: "nowhere_at_all" }] });
    const found = findings.filter((finding) => finding.id === "mysql.schema");
    expect(found).toMatchObject([{ severity: "error", subject: expect.stringMatching(/^target .* nowhere_at_all$/) }]);
  });

  test("K5: a server that cannot be reached is named, in place of its checks", async () => {
    const gone = { ...system.address.target, port: 1 };
    const [finding, ...others] = await system.preflight({ target: gone });
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ id: "mysql.reach", severity: "error", subject: `target ${gone.host}:1` });
    expect(finding?.remedy).toMatch(/does not try again by itself/);
  });

  test("K5: a wrong password is told without the password", async () => {
    const [finding] = await system.preflight({ source: { ...system.address.source, password: "hunter2" } });
    expect(finding).toMatchObject({ id: "mysql.reach", severity: "error" });
    expect(JSON.stringify(finding)).not.toContain("hunter2");
  });

  test("C1: one server at both ends is refused", async () => {
    const findings = await system.preflight({ target: system.address.source });
    expect(findings.find((finding) => finding.id === "mysql.same-server")).toMatchObject({ severity: "error" });
  });

  test("a check that cannot be run is an error that names the server", async () => {
    await using scratch = await scratchSystem(mysql);
    await scratch.system.install();
    await scratch.system.run("source", ["REVOKE SELECT ON mysql.db FROM {u}"]);
    const findings = await scratch.system.preflight();
    const failed = findings.find((finding) => finding.id === "mysql.dray-writers");
    expect(failed).toMatchObject({ severity: "error" });
    expect(failed?.finding).toMatch(/could not be run/);
    expect(failed?.subject).toMatch(/^source /);
    expect(failed?.finding).toMatch(/SELECT command denied/);
    expect(failed?.remedy).toMatch(/^Mend what the message names/);
  });
});

async function scratchSystem(mysql: {
  readonly a: Parameters<typeof PreflightSystem.create>[0]["source"];
  readonly b: Parameters<typeof PreflightSystem.create>[0]["source"];
}) {
  const system = await PreflightSystem.create({ source: mysql.a, target: mysql.b });
  return { system, [Symbol.asyncDispose]: () => system.drop() };
}
