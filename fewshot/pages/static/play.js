// The playground: what is typed is rendered after a short pause, and scored after a longer one.
"use strict";

const RENDER_AFTER = 300;
const SCORE_AFTER = 1000;
const POLL_EVERY = 250;
const KINDS = {
  instruction: "instruction",
  demonstration: "demonstration",
  answer: "its answer",
  turn: "turn of a chat",
  field: "field",
  hole: "hole, with what may fill it",
  cut: "cut to fit the window",
};

const find = (id) => document.getElementById(id);
const sides = [0, 1].map((i) => ({
  area: find(`source-${i}`),
  name: "",
  file: null, // its path, where it can be saved
  kept: "", // the source as it was opened or saved
  rendered: null,
  rows: [], // the prompts, of the last source that parsed
  scored: null, // what is known of the predictions, and of which source
  failed: null, // why a source was not scored, and which
}));
let rows = [];
let beside; // the second template that the command line names
let hasSecond = false;
let edits = 0; // the number of the newest edit: an answer to an older one is dropped
let renderTimer, scoreTimer;
let rendering = false;

const shownSides = () => (hasSecond ? sides : sides.slice(0, 1));
const sources = () => shownSides().map((side) => side.area.value);
const letter = (i) => "AB"[i];

// what was typed

function edited() {
  edits += 1;
  clearTimeout(renderTimer);
  clearTimeout(scoreTimer);
  renderTimer = setTimeout(render, RENDER_AFTER);
  scoreTimer = setTimeout(score, SCORE_AFTER);
  showStatus("edited");
  showSaved();
  showResults();
}

async function render() {
  if (rendering) return; // the answer begins it again
  rendering = true;
  const mine = edits;
  try {
    const answer = await call("render", { sources: sources() });
    say("");
    if (mine === edits) {
      answer.templates.forEach((one, i) => {
        sides[i].rendered = one;
        if (!one.error) sides[i].rows = one.rows;
      });
      shownSides().forEach(showProblems);
      showRows();
    }
  } catch (error) {
    say(error.message, true);
  } finally {
    rendering = false;
  }
  if (mine !== edits) render();
}

async function score() {
  const mine = edits;
  const asked = sources();
  showStatus("computing …", true);
  try {
    const { ticket } = await call("score", { sources: asked });
    for (;;) {
      const state = await call("scores", { ticket });
      if (mine !== edits) return;
      if (state.stale) return showStatus("given up: another tab computes");
      if (state.error) throw new Error(state.error);
      (state.found || []).forEach((found, i) => keepScores(sides[i], { source: asked[i], ...found }));
      const done = (state.found || []).reduce((n, found) => n + found.rows.length, 0);
      shownSides().forEach(showProblems);
      showResults();
      showScores();
      if (!state.running) return showStatus(state.found.some((found) => found.error) ? "not all computed" : "computed");
      showStatus(`computing … ${done} of ${rows.length * asked.length}`, true);
      await new Promise((resolve) => setTimeout(resolve, POLL_EVERY));
    }
  } catch (error) {
    if (mine !== edits) return;
    say(error.message, true);
    showStatus("not computed");
  }
}

/** What was found before stays, dimmed, where nothing is found now. */
function keepScores(side, found) {
  side.failed = found.error ? found : null;
  if (!found.error || found.rows.length) side.scored = found;
}

function showStatus(text, busy = false) {
  const line = find("status");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("busy", busy);
}

// what is wrong with a template

function showProblems(side) {
  const i = sides.indexOf(side);
  const problem = find(`error-${i}`);
  const { error, line } = side.rendered || {};
  const scored = side.scored && side.scored.source === side.area.value ? side.scored : null;
  const message = error || (side.failed && side.failed.source === side.area.value && side.failed.error) || "";
  problem.hidden = !message;
  problem.querySelector("pre").textContent = message;
  problem.querySelector("button").hidden = !line;
  problem.querySelector("button").onclick = () => goTo(side.area, line);
  side.area.setAttribute("aria-invalid", String(Boolean(error)));
  const findings = ((scored && scored.findings) || (side.rendered && side.rendered.findings) || []).filter(
    (one) => one.message !== error,
  );
  const counts = ["error", "warning", "hint"].map((level) => [findings.filter((one) => one.level === level).length, level]);
  const named = counts.filter(([n]) => n).map(([n, level]) => `${n} ${level}${n > 1 ? "s" : ""}`);
  find(`count-${i}`).textContent = named.length ? `Lint: ${named.join(", ")}` : error ? "" : "Lint finds nothing.";
  find(`findings-${i}`).replaceChildren(
    ...findings.map((one) =>
      element("li", one.level, element("strong", "", one.level), ` ${one.message}\n`, element("em", "weak", one.cure)),
    ),
  );
}

function goTo(area, line) {
  const lines = area.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((n, one) => n + one.length + 1, 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[line - 1] || "").length);
}

// the rows

function showRows() {
  const kinds = new Set();
  const items = rows.map((row, at) => {
    const label = row.label === null ? "" : `, labelled ${row.label}`;
    const cells = shownSides().map((side, i) => {
      const shown = side.rows[at];
      const cell = element("div", side.rendered && side.rendered.error ? "old" : "");
      if (hasSecond) cell.append(element("span", "weak", letter(i)));
      if (shown && shown.error) cell.append(element("pre", "error text", shown.error));
      if (shown && shown.parts) {
        for (const [kind] of shown.parts) kinds.add(kind);
        cell.append(element("div", "prompt text", ...shown.parts.map(showPart)));
        cell.append(element("div", shown.n_cut ? "error" : "weak", shown.heading));
      }
      cell.append(element("div", "scored"));
      return cell;
    });
    return element("li", "", element("h3", "", `Row ${row.number}${label}`), element("div", "both", ...cells));
  });
  find("rows").replaceChildren(...items);
  const legend = Object.keys(KINDS).filter((kind) => kinds.has(kind));
  find("legend").replaceChildren(...legend.map((kind) => element("span", `part-${kind}`, KINDS[kind])));
  showScores();
}

function showPart([kind, text]) {
  const part = element("span", `part-${kind}`, text);
  if (KINDS[kind]) part.title = KINDS[kind];
  return part;
}

function showScores() {
  [...find("rows").children].forEach((item, at) => {
    shownSides().forEach((side, i) => {
      const cell = item.querySelectorAll(".scored")[i];
      const found = side.scored && side.scored.rows[at];
      if (!cell) return;
      cell.classList.toggle("old", Boolean(side.scored) && side.scored.source !== side.area.value);
      cell.replaceChildren(...(found ? showPrediction(found, rows[at].label) : []));
    });
  });
}

function showPrediction(found, label) {
  const right = label === null ? "" : found.predicted === label ? "right" : "wrong";
  const line = element("div", "", "Predicted: ", element("strong", right, found.predicted));
  if (right) line.append(element("span", right, right === "right" ? " ✓ right" : " ✗ wrong"));
  const table = element("table", "scores");
  table.append(element("caption", "weak", captionOf(found)));
  for (const one of found.classes) {
    const own = found.words.filter((word) => word.label === one.label);
    const said = own.map((word) => `${word.word === one.label ? "" : word.word} ${word.share.toFixed(2)}`).join(", ");
    const bar = element("div", "bar");
    bar.style.width = `${100 * one.probability}%`;
    const name = element("th", "", one.label);
    name.scope = "row";
    const track = element("td", "track", bar);
    track.setAttribute("aria-hidden", "true");
    const similar = one.similarity === null ? "" : one.similarity.toFixed(2);
    table.append(
      element(
        "tr",
        one.label === found.predicted ? "predicted" : "",
        name,
        element("td", "weak said", said || similar),
        track,
        element("td", "number", one.probability.toFixed(3)),
      ),
    );
  }
  return [line, table];
}

/** What the numbers are. */
function captionOf(found) {
  if (!found.words.length) return "Class, similarity, probability";
  const calibrated = found.classes.some((one) => one.before !== null);
  return `Class, share of its label words${calibrated ? " before calibration" : ""}, probability`;
}

// accuracy and label words

function showResults() {
  const lines = shownSides().map((side, i) => {
    const scored = side.scored;
    const line = element("div", "result");
    if (!scored || (!scored.accuracy && !scored.words.length)) return line;
    if (scored.source !== side.area.value) line.classList.add("old");
    if (hasSecond) line.append(element("span", "weak", `${letter(i)} `));
    if (scored.accuracy) {
      const { right, n, low, high } = scored.accuracy;
      line.append(element("strong", "", (right / n).toFixed(2)), ` accuracy, ${right} of ${n} right `);
      line.append(element("span", "weak", `(95 % interval ${low.toFixed(2)} to ${high.toFixed(2)})`));
    }
    if (scored.words.length) line.append(showWords(scored));
    return line;
  });
  const open = [...find("results").querySelectorAll("details")].some((one) => one.open);
  find("results").replaceChildren(element("div", "both", ...lines), ...showDifference());
  for (const one of find("results").querySelectorAll("details")) one.open = open;
}

function showWords(scored) {
  const table = element("table", "scores words");
  for (const word of scored.words) {
    const facts = [
      word.n_tokens === null ? "" : `${word.n_tokens} token${word.n_tokens > 1 ? "s" : ""}`,
      word.first === null ? "" : `first ‘${word.first}’`,
      word.probability === null ? "" : `probability ${word.probability.toPrecision(2)}`,
      word.share === null ? "" : `share ${word.share.toFixed(2)}`,
      word.frame || "",
    ];
    const name = element("th", "", `${word.label}: ${word.word}`);
    name.scope = "row";
    table.append(element("tr", "", name, element("td", "weak", facts.filter(Boolean).join(", "))));
  }
  const mass = scored.mass === null ? "" : `, of a total probability of ${scored.mass.toPrecision(2)} after “N/A”`;
  return element("details", "", element("summary", "weak", `Label words${mass}`), table);
}

/** How two templates differ on the rows with a label that both have classified. */
function showDifference() {
  if (!hasSecond || !sides.every((side) => side.scored)) return [];
  const only = [0, 0];
  rows.forEach((row, at) => {
    const found = sides.map((side) => side.scored.rows[at]);
    if (row.label === null || !found.every(Boolean)) return;
    const right = found.map((one) => one.predicted === row.label);
    if (right[0] !== right[1]) only[right[0] ? 0 : 1] += 1;
  });
  if (!only[0] && !only[1]) return [];
  return [element("p", "weak", `Only A is right on ${only[0]} of the rows, only B on ${only[1]}.`)];
}

// files

function showSaved() {
  sides.forEach((side, i) => {
    const changed = side.area.value !== side.kept;
    find(`save-${i}`).disabled = side.file === null;
    find(`saved-${i}`).textContent =
      side.file === null
        ? i && sides[0].file !== null ? "Swap the two to save this one." : "Begin with --output FILE to save."
        : changed ? `Not saved to ${side.file}` : `As in ${side.file}`;
  });
}

async function save(i, overwrite = false) {
  const side = sides[i];
  if (side.file === null) return say("This template has no file: begin again with --output FILE to save it.", true);
  const source = side.area.value;
  try {
    const { changed } = await call("save", { side: i, source, overwrite });
    find("changed").hidden = !changed;
    say("");
    if (changed) {
      find("changed-text").textContent = changed;
      find("overwrite").onclick = () => save(i, true);
      find("take").onclick = () => take(i);
      return find("overwrite").focus();
    }
    side.kept = source;
    if (i) beside.source = source;
    showSaved();
    showStatus(`saved to ${side.file}`);
    if (overwrite) side.area.focus();
  } catch (error) {
    say(error.message, true);
  }
}

async function take(i) {
  try {
    const { source } = await call("read", { side: i });
    find("changed").hidden = true;
    sides[i].kept = sides[i].area.value = source;
    sides[i].area.focus();
    edited();
  } catch (error) {
    say(error.message, true);
  }
}

// the second template

function offerSecond(gallery) {
  const choices = [["", "nothing"], ["copy", "a copy of the first"]];
  if (beside) choices.push(["beside", beside.name]);
  const group = element("optgroup", "", ...gallery.map((name) => option(`gallery/${name}`, name)));
  group.label = "Gallery";
  find("second").append(...choices.map(([value, text]) => option(value, text)), group);
  find("second").value = beside ? "beside" : "";
  find("second").onchange = () => openSecond(find("second").value);
}

function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

async function openSecond(what) {
  const [first, second] = sides;
  if (hasSecond && second.area.value !== second.kept && !window.confirm("The second template has changed. Drop it?")) {
    find("second").value = second.opened;
    return;
  }
  try {
    let source = "";
    if (what === "copy") source = first.area.value;
    else if (what === "beside") source = beside.source;
    else if (what) source = (await call("open", { name: what.slice("gallery/".length) })).source;
    const name = what === "copy" ? `copy of ${first.name}` : what === "beside" ? beside.name : what.slice("gallery/".length);
    setSecond(what, name, source, what === "beside" ? beside.file : null);
    edited();
    if (what) second.area.focus();
  } catch (error) {
    say(error.message, true);
  }
}

function setSecond(what, name, source, file) {
  hasSecond = Boolean(what);
  Object.assign(sides[1], { name, file, kept: source, opened: what, rendered: null, rows: [], scored: null, failed: null });
  sides[1].area.value = source;
  find("side-1").hidden = find("swap").hidden = !hasSecond;
  showNames();
}

function showNames() {
  sides.forEach((side, i) => {
    find(`name-${i}`).textContent = hasSecond ? `Template ${letter(i)}: ${side.name}` : `Template: ${side.name}`;
  });
  showSaved();
}

function swap() {
  const [first, second] = sides;
  [first.area.value, second.area.value] = [second.area.value, first.area.value];
  for (const what of ["rendered", "rows", "scored", "failed"]) [first[what], second[what]] = [second[what], first[what]];
  edited();
  showRows();
}

// the beginning

async function begin() {
  try {
    const { model, rows: found, templates, gallery, classes } = await call("begin");
    rows = found;
    find("model").textContent = model;
    find("sample").textContent = `${rows.length} row${rows.length === 1 ? "" : "s"}${classes.length ? `, classes ${classes.join(", ")}` : ""}`;
    const [first] = templates;
    beside = templates[1];
    Object.assign(sides[0], { name: first.name, file: first.file, kept: first.saved ?? first.source });
    sides[0].area.value = first.source;
    offerSecond(gallery);
    if (beside) setSecond("beside", beside.name, beside.source, beside.file);
    showNames();
    for (const { area } of sides) {
      area.addEventListener("input", edited);
      area.disabled = false; // what was typed before would be lost
    }
    [0, 1].forEach((i) => (find(`save-${i}`).onclick = () => save(i)));
    find("swap").onclick = swap;
    render();
    score();
  } catch (error) {
    say(error.message, true);
  }
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "s") {
    event.preventDefault();
    save(hasSecond && document.activeElement === sides[1].area ? 1 : 0);
  }
});

window.addEventListener("beforeunload", (event) => {
  if (sides.some((side) => side.file !== null && side.area.value !== side.kept)) event.preventDefault();
});

begin();
