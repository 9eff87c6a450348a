
// Elements and texts. What came from a server is never read as HTML: it goes in as text.

const $ = (id) => document.getElementById(id);

/** Makes an element: its name, its attributes, and its children, which are elements or texts. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same of SVG. */
function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Sets a text where it differs, so that nobody's selection is lost. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes the children of an element match a list: those that were there are filled anew, so that
 * the focus stays where it is.
 */
function fill(parent, items, keyOf, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const gone of known.values()) gone.remove();
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A number, short where it is long. */
function number(value) {
  if (value === null || value === undefined) return "\u2013";
  return Math.abs(value) < 100000 ? whole.format(value) : compact.format(value);
}

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const date = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

function timeOf(text) {
  return clock.format(new Date(text));
}

function dateOf(text) {
  return date.format(new Date(text));
}

const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

/** The day of UTC that begins: days are summed up by these. */
function dayOf(text) {
  return day.format(new Date(text));
}

/** The values of a rule's key, or who is meant where there are none. */
function keyText(key) {
  const pairs = Array.isArray(key) ? key : Object.entries(key ?? {});
  return pairs.length === 0 ? "all together" : pairs.map(([, value]) => value).join(" / ");
}

const METRICS = {
  total_events: "calls",
  total_tokens: "tokens",
  total_cost_cents: "cents",
};

/** In which time a rule limits something: in a window, or in so many periods. */
function timeText(time, every = 1) {
  if (every > 1) return `in ${every} ${time}s`;
  const words = { concurrent: "at once", all_time: "in all", hour: "an hour", "": "" };
  if (words[time] !== undefined) return words[time];
  return /^[a-z]+$/.test(time) ? `a ${time}` : `in ${time.replace("rolling:", "any ")}`;
}

/** What a rule is: its kind, what stands in it, and what it limits in words. */
function ruleOf(entry) {
  const kind = entry.rateLimit ? "rateLimit" : "quota";
  const rule = entry[kind];
  const metric = rule.metric ?? "total_events";
  const unit = METRICS[metric] ?? (typeof metric === "string" ? metric : "units");
  const every = timeText(rule.window ?? rule.period ?? "", rule.every);
  const limit = rule.limitValue !== null && rule.limitValue !== undefined
    ? `${number(rule.limitValue)} ${unit}`
    : rule.balance ? `the balance ${rule.balance}` : "no limit";
  const per = (rule.per ?? []).join(", ");
  const filters = Object.entries(rule.dimensionFilters ?? {});
  const where = filters.map(([name, value]) => {
    return `${name} ${typeof value === "string" ? "= " + value : JSON.stringify(value)}`;
  });
  return { kind, rule, unit, every, limit, per, where: where.join(", ") };
}
