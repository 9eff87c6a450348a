
// The page: signed in or not.

let mayChange = false;
let stop = null;

/** Asks for a key, and says why. */
function showDoor(why = "") {
  stop?.abort();
  stop = null;
  key.drop();
  points = [];
  $("change").close();
  $("inside").hidden = true;
  $("leave").hidden = true;
  $("door").hidden = false;
  for (const id of ["project", "who"]) say($(id), "");
  showState("", "");
  say($("door-problem"), why);
  $("key").focus();
}

async function enter() {
  let me;
  try {
    me = await ask("GET", "/me");
    if (me.scope === "record") throw new Error("This key may record, and read nothing");
  } catch (problem) {
    showDoor(problem.message);
    return;
  }
  mayChange = me.mayChange;
  document.body.classList.toggle("changer", mayChange);
  say($("project"), me.project);
  say($("who"), me.who ?? "");
  $("rules").tBodies[0].replaceChildren();
  $("door").hidden = true;
  $("inside").hidden = false;
  $("leave").hidden = false;
  follow();
  showHistory();
  showChanges().catch(() => {});
}

/** Listens for as long as the tab is signed in; a stream that ends is asked for again. */
async function follow() {
  stop?.abort();
  const own = new AbortController();
  stop = own;
  let pause = 250;
  while (!own.signal.aborted) {
    try {
      await listen((name, data) => {
        pause = 250;
        try {
          takes[name]?.(data);
        } catch (problem) {
          // What cannot be shown stops nothing else.
          console.error(name, problem);
        }
      }, own.signal);
    } catch (problem) {
      if (own.signal.aborted) return;
      if (problem.status === 401 || problem.status === 403) {
        showDoor(problem.message);
        return;
      }
      showState("lost", "No connection; trying again");
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 10000);
  }
}

function on(id, event, act) {
  $(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    act();
  });
}

on("door-form", "submit", () => {
  key.set($("key").value.trim());
  $("key").value = "";
  enter();
});
on("leave", "click", () => {
  key.drop();
  // What was shown is gone with the key.
  location.reload();
});
on("history-form", "submit", showHistory);
on("explain-form", "submit", explain);
on("change-form", "submit", applyChange);
on("change-look", "click", previewChange);
on("change-cancel", "click", () => $("change").close());

new ResizeObserver(() => redraw()).observe($("history"));

if (key.get()) enter();
else showDoor();
