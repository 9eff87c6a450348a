
// Stacked bars.

/** The least of 1, 2, 2.5, 5 times a power of ten that is no less than a number. */
function roundUp(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= value);
}

/**
 * Draws bars into an SVG: `bars` have `title`, `parts`, numbers from the lowest up, and a `label`
 * where one may stand below; `classes` are those of the parts.
 */
function drawBars(svg, bars, classes, label) {
  const width = svg.clientWidth || 600;
  const height = svg.clientHeight || 170;
  const [left, top, bottom] = [44, 8, 20];
  const [across, up] = [width - left, height - top - bottom];
  const sums = bars.map((bar) => bar.parts.reduce((sum, part) => sum + Math.max(part, 0), 0));
  const most = roundUp(Math.max(0, ...sums));
  const drawn = [];
  for (const share of [0, 0.5, 1]) {
    const y = top + up * (1 - share);
    drawn.push(draw("line", { x1: left, x2: width, y1: y, y2: y }));
    const text = number(most * share);
    drawn.push(draw("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, text));
  }
  const step = across / Math.max(bars.length, 1);
  const gap = step > 6 ? Math.min(2, step * 0.2) : 0.5;
  bars.forEach((bar, place) => {
    let low = top + up;
    const x = left + step * place + gap / 2;
    const group = draw("g", {}, draw("title", {}, bar.title));
    bar.parts.forEach((part, nth) => {
      const tall = up * Math.max(part, 0) / most;
      if (tall <= 0) return;
      // What is there is seen, however little it is.
      const shown = Math.max(tall, 1.5);
      low -= shown;
      const box = { x, y: low, width: Math.max(step - gap, 0.5), height: shown };
      group.append(draw("rect", { ...box, class: classes[nth] }));
    });
    drawn.push(group);
  });
  const labelled = [...bars.entries()].filter(([, bar]) => bar.label);
  const every = Math.max(1, Math.ceil(labelled.length / Math.max(1, Math.floor(across / 90))));
  labelled.forEach(([place, bar], nth) => {
    const x = left + step * (place + 0.5);
    if (nth % every !== 0 || x > width - 24) return;
    const anchor = place === 0 ? "start" : "middle";
    const from = place === 0 ? left : x;
    drawn.push(draw("text", { x: from, y: height - 5, "text-anchor": anchor }, bar.label));
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(...drawn);
}

/** How full something is. */
function meterBar(share) {
  const box = { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" };
  const bar = draw("svg", { ...box, class: "bar" });
  bar.append(draw("rect", { width: 100, height: 6, rx: 2 }));
  bar.append(draw("rect", { class: "fill", width: 0, height: 6, rx: 2 }));
  setMeter(bar, share);
  return bar;
}

function setMeter(bar, share) {
  const part = Math.min(Math.max(share, 0), 1);
  bar.lastElementChild.setAttribute("width", part * 100);
  bar.setAttribute("class", `bar ${share >= 1 ? "full" : share >= 0.8 ? "near" : ""}`);
}
