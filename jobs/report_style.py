"""How a report looks: one style sheet, for light and dark, for a desk and a phone."""

from typing import Final

from jobs.html_text import Html

_LIGHT: Final = """
  --paper: #ffffff; --page: #f5f6f8; --ink: #1c2430; --muted: #5b6675; --grid: #d9dee5;
  --bad: #c92a2a; --good: #2b8a3e; --control: #6741d9; --warn: #e8a33d; --code: #eef1f5;
  --s0: #1268b3; --s1: #d9480f; --s2: #0b7d6b; --s3: #9c36b5; --s4: #8a6d00; --s5: #c2255c;
  --s6: #3b5bdb; --s7: #5c7c12;
"""
_DARK: Final = """
  --paper: #171c24; --page: #0f1319; --ink: #e6eaf0; --muted: #9aa6b5; --grid: #333c49;
  --bad: #ff7b72; --good: #56d364; --control: #b79cff; --warn: #d29922; --code: #222a35;
  --s0: #58a6ff; --s1: #ff9657; --s2: #3fcfb4; --s3: #da8bf0; --s4: #d8b93a; --s5: #ff7eb0;
  --s6: #91a7ff; --s7: #a9d15a;
"""

_CSS: Final = (
    ":root { color-scheme: light dark; "
    + _LIGHT
    + "}\n@media (prefers-color-scheme: dark) { :root {"
    + _DARK
    + """} }
@media print { :root {"""
    + _LIGHT
    + """} }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header, main, footer { max-width: 1320px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 10px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 0 0 10px; max-width: 78ch; }
a { color: var(--s0); }
.lead, .note, figcaption, .missing { color: var(--muted); }
.note { font-size: 14px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0 18px; font-size: 14px; }
section { background: var(--paper); border: 1px solid var(--grid); border-radius: 10px;
  padding: 18px 20px; margin: 0 0 18px; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr));
  gap: 22px 26px; }
figure { margin: 0; min-width: 0; }
figure h3 { margin: 0 0 4px; }
figcaption { font-size: 13px; line-height: 1.45; margin-top: 4px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
.narrow { display: none; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
thead th, td { overflow-wrap: normal; }
td.number { white-space: nowrap; }
.whole { white-space: nowrap; }
td code { overflow-wrap: anywhere; }
thead th { color: var(--muted); font-weight: 600; font-size: 13px; }
tbody th { font-weight: 600; }
td.number, th.number { text-align: right; }
tr:last-child > * { border-bottom: 0; }
code, pre { background: var(--code); border-radius: 4px; font-size: 13px;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { padding: 1px 4px; }
pre { padding: 8px 10px; margin: 6px 0 0; white-space: pre-wrap; }
.missing { margin: 0; }
.figures + * { margin-top: 16px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0;
  margin: 0 0 14px; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: 7px; }
.legend svg { width: 30px; height: 12px; flex: none; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 2px; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 999px;
  padding: 0 8px; font-size: 12.5px; white-space: nowrap; }
.bad { color: var(--bad); } .good { color: var(--good); } .control { color: var(--control); }
.open { color: var(--muted); }
details { margin-top: 12px; }
summary { cursor: pointer; color: var(--muted); font-size: 14px; }
footer { color: var(--muted); font-size: 13px; padding-bottom: 28px; }
@media (max-width: 700px) {
  header, main, footer { padding-left: 12px; padding-right: 12px; }
  section { padding: 14px 12px; }
  .wide { display: none; } .narrow { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, th, td { display: block; }
  tr { padding: 8px 0; border-bottom: 1px solid var(--grid); }
  tr:last-child { border-bottom: 0; }
  th, td, td.number { text-align: left; border: 0; padding: 1px 0; }
  td, td.number, .whole { overflow-wrap: anywhere; white-space: normal; }
  td { display: grid; grid-template-columns: 38% minmax(0, 1fr); gap: 10px; }
  td::before { content: attr(data-label); color: var(--muted); }
}
"""
)

# Nothing is fetched and nothing runs, whatever stands in the data.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def style_sheet() -> Html:
    """The page's `<style>`; what is in it is none of the data."""
    return Html(f"<style>{_CSS}</style>")
