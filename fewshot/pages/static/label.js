// The labelling page: it shows what the server says, and sends what is pressed.
"use strict";

const byId = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const MANY = 9; // classes: so many have a key
let state = null;
let busy = false; // while something is being kept: a key now would be for a text that nobody has read
let turn = 0; // of what was sent: an older answer is not shown over a newer one
let drawn = ""; // the names that buttons are there for
let failing = false; // whether the last look at the server failed

/** A name for this tab, so that two tabs show two texts and a reload shows the same one. */
function nameOfTab() {
  const fresh = Math.random().toString(36).slice(2);
  try {
    const kept = sessionStorage.getItem("tab") || fresh;
    sessionStorage.setItem("tab", kept);
    return kept;
  } catch {
    return fresh; // in a frame that may store nothing
  }
}
const tab = nameOfTab();

/** Send what somebody said, and show what comes next; an error is shown, and nothing has changed. */
async function send(name, said) {
  if (busy) return;
  busy = true;
  turn += 1;
  try {
    show(await call(name, { tab, ...said }));
    say(state.note);
    failing = false;
  } catch (error) {
    say(error.message, true);
  } finally {
    busy = false;
  }
}

/** Look what the classifier has learned meanwhile. */
async function look() {
  const mine = turn;
  if (!busy && !document.hidden) {
    try {
      const found = await call("state", { tab });
      if (mine === turn && !busy) show(found);
      if (failing) say("");
      failing = false;
    } catch (error) {
      failing = true;
      say(error.message, true);
    }
  }
  setTimeout(look, state && state.learning ? 700 : 4000);
}

function show(found) {
  const before = state;
  state = found;
  const done = state.row === null;
  byId("asked").hidden = done;
  byId("done").hidden = !done;
  if (!before || before.row !== state.row) showText();
  byId("reason").textContent = state.reason;
  showClasses();
  showProgress();
  showQuality();
  for (const id of ["none", "skip", "add"]) byId(id).disabled = done;
  byId("undo").disabled = !state.last;
  byId("last").textContent = state.last ? `${state.last.said}: ${state.last.text}` : "";
  byId("again").hidden = !done || !state.skipped;
  byId("file").textContent = state.file;
}

function showText() {
  const box = byId("text");
  box.replaceChildren();
  for (const [name, text] of state.fields) {
    if (name) box.append(element("span", "field", name));
    const own = element("div", "", text);
    own.dir = "auto";
    box.append(own);
  }
  box.scrollTop = 0;
  closeNew();
  if (byId("filter").value) {
    byId("filter").value = "";
    drawn = "";
  }
}

/** The classes that a key or the list reaches: all, or those with the typed letters. */
function visible() {
  const typed = byId("filter").value.trim().toLowerCase();
  return state.classes.filter(([name]) => name.toLowerCase().includes(typed));
}

function showClasses() {
  const many = state.classes.length > MANY;
  const shown = visible();
  byId("filtering").hidden = !many;
  byId("classes").classList.toggle("many", many);
  const names = JSON.stringify(shown.map(([name]) => name));
  if (names !== drawn) {
    byId("classes").replaceChildren(...shown.map(makeButton));
    drawn = names;
  }
  const guess = new Map(state.guess || []);
  const best = state.guess ? state.guess[0][0] : null;
  shown.forEach(([name, count], i) => {
    const button = byId("classes").children[i];
    const share = guess.get(name);
    button.querySelector(".bar").style.width = share === undefined ? "0" : `${100 * share}%`;
    button.querySelector(".probability").textContent = share === undefined ? "" : percent(share);
    button.querySelector(".count").textContent = count;
    button.classList.toggle("guessed", name === best);
    const said = share === undefined ? "no guess yet" : `guess ${percent(share)}`;
    button.setAttribute("aria-label", `${name}, ${said}, ${count} labelled`);
  });
}

function makeButton([name], i) {
  const title = element("span", "name", name);
  title.dir = "auto";
  const key = i < MANY ? [element("kbd", "", i + 1)] : [];
  const button = element(
    "button", "class", element("span", "bar"), ...key, title, element("span", "probability"), element("span", "count"),
  );
  button.type = "button";
  if (i < MANY) button.setAttribute("aria-keyshortcuts", String(i + 1));
  button.addEventListener("click", () => give(name));
  return button;
}

function give(name) {
  if (state.row !== null) send("label", { row: state.row, label: name });
}

function showProgress() {
  const extra = [];
  if (state.none) extra.push(`${state.none} of none of the classes`);
  if (state.skipped) extra.push(`${state.skipped} skipped`);
  const said = `${state.labelled} of ${state.texts} texts labelled${extra.length ? `, ${extra.join(", ")}` : ""}`;
  if (byId("progress").textContent !== said) byId("progress").textContent = said;
  byId("share").max = state.texts;
  byId("share").value = state.labelled + state.none + state.skipped;
  document.title = `${state.labelled} of ${state.texts} labelled`;
}

function showQuality() {
  const found = state.accuracy;
  byId("accuracy").textContent = found
    ? `Estimated accuracy of the guesses: ${percent(found.share)}, 95\u00a0% interval ${percent(found.low)} to ` +
      `${percent(found.high)} (${found.right} of the last ${found.n} texts of a random sample, guessed before you labelled them).`
    : "No estimate of the accuracy yet: it takes labels of texts drawn by chance, one in five.";
  byId("interval").hidden = !found;
  if (found) {
    byId("band").style.left = `${100 * found.low}%`;
    byId("band").style.width = `${100 * (found.high - found.low)}%`;
    byId("point").style.left = `${100 * found.share}%`;
  }
  const [right, n] = state.chosen;
  byId("hard").textContent = n ? `Of the last ${n} other texts, which were chosen and are harder: ${right} guessed right.` : "";
  const learned = state.learned
    ? `The classifier has learned from ${state.learned} labels.`
    : "The classifier goes by the names of the classes alone.";
  byId("learned").textContent = state.learning ? `${learned} It is learning …` : learned;
  byId("failed").hidden = !state.error;
  byId("failed").textContent = state.error ? `It could not learn: ${state.error} Labels are kept all the same.` : "";
}

function openNew() {
  if (state.row === null) return;
  byId("new").hidden = false;
  byId("name").focus();
}

function closeNew() {
  byId("new").hidden = true;
  byId("name").value = "";
}

const skip = (none) => state.row !== null && send("skip", { row: state.row, none });
const undo = () => state.last && send("undo", { act: state.last.act });

byId("none").addEventListener("click", () => skip(true));
byId("skip").addEventListener("click", () => skip(false));
byId("add").addEventListener("click", openNew);
byId("undo").addEventListener("click", undo);
byId("again").addEventListener("click", () => send("again", {}));
byId("cancel").addEventListener("click", closeNew);
byId("filter").addEventListener("input", showClasses);
byId("new").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("name").value.trim()) send("label", { row: state.row, label: byId("name").value, new: true });
});

document.addEventListener("keydown", (event) => {
  if (!state || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") {
      closeNew();
      byId("filter").value = "";
      showClasses();
      event.target.blur();
    } else if (event.key === "Enter" && event.target.id === "filter" && visible().length) {
      event.preventDefault();
      event.target.blur();
      give(visible()[0][0]);
    }
    return;
  }
  const keys = { 0: () => skip(true), s: () => skip(false), u: undo, n: openNew, "/": () => byId("filter").focus() };
  const chosen = /^[1-9]$/.test(event.key) ? byId("classes").children[Number(event.key) - 1] : undefined;
  const act = chosen ? () => chosen.click() : keys[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

look();
