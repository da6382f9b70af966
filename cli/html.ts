/** Text that is HTML already; everything else is escaped where it is put in. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | null | readonly Html[];

/** A template whose values cannot become markup, whatever a table or a tenant is called. */
export function html(fixed: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(fixed.map((text, i) => text + (i < values.length ? escaped(values[i] ?? null) : "")).join(""));
}

export type Cell = Html | string | number | null;

/** Numbers stand to the right; null is said, not left out. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): Html {
  if (rows.length === 0) return html`<p class="none">None.</p>`;
  const titles = head.map((title) => html`<th scope="col">${title}</th>`);
  const lines = rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`);
  return html`<div class="wide"><table>\n<thead><tr>${titles}</tr></thead>\n<tbody>\n${lines}</tbody>\n</table></div>`;
}

function cell(value: Cell): Html {
  if (value === null) return html`<td class="none">not known</td>`;
  if (typeof value === "number") return html`<td class="number">${value}</td>`;
  return html`<td>${value}</td>`;
}

function escaped(value: Part): string {
  if (value === null) return "";
  if (value instanceof Html) return value.text;
  if (typeof value === "object") return value.map(({ text }) => text).join("");
  return visible(String(value))
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** Control characters, and those that turn the direction of what follows, are not shown as what they do. */
function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (found) =>
    found === "\n" || found === "\t" ? found : "\ufffd",
  );
}
