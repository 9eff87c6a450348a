
// The API of this server, with the key of this tab. It is where the page is.

const base = location.pathname.replace(/\/?$/, "/") + "engine/v1";

const key = {
  get: () => sessionStorage.getItem("limitry-key"),
  set: (value) => sessionStorage.setItem("limitry-key", value),
  drop: () => sessionStorage.removeItem("limitry-key"),
};

/** Why the server gave no answer. */
class Problem extends Error {
  constructor(status, detail, problems) {
    super([detail, ...problems.map((one) => `${one.path}: ${one.message}`)].join("\n"));
    this.status = status;
  }
}

async function send(method, path, body, signal) {
  const headers = { authorization: `Bearer ${key.get()}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const request = { method, headers, body: text, signal, cache: "no-store", credentials: "omit" };
  const response = await fetch(base + path, request);
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Problem(response.status, said.detail ?? "No answer", said.problems ?? []);
  }
  return response;
}

async function ask(method, path, body) {
  const response = await send(method, path, body);
  return response.status === 204 ? null : response.json();
}

/** Reads server-sent events; fetch can send the key as a header, and EventSource cannot. */
async function listen(take, signal) {
  const response = await send("GET", "/stream", undefined, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const found = /^event: (\w+)\ndata: (.*)$/.exec(event);
      if (found) take(found[1], JSON.parse(found[2]));
    }
  }
}
