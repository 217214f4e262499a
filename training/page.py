"""What a page shows in, the whole page out: head, header and footer, and the look that all pages share.

A page is one file that asks nobody for a script, a font or a picture, so it can be sent and printed.
"""

from base64 import b64encode
from html import escape


def whole(title: str, content: str, *, style: str = "", footer: str = "", state: str = "", again: int | None = None) -> str:
    """``title`` as it is; ``content`` and ``footer`` as HTML, ``style`` beside ``STYLE``. ``state``: a class of the body;
    ``again``: seconds after which the page loads itself again."""
    refresh = "" if again is None else f'<meta http-equiv="refresh" content="{again}">\n'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="color-scheme" content="light dark">
{refresh}<title>{escape(title)} · Lookalike</title>
<link rel="icon" href="data:image/svg+xml;base64,{ICON}">
<style>{STYLE}{style}</style>
</head>
<body{f' class="{state}"' if state else ""}>
<header><img src="data:image/svg+xml;base64,{ICON}" alt="" width="26" height="26"> Lookalike</header>
<main>
{content}
</main>
<footer>{footer}</footer>
</body>
</html>
"""


# The colours and the letters of the service's page


ICON = b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="11.5" cy="16" r="9.5" fill="#12796c"/>'
    b'<circle cx="20.5" cy="16" r="9.5" fill="#7fcdbf"/>'
    b'<path d="M16 7.63a9.5 9.5 0 0 1 0 16.74a9.5 9.5 0 0 1 0-16.74z" fill="#f4b942"/></svg>'
).decode()

STYLE = """
:root {
  color-scheme: light dark;
  --paper: light-dark(#f7f6f2, #151613);
  --card: light-dark(#ffffff, #1e201c);
  --ink: light-dark(#20201d, #eceae4);
  --soft: light-dark(#68665f, #a5a299);
  --line: light-dark(#e3e0d8, #33352f);
  --accent: light-dark(#0f6e62, #7fcdbf);
  --wash: light-dark(#e7f1ee, #1b2a27);
  --spark: #f4b942;
  --gold: light-dark(#b9862b, #f4b942);
  --bad: light-dark(#a8442a, #f0a088);
  font: 1rem/1.5 system-ui, sans-serif;
  -webkit-text-size-adjust: 100%;
}
* { box-sizing: border-box; }
html { background: var(--paper); scrollbar-gutter: stable; }
body { max-width: 68rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 3rem) 2rem; color: var(--ink); }
h1, h2, p, dl, dd, figure { margin: 0; }
h1, h2 { font-weight: 650; letter-spacing: -.02em; line-height: 1.15; }
h1 { font-size: clamp(1.6rem, 5vw, 2.25rem); letter-spacing: -.035em; overflow-wrap: anywhere; }
h2 { font-size: 1.0625rem; }
header {
  display: flex; align-items: center; gap: .6rem; padding: 1.25rem 0; font-size: 1.125rem; font-weight: 650;
  letter-spacing: -.02em;
}
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.25rem; }
footer { padding-top: 1.5rem; color: var(--soft); font-size: .8125rem; }
code {
  padding: .1em .4em; border-radius: .35em; background: var(--wash); color: var(--accent);
  font: .9em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; box-decoration-break: clone;
  -webkit-box-decoration-break: clone; user-select: all;
}

.head { display: flex; flex-wrap: wrap; align-items: center; gap: .6rem 1rem; padding-bottom: .5rem; }
.head p, .bar { flex-basis: 100%; }
.state {
  padding: .2rem .75rem; border-radius: 1rem; background: var(--wash); color: var(--accent); font-size: .875rem;
  font-weight: 600;
}
.running .state::before {
  content: ""; display: inline-block; width: .5rem; height: .5rem; margin-right: .45rem; border-radius: 50%;
  background: var(--accent);
}
.stopped .state, .other .state { background: var(--line); color: var(--ink); }
.diverged .state { background: color-mix(in oklab, var(--bad) 16%, var(--card)); color: var(--bad); }
.bar { height: .625rem; margin-top: .35rem; border-radius: 1rem; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 1rem; background: var(--accent); }
.stopped .bar i { background: var(--soft); }
.diverged .bar i { background: var(--bad); }
.under {
  display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; color: var(--soft); font-size: .875rem;
  font-variant-numeric: tabular-nums;
}

.tiles { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 1rem; }
.tiles div, figure, .plan, .epochs {
  padding: 1rem 1.25rem; border: 1px solid light-dark(var(--line), #0000); border-radius: 1rem;
  background: var(--card);
}
.tiles dt, .tiles dd + dd { color: var(--soft); font-size: .8125rem; }
.tiles dt { font-weight: 600; }
.tiles dt + dd {
  font-size: 1.75rem; font-weight: 650; letter-spacing: -.03em; line-height: 1.3; font-variant-numeric: tabular-nums;
}

.charts, .tables { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; align-items: start; }
.charts > :only-child { grid-column: span 2; }
.tables { grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); }
.tables > :only-child { grid-column: span 2; }
figcaption {
  display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: .25rem 1rem;
  margin-bottom: .5rem;
}
figcaption p {
  display: flex; flex-wrap: wrap; gap: 0 1rem; color: var(--soft); font-size: .8125rem;
  font-variant-numeric: tabular-nums;
}
figcaption span::before {
  content: ""; display: inline-block; width: .9rem; height: .1875rem; margin-right: .4rem; border-radius: 2px;
  background: var(--shade); vertical-align: middle;
}
figcaption b { color: var(--ink); font-weight: 600; }
figure svg { display: block; width: 100%; overflow: visible; }
figure text { fill: var(--soft); font-size: 11px; text-anchor: middle; font-variant-numeric: tabular-nums; }
figure .row { text-anchor: end; }
figure path { fill: none; stroke: var(--shade); stroke-linecap: round; stroke-linejoin: round; }
figure .grid { stroke: var(--line); stroke-width: 1; }
.line { stroke-width: 2; }
.dots { stroke-width: 5; }
figure .stem { stroke: var(--soft); stroke-dasharray: 1 4; }
figure path.star { fill: var(--spark); stroke: var(--card); stroke-width: 2; paint-order: stroke; }
figure rect { fill: #0000; }
figure rect:hover { fill: color-mix(in oklab, var(--accent) 10%, #0000); }
.loss, .first { --shade: var(--accent); }
.final, .second { --shade: var(--gold); }

table { width: 100%; margin-top: .6rem; border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 0 .35rem .75rem; border-top: 1px solid var(--line); text-align: right; vertical-align: top; }
:is(th, td):first-child { padding-left: 0; text-align: left; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
thead th { border-top: 0; }
.plan td { text-align: left; overflow-wrap: anywhere; }
.top td { font-weight: 600; }
td .star { width: 1em; margin-left: .35em; fill: var(--spark); vertical-align: -.1em; }

@media (max-width: 46rem) {
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; }
  .charts, .tables { grid-template-columns: minmax(0, 1fr); }
  :is(.charts, .tables) > :only-child { grid-column: auto; }
  .epochs :is(th, td):is(:nth-child(5), :nth-child(6)) { display: none; }
}
@media (max-width: 30rem) {
  figure text { font-size: 13px; }
}
"""
