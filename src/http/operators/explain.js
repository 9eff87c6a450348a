
// Which rules match a call, what is left of them, what nearly matched, and why it is refused.

async function explain() {
  const place = $("explained");
  try {
    const answer = await ask("POST", "/explain", typedEvent());
    place.replaceChildren(...explained(answer));
  } catch (problem) {
    place.replaceChildren(make("p", { class: "bad" }, problem.message));
  }
}

function typedEvent() {
  const text = (id) => $(id).value.trim();
  const event = { customerId: text("explain-customer"), eventType: text("explain-type") };
  if (text("explain-model")) event.model = text("explain-model");
  const numbers = {
    "explain-input": "inputTokens", "explain-output": "outputTokens", "explain-cost": "costCents",
  };
  for (const [id, field] of Object.entries(numbers)) {
    if (text(id)) event[field] = Number(text(id));
  }
  const pairs = text("explain-properties").split(",").map((pair) => pair.trim());
  const properties = pairs.filter(Boolean).map((pair) => {
    const [name, ...value] = pair.split("=");
    return [name.trim(), value.join("=").trim()];
  });
  if (properties.length > 0) event.properties = Object.fromEntries(properties);
  return event;
}

function explained({ decision, rules, leftOut, attributes }) {
  const refusing = rules.filter((rule) => isExceeded(rule) && isHard(rule.id));
  const names = refusing.map((rule) => rule.name).join(" and ");
  const because = names ? `Refused by ${names}` : "Refused";
  const verdict = decision.allowed === false
    ? make("p", { id: "verdict", class: "bad" }, because)
    : make("p", { id: "verdict", class: "good" }, "Let in");
  const groups = [
    ["Rules that apply", rules.filter((rule) => rule.outcome === "applies")],
    ["Rules that do not", rules.filter((rule) => rule.outcome !== "applies")],
  ];
  const lists = groups.filter(([, list]) => list.length > 0).flatMap(([title, list]) => {
    return [make("h3", {}, title), make("ul", { class: "list" }, ...list.map(ruleItem))];
  });
  if (lists.length === 0) lists.push(make("p", {}, "No rule matches, and none nearly does."));
  const known = Object.entries(attributes ?? {}).map(([key, value]) => `${key}=${value}`);
  if (known.length > 0) {
    lists.push(make("p", { class: "hint" }, `Known of the customer: ${known.join(", ")}`));
  }
  if (leftOut > 0) lists.push(make("p", { class: "hint" }, `${leftOut} more are not shown`));
  return [verdict, ...lists];
}

function isExceeded(rule) {
  return rule.outcome === "applies" && rule.exceeded;
}

/** Whether a rule refuses: of the others it is said, too, that they are exceeded. */
function isHard(id) {
  const known = rulesById.get(id);
  return (known ? ruleOf(known).rule.enforcement ?? "hard" : "hard") === "hard";
}

function ruleItem(rule) {
  const item = make("li", {}, make("span", {}, rule.name), make("small", {}, whyOf(rule)));
  if (isExceeded(rule)) item.firstChild.className = "bad";
  return item;
}

/** What a condition of a filter asks, in words. */
function wantedText(wanted) {
  if (wanted === null || wanted === undefined) return "any value";
  if (typeof wanted === "string") return wanted;
  return Array.isArray(wanted) ? `one of ${wanted.join(", ")}` : JSON.stringify(wanted);
}

function whyOf(rule) {
  switch (rule.outcome) {
    case "applies": {
      if (rule.limit === null) return `${rule.kind} without a limit`;
      const left = `${number(Number(rule.remaining))} of ${number(Number(rule.limit))} left`;
      const held = rule.held ? `, ${number(Number(rule.held))} held` : "";
      const reset = rule.reset ? `, starts over ${dateOf(rule.reset * 1000)}` : "";
      return `${rule.kind}: ${left}${held}${reset}${rule.exceeded ? ": exceeded" : ""}`;
    }
    case "missed": {
      const found = rule.found ?? (rule.instead ? rule.instead : "nothing");
      return `nearly: ${rule.dimension} is ${found}, wanted is ${wantedText(rule.wanted)}`;
    }
    case "replaced":
      return `replaced by ${rule.by} of the policy ${rule.policy}`;
    case "outOfTime":
      return "its time has not begun, or is over";
    default:
      return "turned off";
  }
}
