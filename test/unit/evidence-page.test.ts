import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { defaultName, evidenceFiles } from "../../cli/evidence.ts";
import { jsonText, requireFree, writeFolder } from "../../cli/evidence-folder.ts";
import { html } from "../../cli/html.ts";
import { plainEvidence } from "../setup/plain-evidence.ts";

const entry = { move: "m", seq: 1, atMs: 0, from: "", event: "create", to: "planned", facts: {}, by: "ann" };
const plain = (change: object = {}) =>
  plainEvidence({
    ...{ move: "m", tenant: "acme", from: "eu1", to: "eu2", phase: "watching" },
    journal: [entry],
    ...change,
  });

describe("the page of evidence", () => {
  test("stands alone: nothing is loaded, nothing runs, and every part has its link and its sum", () => {
    const { texts, files } = evidenceFiles(plain());
    const page = texts.get("evidence.html") ?? "";
    expect(page).not.toMatch(/<script|https?:|src=|@import|url\(|javascript:/i);
    for (const { file, sha256 } of files) {
      if (file === "evidence.html") continue;
      expect(page).toContain(`<a href="${file}">${file}</a>`);
      expect(page).toContain(sha256);
    }
    expect([...texts.keys()].sort()).toEqual(["SHA256SUMS", ...files.map(({ file }) => file)]);
  });

  test("what has a hostile name is shown, not run", () => {
    const hostile = `</td><script>alert("1")</script><a href='http://x'>&`;
    const evidence = plain({ tenant: hostile, journal: [{ ...entry, by: hostile, event: hostile }] });
    const page = evidenceFiles(evidence).texts.get("evidence.html") ?? "";
    expect(page).not.toContain("<script");
    expect(page).not.toContain("<a href='");
    expect(page).toContain("&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;");
    expect(html`<b title="${'" onclick="x'}">${"\u202eb\u0000"}</b>`.text).toBe(
      '<b title="&quot; onclick=&quot;x">\ufffdb\ufffd</b>',
    );
  });

  test("predicted and actual stand side by side, and what is not known is said", () => {
    const page = evidenceFiles(plain()).texts.get("evidence.html") ?? "";
    expect(page).toMatch(/<td>fence<\/td><td><span class="number">5\.0<\/span><\/td><td><span class="number">4\.3</);
    expect(page).toContain("no change between S1 and S2");
    expect(page).toContain("Not known now: no lane runs.");
    expect(page).toContain("not known: it does not answer");
  });

  test("the folder is called by the move and the moment", () => {
    expect(defaultName({ ...plain(), move: "shop-acme", madeAtMs: Date.UTC(2026, 10, 2, 3, 4, 5, 678) })).toBe(
      "evidence-shop-acme-20261102T030405Z",
    );
  });

  test("equal answers are equal files, in whatever order their fields came", () => {
    expect(jsonText({ b: [{ d: 1, c: 2 }], a: null })).toBe(jsonText({ a: null, b: [{ c: 2, d: 1 }] }));
    expect(evidenceFiles(plain()).files).toEqual(evidenceFiles(plain()).files);
  });
});

describe("the folder of evidence", () => {
  test("is written as a whole or not at all", () => {
    const folder = mkdtempSync(join(tmpdir(), "dray-folder-"));
    try {
      const out = join(folder, "it");
      expect(() => writeFolder(out, new Map([["a/b", ""]]))).toThrow("cannot be written (ENOENT)");
      expect(readdirSync(folder)).toEqual([]);
      requireFree(out);
      writeFolder(out, new Map([["a.json", "{}"]]));
      expect(() => requireFree(out)).toThrow("is not empty");
      // Filled between the look and the end.
      expect(() => writeFolder(out, new Map([["b.json", "{}"]]))).toThrow(/cannot be written/);
      expect([readdirSync(folder), readdirSync(out)]).toEqual([["it"], ["a.json"]]);
      writeFileSync(join(folder, "file"), "");
      expect(() => requireFree(join(folder, "file"))).toThrow("(ENOTDIR)");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
