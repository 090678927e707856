// The map of a page: shows the image under the pointer, chooses the map, singles out a class.
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
    const predicted = Object.entries(data.predictions).map(([name, classes]) =>
      line(`${name}: ${data.classes[classes[i]]} ${classes[i] === label ? "\u2713 correct" : "\u2717 wrong"}`));
    text.replaceChildren(line(`Class: ${data.classes[label]}`), ...predicted,
      line(`Test image ${data.positions[i]}`));
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
    names.forEach((name) => place(name, data.titles[button.dataset.map][name.dataset.class]));
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
