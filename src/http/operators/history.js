
// What an hour, a day, a month looked like.

const RANGES = {
  hour: { interval: "minute", seconds: 3600, step: 60 },
  day: { interval: "hour", seconds: 86400, step: 3600 },
  month: { interval: "day", seconds: 31 * 86400, step: 86400 },
};
const CLASSES = ["p0", "p2", "p3", "p4", "p5", "p1", "p6"];
const SERIES = 6;

// Draws again what is shown, in another width.
let redraw = () => {};

async function showHistory() {
  const range = $("history-range").value;
  const by = $("history-by").value.trim();
  const figure = $("history-figure").value;
  const { interval, seconds, step } = RANGES[range];
  const end = (Math.floor(Date.now() / 1000 / step) + 1) * step;
  const at = (second) => new Date(second * 1000).toISOString();
  const query = { startDate: at(end - seconds), endDate: at(end) };
  say($("history-problem"), "");
  try {
    const series = figure === "refused"
      ? await refusedSeries(query)
      : await usedSeries(query, interval, by, figure);
    const name = $("history-figure").selectedOptions[0].textContent;
    redraw = () => drawHistory(series, range, name);
    redraw();
  } catch (problem) {
    say($("history-problem"), problem.message);
  }
}

async function usedSeries(query, interval, by, figure) {
  const asked = by === "" ? { query, interval } : { query, interval, groupBy: by, most: SERIES };
  const answer = await ask("POST", "/usage", asked);
  const values = (points) => points.map((point) => [point.timestamp, Number(point[figure])]);
  if (by === "") return [{ name: "all", values: values(answer.data) }];
  const named = answer.data.map((one) => {
    return { name: one.dimension ?? `without ${by}`, values: values(one.points) };
  });
  if (answer.rest) named.push({ name: "others", values: values(answer.rest.points), rest: true });
  return named;
}

/** Refusals are counted by hours alone, and by no dimension. */
async function refusedSeries(query) {
  const { startDate, endDate } = query;
  const bounds = new URLSearchParams({ startDate, endDate });
  const { data } = await ask("GET", `/refusals/hours?${bounds}`);
  const known = new Map(data.map((hour) => [Date.parse(hour.start), hour.refused]));
  const values = [];
  const first = Math.floor(Date.parse(startDate) / 3600000) * 3600000;
  for (let at = first; at < Date.parse(endDate); at += 3600000) {
    values.push([new Date(at).toISOString(), known.get(at) ?? 0]);
  }
  return [{ name: "refused", values, refused: true }];
}

function drawHistory(series, range, figure) {
  const classes = series.map((one, nth) => one.rest ? "p6" : one.refused ? "p1" : CLASSES[nth]);
  const starts = series[0]?.values.map(([start]) => start) ?? [];
  const format = range === "month" ? dayOf : (text) => timeOf(text).slice(0, 5);
  const bars = starts.map((start, place) => {
    const parts = series.map((one) => one.values[place][1]);
    const said = series.map((one, nth) => `${one.name} ${number(parts[nth])}`).join(", ");
    return { label: format(start), title: `${dateOf(start)}: ${said}`, parts };
  });
  const all = series.map((one) => one.values.reduce((sum, [, value]) => sum + value, 0));
  const said = series.map((one, nth) => `${one.name} ${number(all[nth])}`).join(", ");
  drawBars($("history"), bars, classes, `${figure}: ${said || "nothing"}`);
  const legend = series.map((one, nth) => {
    return make("span", { class: classes[nth] }, `${one.name} ${number(all[nth])}`);
  });
  $("history-legend").replaceChildren(...legend);
  const table = $("history-table");
  const heads = series.map((one) => make("th", { scope: "col", class: "number" }, one.name));
  table.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "From"), ...heads));
  const rows = starts.map((start, place) => {
    const cells = series.map((one) => {
      return make("td", { class: "number" }, number(one.values[place][1]));
    });
    return make("tr", {}, make("th", { scope: "row" }, dateOf(start)), ...cells);
  });
  table.tBodies[0].replaceChildren(...rows);
}
