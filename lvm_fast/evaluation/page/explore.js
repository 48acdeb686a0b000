"use strict";
// Asks as one types: one question at a time, and the newest next. All text is set as text, never as markup.
(() => {
  const facts = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const text = byId("text"), chain = byId("chain"), position = byId("position"), state = byId("state");
  const lengths = new Map(facts.chains);

  const make = (tag, kind, words) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (words !== undefined) element.textContent = words;
    return element;
  };
  const number = (value) => value.toLocaleString("en");

  const entry = (hit) => {
    const item = make("li"), body = make("div");
    if (hit.text) body.append(make("div", "chunk", hit.text));
    body.append(make("div", "where", `${hit.chain}, chunk ${number(hit.position)} · ${hit.score.toFixed(3)}`));
    item.append(body);
    return item;
  };

  const show = (answer) => {
    const all = answer.read === answer.chunks ? "" : `the last ${number(answer.read)} of `;
    const chunks = `${number(answer.chunks)} chunk${answer.chunks > 1 ? "s" : ""}`;
    state.textContent = `read ${all}${chunks}, answered in ${Math.round(answer.ms)} ms`;
    for (const name of ["next", "nearest"]) byId(name).replaceChildren(...answer[name].map(entry));
    const context = answer.context.filter(Boolean);
    byId("read").hidden = !context.length;
    byId("read").querySelector(".context").replaceChildren(...context.map((said) => make("p", "chunk", said)));
    byId("followed").hidden = !answer.followed_by;
    byId("followed").querySelector("p").textContent = answer.followed_by ?? "";
    byId("answers").hidden = false;
  };

  const blank = (words) => {
    state.textContent = words;
    for (const id of ["answers", "read", "followed"]) byId(id).hidden = true;
  };

  const question = () => {
    if (chain.value) return { chain: chain.value, position: Number(position.value) };
    return text.value.trim() ? { text: text.value } : null;
  };

  let isAsking = false, isStale = false;
  const ask = async () => {
    if (isAsking) {
      isStale = true;
      return;
    }
    const asked = question();
    if (!asked || (chain.value && !(position.value && position.checkValidity()))) {
      blank(asked ? `Choose a chunk from 1 to ${number(lengths.get(chain.value))}.` : "");
      return;
    }
    isAsking = true;
    isStale = false;
    try {
      const response = await fetch("ask", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
      const answer = await response.json();
      if (response.ok) show(answer);
      else blank(`No answer: ${answer.error}`);
    } catch {
      blank("No answer: lvm-fast explore has ended.");
    }
    isAsking = false;
    if (isStale) ask();
  };

  const choose = () => {
    position.disabled = !chain.value;
    if (chain.value) {
      position.max = lengths.get(chain.value);
      position.value = Math.max(1, Math.floor(lengths.get(chain.value) / 2));
    } else {
      position.value = "";
    }
    ask();
  };

  byId("about").textContent =
    `Model: ${facts.model}. Store: ${facts.data}, ${number(facts.rows)} chunks of ${number(facts.chains.length)} documents.`;
  for (const [name, length] of facts.chains) {
    if (length) {
      const option = make("option", "", name);
      option.value = name;
      chain.append(option);
    }
  }
  if (facts.no_encoder) {
    text.disabled = true;
    byId("field").hidden = true;
    byId("no-encoder").hidden = false;
    byId("no-encoder").firstElementChild.textContent =
      `Texts cannot be read here: ${facts.no_encoder}. Choose a document of the store instead.`;
  } else if (!facts.has_texts) {
    byId("no-encoder").hidden = false;
    byId("no-encoder").firstElementChild.textContent = "The store has no texts beside it, so chunks are told by their place.";
  }
  text.addEventListener("input", () => {
    if (chain.value) {
      chain.value = "";
      position.value = "";
      position.disabled = true;
    }
    ask();
  });
  chain.addEventListener("input", choose);
  position.addEventListener("input", ask);
  byId("clear").addEventListener("click", () => {
    text.value = "";
    chain.value = "";
    choose();
    (facts.no_encoder ? chain : text).focus();
  });
})();
