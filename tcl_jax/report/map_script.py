"""What makes the map of a page answer: its style sheet, and its script."""

MAP_STYLE = """
.map-columns { display: grid; grid-template-columns: minmax(0, 40rem) minmax(13rem, 1fr); gap: 1rem 2rem; }
@media (max-width: 52rem) { .map-columns { grid-template-columns: minmax(0, 1fr); } }
#map-svg { width: 100%; height: auto; display: block; background: var(--tile); border-radius: .5rem;
  cursor: crosshair; touch-action: manipulation; }
#map-points use { fill-opacity: .8; }
#map-points .miss { stroke: var(--ink); stroke-width: 4; fill-opacity: 1; }
#map-points .dim, #map-names .dim { opacity: .12; }
#map-names text { font-size: 30px; font-weight: 700; text-anchor: middle; fill: var(--ink); stroke: var(--tile);
  stroke-width: 8; paint-order: stroke; stroke-linejoin: round; pointer-events: none; }
#map-here { fill: none; stroke: var(--ink); stroke-width: 5; }
.map-choice, .map-legend { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0; padding: 0; list-style: none; }
.map-legend { max-height: 22rem; overflow-y: auto; }
.map button { font: inherit; font-size: .9rem; color: var(--ink); background: var(--paper); cursor: pointer;
  border: 1px solid var(--line); border-radius: .4rem; padding: .25rem .6rem; max-width: 100%; }
.map button[aria-pressed="true"] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
.map-legend button { display: flex; align-items: center; gap: .35rem; }
.map-legend li { max-width: 100%; }
.map-legend span { overflow-wrap: anywhere; text-align: left; }
.map-legend svg { width: .9rem; height: .9rem; flex: none; }
.map-legend small { color: var(--pale); }
.map-card { display: flex; gap: .8rem; min-height: 7.5rem; align-items: flex-start; margin-bottom: .5rem; }
.map-card canvas { width: 6rem; height: 6rem; flex: none; background: var(--tile); border-radius: .3rem; }
.map-card p { margin: 0 0 .15rem; overflow-wrap: anywhere; }
"""

MAP_SCRIPT = """
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const svg = document.getElementById("map-svg");
  const marks = Array.from(document.querySelectorAll("#map-points use"));
  const names = Array.from(document.querySelectorAll("#map-names text"));
  const here = document.getElementById("map-here");
  const text = document.getElementById("map-text");
  const canvas = document.getElementById("map-image");
  const sheet = document.getElementById("map-sprites");
  let points = data.maps[Object.keys(data.maps)[0]];
  let shown = -1;
  let only = -1;

  const place = (element, [x, y]) => { element.setAttribute("x", x); element.setAttribute("y", y); };
  const live = (i) => only < 0 || data.labels[i] === only;

  function line(content) {
    const paragraph = document.createElement("p");
    paragraph.textContent = content;
    return paragraph;
  }

  function draw() {
    const { columns, size: [width, height], pitch } = data.sprites;
    const left = (shown % columns) * pitch[0], top = Math.floor(shown / columns) * pitch[1];
    const factor = Math.min(canvas.width / width, canvas.height / height);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = factor < 1;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(sheet, left, top, width, height, (canvas.width - factor * width) / 2,
      (canvas.height - factor * height) / 2, factor * width, factor * height);
  }

  function show(i) {
    if (i < 0) return;
    here.setAttribute("cx", points[i][0]);
    here.setAttribute("cy", points[i][1]);
    here.setAttribute("visibility", "visible");
    if (i === shown) return;
    shown = i;
    const label = data.labels[i];
    const told = Object.entries(data.predictions).map(([name, found]) =>
      line(`${name}: ${data.classes[found[i]]} ${found[i] === label ? "\\u2713 right" : "\\u2717 wrong"}`));
    text.replaceChildren(line(`Class: ${data.classes[label]}`), ...told, line(`Test image ${data.positions[i]}`));
    draw();
  }

  function nearest(x, y, reach) {
    let found = -1, least = reach * reach;
    points.forEach(([px, py], i) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least && live(i)) { found = i; least = distance; }
    });
    return found;
  }

  function pointed(event, reach) {
    const box = svg.getBoundingClientRect(), scale = 1060 / box.width;
    show(nearest((event.clientX - box.left) * scale - 30, (event.clientY - box.top) * scale - 70, reach * scale));
  }

  svg.addEventListener("pointermove", (event) => pointed(event, 14));
  svg.addEventListener("pointerdown", (event) => pointed(event, 30));
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    if (shown < 0 || !live(shown)) { show(nearest(500, 500, 2000)); return; }
    let found = -1, least = Infinity;
    points.forEach(([px, py], i) => {
      const dx = px - points[shown][0], dy = py - points[shown][1];
      const ahead = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (ahead > 0 && aside <= ahead && ahead + 2 * aside < least && live(i)) {
        found = i;
        least = ahead + 2 * aside;
      }
    });
    show(found);
  });

  const press = (buttons, pressed) => buttons.forEach((button) =>
    button.setAttribute("aria-pressed", String(button === pressed)));

  const choices = Array.from(document.querySelectorAll(".map-choice button"));
  choices.forEach((button) => button.addEventListener("click", () => {
    press(choices, button);
    points = data.maps[button.dataset.map];
    marks.forEach((mark, i) => place(mark, points[i]));
    names.forEach((name) => place(name, data.heads[button.dataset.map][name.dataset.class]));
    show(shown);
  }));

  const classes = Array.from(document.querySelectorAll(".map-legend button"));
  const parts = Array.from(document.querySelectorAll("#map-points g, #map-names text"));
  classes.forEach((button) => button.addEventListener("click", () => {
    const label = Number(button.dataset.class);
    only = only === label ? -1 : label;
    press(classes, only < 0 ? null : button);
    parts.forEach((part) => part.classList.toggle("dim", only >= 0 && Number(part.dataset.class) !== only));
  }));
})();
"""
