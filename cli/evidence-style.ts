/** Of the evidence page: the reader's own fonts, light or dark as the reader has it, and good on paper. */
export const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#d0d4da, #444a52); --soft: light-dark(#5b6470, #9aa4b0); }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.5rem; padding-top: 0.6rem; border-top: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 0.4rem; }
p { max-width: 52rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.88rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; unicode-bidi: isolate; min-width: 3rem; }
th { font-weight: 600; white-space: nowrap; }
td.number, span.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.none { color: var(--soft); }
code, pre { font: 0.85em ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
`;
