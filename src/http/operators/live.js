
// What the stream says.

const BAR_SECONDS = 5;
const BARS = 120;

let points = [];

const takes = {
  history(list) {
    points = list;
  },
  figures(figures) {
    const { point } = figures;
    if (point) {
      points.push(point);
      if (points.length > BAR_SECONDS * BARS) points.shift();
    }
    say($("tile-admitted"), number(point?.admitted));
    say($("tile-refused"), number(point?.refused));
    $("tile-refused").classList.toggle("bad", (point?.refused ?? 0) > 0);
    say($("tile-tokens"), number(point?.tokens));
    say($("tile-keys"), number(figures.liveKeys));
    say($("tile-alerts"), number(figures.alertsWaiting));
    $("calls-hint").hidden = figures.records;
    showState(figures.good ? "live" : "lost", figures.good ? "Live" : "The store has failed");
    drawCalls(figures.at);
  },
  rules(tables) {
    showRules(tables);
  },
  top(tables) {
    showTop("customers", tables.customers);
    showTop("models", tables.models);
    showTop("teams", tables.teams);
  },
  recent(tables) {
    showRefused(tables.refused?.items ?? []);
    showAlerts(tables.alerts);
    showReservations(tables.reservations, tables.openReservations);
  },
};

function showState(kind, text) {
  $("state").className = kind;
  say($("state"), text);
}

function drawCalls(now) {
  // Bars begin at full multiples of their length, so that they stay as they are.
  const last = Math.floor(Date.parse(now) / 1000 / BAR_SECONDS);
  const bars = [...Array(BARS).keys()].map((nth) => {
    const start = (last - BARS + 1 + nth) * BAR_SECONDS;
    return { start, parts: [0, 0] };
  });
  for (const point of points) {
    const place = Math.floor(Date.parse(point.at) / 1000 / BAR_SECONDS) - last + BARS - 1;
    if (!bars[place]) continue;
    bars[place].parts[0] += point.admitted;
    bars[place].parts[1] += point.refused;
  }
  for (const bar of bars) {
    const time = timeOf(bar.start * 1000);
    bar.label = bar.start % 60 === 0 ? time.slice(0, 5) : "";
    bar.title = `${time}: ${bar.parts[0]} admitted, ${bar.parts[1]} refused`;
  }
  const sum = (nth) => bars.reduce((all, bar) => all + bar.parts[nth], 0);
  const label = `In the last ten minutes ${sum(0)} calls were admitted and ${sum(1)} refused`;
  drawBars($("calls"), bars, ["p0", "p1"], label);
}

// The rule that each row of the table is of, for who wants to change it.
const rulesById = new Map();

function showRules(tables) {
  rulesById.clear();
  for (const { rule } of tables.rules) rulesById.set(ruleOf(rule).rule.id, rule);
  const left = tables.rulesLeftOut;
  say($("rules-hint"), left > 0 ? `${left} more are not shown` : "Who is nearest to each limit");
  const body = $("rules").tBodies[0];
  fill(body, tables.rules, (one) => ruleOf(one.rule).rule.id, makeRule, showRule);
}

function makeRule(one) {
  const { rule } = ruleOf(one.rule);
  const row = make("tr", {},
    make("th", { scope: "row" }, make("span"), make("small")),
    make("td", {}, make("span"), make("small")),
    make("td"),
    make("td", {}, make("span"), meterBar(0)),
    make("td"),
    make("td", { class: "may-change" }));
  if (mayChange && rule.limitValue !== null && rule.limitValue !== undefined) {
    const button = make("button", { type: "button", class: "small" }, "Change");
    button.addEventListener("click", () => openChange(rule.id));
    row.cells[5].append(button);
  }
  return row;
}

function showRule(row, one) {
  const { rule, every, limit, per, where } = ruleOf(one.rule);
  const [name, amount, nearest, used, next, change] = row.cells;
  say(name.firstChild, rule.name);
  const off = rule.enabled === false ? "turned off" : rule.enforcement ?? "";
  const marks = [where, off === "hard" ? "" : off].filter((mark) => mark !== "");
  say(name.lastChild, marks.join("; "));
  say(amount.firstChild, limit);
  say(amount.lastChild, [every, per && `per ${per}`].filter(Boolean).join(", "));
  if (change.firstChild) change.firstChild.setAttribute("aria-label", `Change ${rule.name}`);
  const [first, ...others] = one.keys;
  say(nearest, first ? keyText(first.key) : "nobody");
  // What reservations took of a rate limit is used of it.
  const taken = (key) => Number(key.used) + (one.rule.rateLimit ? 0 : Number(key.held));
  // A rule without a limit is never full.
  const most = Number(first?.limit ?? rule.limitValue ?? Infinity);
  const left = Number(first?.remaining ?? 0);
  // What is left of a bucket is what counts: it fills while it is used.
  const gone = left > 0 ? most - left : first ? taken(first) : 0;
  const share = most > 0 ? gone / most : gone > 0 ? 1 : 0;
  const room = first && first.remaining !== null ? `, ${number(left)} left` : "";
  const percent = most < Infinity ? `${Math.floor(share * 100)} %: ` : "";
  say(used.firstChild, first ? `${percent}${number(gone)} used${room}` : "nothing");
  setMeter(used.lastChild, share);
  const rest = others.slice(0, 3).map((key) => `${keyText(key.key)} ${number(taken(key))}`);
  say(next, rest.join(", "));
}

// By which column each table is sorted.
const sorted = { customers: "tokens", models: "tokens", teams: "tokens" };
const COLUMNS = [["events", "Calls"], ["tokens", "Tokens"], ["costCents", "Cents"]];
const shownTop = {};

function showTop(id, rows) {
  shownTop[id] = rows;
  const table = $(id);
  if (!table.tHead) {
    const heads = COLUMNS.map(([column, name]) => {
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => {
        sorted[id] = column;
        showTop(id, shownTop[id]);
      });
      return make("th", { scope: "col", class: "number" }, button);
    });
    const name = { customers: "Customer", models: "Model", teams: "Team" }[id];
    const head = make("tr", {}, make("th", { scope: "col" }, name), ...heads);
    table.append(make("thead", {}, head), make("tbody"));
  }
  COLUMNS.forEach(([column], nth) => {
    const head = table.tHead.rows[0].cells[nth + 1];
    if (sorted[id] === column) head.setAttribute("aria-sort", "descending");
    else head.removeAttribute("aria-sort");
  });
  const best = [...rows].sort((a, b) => Number(b[sorted[id]]) - Number(a[sorted[id]])).slice(0, 8);
  const create = () => {
    const numbers = COLUMNS.map(() => make("td", { class: "number" }));
    return make("tr", {}, make("td"), ...numbers);
  };
  fill(table.tBodies[0], best, (one) => String(one.value), create, (row, one) => {
    say(row.cells[0], one.value ?? "none");
    COLUMNS.forEach(([column], nth) => say(row.cells[nth + 1], number(Number(one[column]))));
  });
}

/** What a list says where there is nothing in it. */
function orNothing(items, text) {
  return items.length > 0 ? items : [{ nothing: text }];
}

function showRefused(items) {
  const nameOf = (id) => (rulesById.has(id) ? ruleOf(rulesById.get(id)).rule.name : id ?? "");
  const create = () => make("tr", {}, make("td"), make("td"), make("td", { class: "number" }));
  const keyOf = (one) => one.nothing ?? JSON.stringify([one.ruleId, one.key]);
  const list = orNothing(items.slice(0, 8), "nobody");
  fill($("refused").tBodies[0], list, keyOf, create, (row, one) => {
    say(row.cells[0], one.nothing ?? keyText(one.key));
    say(row.cells[1], nameOf(one.ruleId));
    say(row.cells[2], one.nothing ? "" : number(one.refused));
  });
}

const makeItem = () => make("li", {}, make("span"), make("small"));

function showAlerts(alerts) {
  const list = orNothing(alerts.slice(0, 8), "Nothing has fired");
  fill($("alerts"), list, (one) => one.id ?? "", makeItem, (item, one) => {
    if (one.nothing) return say(item.firstChild, one.nothing);
    const { data } = one;
    const reached = data.percentage === null ? "" : ` at ${data.percentage} %`;
    say(item.firstChild, `${data.limitName}: ${keyText(data.key)}${reached}`);
    item.firstChild.className = one.event === "limit.exceeded" ? "bad" : "";
    say(item.lastChild, `${timeOf(one.timestamp)}, ${number(Number(data.currentUsage))} used`);
  });
}

function showReservations(list, open) {
  say($("tile-reservations"), number(open));
  const items = orNothing(list.slice(0, 8), "None is open");
  fill($("reservations"), items, (one) => one.id ?? "", makeItem, (item, one) => {
    if (one.nothing) return say(item.firstChild, one.nothing);
    const event = one.estimate;
    say(item.firstChild, [event.customerId, event.model].filter(Boolean).join(", "));
    say(item.lastChild, `since ${timeOf(one.timestamp)}, until ${timeOf(one.expiresAt)}`);
  });
}
