"""How pages look: one style sheet, for light and dark, for narrow and wide."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b2026; --pale: #56606b; --line: #d5dae0; --tile: #f4f6f8; --accent: #0a5cab;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #cc79a7; --series-4: #8a6d00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e5e8ec; --pale: #a4adb8; --line: #3a424c; --tile: #1e2329; --accent: #79b8f8;
    --series-0: #56b4e9; --series-1: #f58549; --series-2: #35c495; --series-3: #e29bc2; --series-4: #cbab3c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
a { color: var(--accent); }
a:focus-visible, button:focus-visible, summary:focus-visible, .wide:focus-visible, [tabindex]:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .5rem 0; max-width: 48rem; }
.pale, figcaption, caption, footer { color: var(--pale); }
nav ul { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; margin: .75rem 0 0; padding: 0; }
nav a { display: inline-block; padding: .15rem 0; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tiles > div { background: var(--tile); border-radius: .5rem; padding: .6rem .8rem; min-width: 0; }
.tiles dt { color: var(--pale); font-size: .9rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles dd + dd { font-size: .9rem; font-weight: 400; color: var(--pale); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: .5rem 2rem; }
figure { margin: 1rem 0; min-width: 0; }
figcaption { font-size: .9rem; margin-top: .25rem; max-width: 48rem; }
figure svg, figure img { max-width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; max-width: 100%; }
.wide > svg, .wide > img { max-width: none; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; margin: .5rem 0; }
caption { text-align: left; font-size: .9rem; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
tbody th { font-weight: 400; }
.r { text-align: right; }
code, pre { font: .9rem/1.5 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--tile); border-radius: .5rem; padding: .6rem .8rem; overflow-x: auto; margin: .5rem 0; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); padding: .15rem 0; }
@media print { body { max-width: none; } nav { display: none; } }
"""
