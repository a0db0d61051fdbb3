// What all pages share. Text of rows goes into text nodes only, never into markup.
"use strict";

/** Call a function of the server; an error has the server's own words. */
async function call(name, said = {}) {
  let answer;
  try {
    answer = await fetch(`call/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(said),
    });
  } catch (error) {
    throw new Error("The server does not answer: is fewshot still running in the terminal?");
  }
  const got = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(got.error);
  return got;
}

/** An element with a class, and text or elements inside. */
function element(tag, className, ...inside) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...inside.map((one) => (one instanceof Node ? one : String(one))));
  return made;
}

/** Show a message in the page's line of messages; an empty one hides it. */
function say(text, isError = false) {
  const line = document.getElementById("message");
  line.textContent = text;
  line.hidden = !text;
  line.classList.toggle("error", isError);
}
