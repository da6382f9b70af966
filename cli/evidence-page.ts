import type { Evidence } from "../cutover/move-service.ts";
import type { WrittenFile } from "./evidence-folder.ts";
import { STYLE } from "./evidence-style.ts";
import { type Cell, Html, html, table } from "./html.ts";

type Parts = Evidence["parts"];

/** One page that needs nothing but itself: no script, no server, nothing loaded from anywhere. */
export function evidencePage(evidence: Evidence, files: readonly WrittenFile[]): string {
  const { move, madeAtMs, parts } = evidence;
  const { manifest } = parts;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evidence of ${move}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<main>
<h1>Evidence of ${move}</h1>
<p>Tenant <b>${manifest.tenant}</b>, from <b>${manifest.from}</b> to <b>${manifest.to}</b>; phase <b>${manifest.phase}</b>,
lives in <b>${manifest.lives.side === "to" ? manifest.to : manifest.from}</b>. Rollback: ${manifest.rollback}.
Made at ${time(madeAtMs)}. All times are UTC. No row's value is in this folder; keys of rows may be.</p>
${partsSection(files)}
${cutoverSections(parts)}
${proofSection(parts)}
${tablesSection(parts)}
${verificationSection(parts)}
${preflightSection(parts)}
${peopleSection(parts)}
${versionsSection(parts)}
${journalSection(parts)}
<h2 id="manifest">Manifest</h2>
<details><summary>as the move keeps it</summary><pre>${JSON.stringify(manifest.manifest, null, 2)}</pre></details>
</main>
</body>
</html>
`;
  return page.text;
}

function partsSection(files: readonly WrittenFile[]): Html {
  const rows = files.map(({ file, sha256, bytes }) => [
    html`<a href="${file}">${file}</a>`,
    html`<code>${sha256}</code>`,
    bytes,
  ]);
  return html`<h2 id="parts">Parts</h2>
<p><code>sha256sum -c SHA256SUMS</code> in this folder checks every file, this page too.</p>
${table(["file", "sha256", "bytes"], rows)}`;
}

function cutoverSections({ cutovers }: Parts): Html {
  const sections = cutovers.map((each) => {
    const predicted = sum(each.steps.map(({ predictedMs }) => predictedMs));
    const rows: Cell[][] = each.steps.map(({ step, predictedMs, actualMs, how }) => [
      step,
      ms(predictedMs),
      ms(actualMs),
      how ?? "was not predicted",
    ]);
    const whole = [html`<b>whole pause</b>`, ms(predicted), ms(each.pauseMs), limitOf(each)];
    const accepted = each.acceptedUnverified.map((what) => html`<li>unverified, accepted by a person: ${what}</li>`);
    return html`<h3>Cutover ${each.generation}, ${each.direction}: ${each.outcome}</h3>
<p>Asked for by <b>${each.askedBy}</b> at ${time(each.askedAtMs)}; committed ${time(each.committedAtMs)}; ended
${time(each.endedAtMs)}; drained again ${each.repeats ?? "an unknown number of"} times. ${each.reason ?? ""}</p>
<ul>${accepted}</ul>
${table(["step", "predicted ms", "actual ms", "how it was predicted"], [...rows, whole])}
`;
  });
  return html`<h2 id="cutovers">Predicted and actual pause</h2>
${sections.length === 0 ? html`<p class="none">Nothing was switched.</p>` : sections}`;
}

function limitOf({ maxPauseMs, adapterMs }: Parts["cutovers"][number]): string {
  const limit = maxPauseMs === null ? "" : `${maxPauseMs} ms allowed; `;
  return `${limit}${adapterMs === null ? "adapters' share not known" : `${adapterMs} ms of it adapters and grace`}`;
}

function proofSection({ fenceProof }: Parts): Html {
  const rows = fenceProof.cutovers.flatMap(({ generation, direction, proof, leaks, unproven }): Cell[][] =>
    proof.known === null
      ? [[generation, direction, null, null, null, null, null, proof.why]]
      : proof.known.map(({ lane, epoch, s1, s2, lastChange }) => {
          const holds = lastChange < s1 && s1 < s2 ? "no change between S1 and S2" : "NOT PROVEN";
          const leaked = leaks.length === 0 ? "" : `; ${leaks.length} writes came through before and were carried`;
          const again = unproven.length === 0 ? "" : `; a capture was opened anew before, and it was drained again`;
          return [generation, direction, lane, epoch, s1, s2, lastChange, holds + leaked + again];
        }),
  );
  const strays = fenceProof.strays.map(({ atMs, facts }) => [time(atMs), JSON.stringify(facts)]);
  const alarms = fenceProof.openAlarms.map(({ code, raisedAtMs, times, message }) => [
    time(raisedAtMs),
    code,
    times,
    message,
  ]);
  return html`<h2 id="fence-proof">Proof of the fence</h2>
<p>S1 and S2 are marks in the lane's log, written behind the fence; one writer (epoch) saw both, and the newest change of
the tenant stands before S1.</p>
${table(["cutover", "way", "lane", "epoch", "S1", "S2", "last change", ""], rows)}
<h3>Writes behind S2, where the tenant had left</h3>
${table(["at", "what"], strays)}
<h3>Open alarms</h3>
${table(["since", "code", "times", "what"], alarms)}`;
}

function tablesSection({ tables }: Parts): Html {
  const counted = tables.counted.flatMap(({ when, atMs, tables: each }) =>
    each.map(({ table: name, source, target, least, most, fits }) => [
      html`${when}, ${time(atMs)}`,
      name,
      source,
      target,
      least === most ? String(least) : `${least} to ${most}`,
      fits,
    ]),
  );
  const compared = tables.compared.flatMap(({ when, atMs, tables: each }) =>
    each.map((one): Cell[] => [
      html`${when}, ${time(atMs)}`,
      one.table,
      one.rowsCompared,
      one.fromSeq === null ? null : `${one.lane} ${one.fromSeq} to ${one.toSeq}`,
      one.digests === null ? null : html`<code>${one.digests.source}<br>${one.digests.target}</code>`,
      one.dirtyKeys,
      one.differences,
      one.covered ? "yes" : "NO",
    ]),
  );
  return html`<h2 id="tables">Counts and digests by table</h2>
<p>${tables.how}</p>
<h3>Counted</h3>
${table(["when", "table", "source", "target", "may differ by", "fits"], counted)}
<h3>Compared</h3>
${table(
  ["when", "table", "rows", "place of the log", "digest of source, of target", "dirty", "differing", "covered"],
  compared,
)}
<h3>Removed at the source</h3>
${removedSection(tables.finished)}`;
}

function removedSection(finished: Parts["tables"]["finished"]): Html {
  if (finished === null) return html`<p class="none">Nothing: the move is not finished.</p>`;
  const rows = finished.tables.map(({ table: name, removed, left }) => [name, removed, left]);
  return html`<p>Finished at ${time(finished.atMs)}, asked for by <b>${finished.by}</b>. Rows that appeared behind the
fence were left where they are${finished.leftRows.length === 0 ? "" : html`: ${finished.leftRows.join(", ")}`}.</p>
${table(["table", "rows removed", "rows left"], rows)}`;
}

function verificationSection({ verification }: Parts): Html {
  const { lanes, differences, asked, accepted } = verification;
  const laneRows = (lanes.known ?? []).map(
    ({ lane, coverage, rowsVerified, dirtyKeys, differences: open, seq, position }) => [
      ...[lane, `${(100 * coverage).toFixed(1)}%`, rowsVerified, dirtyKeys, open, seq, position],
    ],
  );
  const differing = (differences.known ?? []).map(
    ({ lane, target, table: name, key, kind, columns, seq, foundAtMs }) => {
      const what = kind === "differing" ? kind : `${kind} at ${target}`;
      return [name, key, what, columns === null ? null : columns.join(", "), `${lane} ${seq}`, time(foundAtMs)];
    },
  );
  const passes = asked.map(({ event, atMs, by }) => [time(atMs), event, by]);
  return html`<h2 id="verification">Verification</h2>
${accepted === null ? html`` : html`<p><b>Unverified, accepted by ${accepted.by}:</b> ${accepted.what}</p>`}
${lanes.known === null ? html`<p class="none">Not known now: ${lanes.why}.</p>` : table(["lane", "coverage", "rows", "dirty", "differing", "at seq", "source's position"], laneRows)}
<h3>Open differences</h3>
${differences.known === null ? html`<p class="none">Not known now: ${differences.why}.</p>` : table(["table", "key", "kind", "columns", "place of the log", "found"], differing)}
<h3>Passes and repairs that were asked for</h3>
${table(["at", "what", "by"], passes)}`;
}

function preflightSection({ preflight }: Parts): Html {
  const { found, gates } = preflight;
  const findings = (found.known?.findings ?? []).map(({ severity, subject, finding, remedy, rule }) => [
    ...[severity, subject, finding, remedy, rule],
  ]);
  const gateTables = gates.map(
    ({ atMs, by, direction, conditions }) => html`<h3>Gate, ${direction}, asked by ${by} at ${time(atMs)}</h3>
${table(
  ["condition", "verdict", "value", "limit"],
  conditions.map(({ name, verdict, value, limit }) => [name, verdict, value, limit ?? ""]),
)}
`,
  );
  const head =
    found.known === null
      ? html`<p class="none">${found.why}</p>`
      : html`<p>Asked by <b>${found.known.by}</b> at ${time(found.known.atMs)}.</p>`;
  return html`<h2 id="preflight">Preflight and gates</h2>
${head}
${table(["severity", "of", "finding", "remedy", "rule"], findings)}
${gateTables}`;
}

function peopleSection({ people }: Parts): Html {
  const rows = people.did.map(({ seq, atMs, by, event, facts }) => [
    ...[seq, time(atMs), by, event, Object.keys(facts).length === 0 ? "" : JSON.stringify(facts)],
  ]);
  const consents = people.consents.length === 0 ? "none" : people.consents.join(", ");
  return html`<h2 id="people">Who did and approved what</h2>
<p>Consents of the manifest: ${consents}.</p>
${table(["entry", "at", "by", "did", "facts"], rows)}`;
}

function versionsSection({ versions }: Parts): Html {
  const { dray, node, log, evidence, servers } = versions;
  const rows: Cell[][] = [
    ["dray", dray.known ?? dray.why],
    ["Node", node],
    ["log", log],
    ["form of this folder", evidence],
    ...servers.map(({ cluster, side, server }): Cell[] => [
      `${side} ${cluster}`,
      server.known === null ? `not known: ${server.why}` : `${server.known.version}, server ${server.known.uuid}`,
    ]),
  ];
  return html`<h2 id="versions">Versions</h2>
${table(["what", "version"], rows)}`;
}

function journalSection({ journal }: Parts): Html {
  const rows = journal.map(({ seq, atMs, event, from, to, by }) => [
    ...[seq, time(atMs), event, from === to ? to : `${from || "nothing"} to ${to}`, by],
  ]);
  return html`<h2 id="journal">Journal</h2>
<p>With every entry's facts in <a href="journal.json">journal.json</a>.</p>
${table(["entry", "at", "event", "phase", "by"], rows)}`;
}

function time(atMs: number | null): string {
  return atMs === null ? "at no known time" : new Date(atMs).toISOString().replace("T", " ").replace("Z", "");
}

function ms(value: number | null): Html | null {
  return value === null ? null : html`<span class="number">${value.toFixed(1)}</span>`;
}

function sum(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
}
