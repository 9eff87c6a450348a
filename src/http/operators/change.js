
// A limit is changed: first looked at, then applied, with a note.

let changing = null;

function openChange(id) {
  changing = ruleOf(rulesById.get(id));
  const { rule, unit, every, per } = changing;
  const time = [every, per && `per ${per}`].filter(Boolean).join(", ");
  say($("change-rule"), `${rule.name}: ${unit} ${time}`);
  $("change-limit").value = rule.limitValue;
  $("change-note").value = "";
  $("change-preview").replaceChildren();
  say($("change-problem"), "");
  $("change").showModal();
  $("change-limit").select();
}

/** The rule with the limit that is typed, as a set of rules of its kind. */
function wantedSet() {
  const list = changing.kind === "quota" ? "quotas" : "rateLimits";
  return { [list]: [{ ...changing.rule, limitValue: Number($("change-limit").value) }] };
}

async function previewChange() {
  const asked = changing;
  const place = $("change-preview");
  say($("change-problem"), "");
  if (!$("change-form").reportValidity()) return;
  place.replaceChildren(make("p", { class: "hint" }, "Looking at the last day\u2026"));
  const rules = wantedSet();
  const day = new Date(Date.now() - 86400000).toISOString();
  try {
    const report = await ask("POST", "/sync", { rules, preview: true });
    // Another rule may have been opened meanwhile.
    if (asked !== changing) return;
    const shown = [make("h3", {}, "What would change"), syncList(report)];
    const head = make("h3", {}, "On the last day's calls");
    place.replaceChildren(...shown, head, make("p", { class: "hint" }, "Trying it\u2026"));
    const calls = { startDate: day };
    const whatIf = await ask("POST", "/simulate", { rules, missing: "keep", calls, keys: 3 });
    if (asked !== changing) return;
    place.replaceChildren(...shown, head, ...effect(whatIf));
  } catch (problem) {
    if (asked !== changing) return;
    place.replaceChildren();
    say($("change-problem"), problem.message);
  }
}

function syncList(report) {
  const items = report.updated.flatMap(({ name, fields }) => {
    return Object.entries(fields).map(([field, { from, to }]) => {
      return make("li", {}, `${name}: ${field} ${shortOf(from)} \u2192 ${shortOf(to)}`);
    });
  });
  const none = [make("li", {}, "nothing")];
  return make("ul", { class: "list" }, ...(items.length > 0 ? items : none));
}

function effect(report) {
  const { calls, refused, newlyRefused, newlyLetIn } = report.calls;
  const sum = `${number(calls)} calls: ${number(refused)} refused, ${number(newlyRefused)} of them `
    + `that were let in; ${number(newlyLetIn)} let in that were refused`;
  const shown = [make("p", {}, sum)];
  const own = report.rules.find((rule) => rule.id === changing.rule.id);
  const worst = (own?.worst ?? []).filter((one) => one.exceeded > 0).map((one) => {
    const text = `${keyText(one.key)}: ${number(one.exceeded)} of ${number(one.calls)} calls over`;
    return make("li", {}, text);
  });
  if (worst.length > 0) shown.push(make("ul", { class: "list" }, ...worst));
  if (report.isCutShort) shown.push(make("p", { class: "hint" }, "Not all of the day is kept."));
  return shown;
}

async function applyChange() {
  const asked = changing;
  const { rule } = asked;
  const note = new URLSearchParams({ note: $("change-note").value });
  const limitValue = Number($("change-limit").value);
  $("change-apply").disabled = true;
  try {
    await ask("PATCH", `/rules/${encodeURIComponent(rule.id)}?${note}`, { limitValue });
    if (asked === changing) $("change").close();
    await showChanges();
  } catch (problem) {
    say($("change-problem"), problem.message);
  } finally {
    $("change-apply").disabled = false;
  }
}

/** A value of a field, in few letters. */
function shortOf(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? text.slice(0, 60) + "\u2026" : text;
}

async function showChanges() {
  const { data } = await ask("GET", "/changes?limit=20");
  const list = orNothing(data, "None yet");
  fill($("changes"), list, (one) => String(one.id ?? ""), makeItem, (item, one) => {
    if (one.nothing) return say(item.firstChild, one.nothing);
    const fields = Object.entries(one.fields).filter(([, it]) => it && typeof it === "object");
    const differ = fields.filter(([, it]) => "from" in it).map(([field, { from, to }]) => {
      return `${field} ${shortOf(from)} \u2192 ${shortOf(to)}`;
    });
    const what = [one.what, one.ruleName].filter(Boolean).join(" ");
    say(item.firstChild, [what, differ.join(", ")].filter(Boolean).join(": "));
    say(item.lastChild, [`${dateOf(one.at)}, ${one.who}`, one.note].filter(Boolean).join(": "));
  });
}
