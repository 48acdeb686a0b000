"use strict";
// The browser of questions. All text is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  if (!data.questions.length) return;
  const { questions, chunks, chains, names, shown, within } = data;
  const main = shown[0];
  const controls = ["outcome", "chain", "least", "most", "words"].map(byId);
  const [outcome, chain, least, most, words] = controls;
  const list = byId("list"), panel = byId("panel"), count = byId("count");

  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const place = (at) => `${chains[chunks[at][0]]}, chunk ${chunks[at][1].toLocaleString("en")}`;
  const said = (at) => chunks[at][2] ?? place(at);
  const rankOf = (question, name) => question.ranks[names.indexOf(name)];
  const isFound = (question, name) => rankOf(question, name) <= within;

  const keeps = {
    all: () => true,
    found: (question) => isFound(question, main),
    missed: (question) => !isFound(question, main),
    gained: (question) => shown[1] && isFound(question, main) && !isFound(question, shown[1]),
    lost: (question) => shown[1] && !isFound(question, main) && isFound(question, shown[1]),
  };
  const texts = questions.map((question) =>
    [question.target, ...question.context].map(said).join(" ").toLowerCase());

  let open = [], current = -1;

  const filter = () => {
    const wanted = words.value.trim().toLowerCase();
    const low = least.value ? Number(least.value) : 1, high = most.value ? Number(most.value) : Infinity;
    open = questions.map((_, at) => at).filter((at) => {
      const question = questions[at], rank = rankOf(question, main);
      return keeps[outcome.value](question)
        && (!chain.value || chunks[question.target][0] === Number(chain.value))
        && rank >= low && rank <= high && texts[at].includes(wanted);
    });
    count.textContent = `${open.length.toLocaleString("en")} of ${questions.length.toLocaleString("en")} questions`;
    list.replaceChildren(...open.map(entry));
    if (!open.length) {
      current = -1;
      panel.replaceChildren(make("p", "note", "No question passes these filters."));
    } else {
      show(open.includes(current) ? current : open[0], false);
    }
  };

  const entry = (at) => {
    const question = questions[at], item = make("li"), button = make("button");
    const rank = rankOf(question, main);
    button.type = "button";
    button.dataset.at = at;
    button.append(
      make("span", rank <= within ? "rank found" : "rank", rank.toLocaleString("en")),
      make("span", "said", said(question.target)),
      make("span", "where", place(question.target)));
    button.addEventListener("click", () => show(at, true));
    item.append(button);
    return item;
  };

  const hits = (found) => {
    const column = make("ol", "hits");
    for (const [score, at, isRight] of found) {
      const item = make("li", isRight ? "is-right" : ""), body = make("div");
      if (at !== null) body.append(make("div", "chunk", said(at)));
      const where = make("div", "where", `${at === null ? "of the given bank" : place(at)} · ${score.toFixed(3)}`);
      if (isRight) where.prepend(make("span", "mark", "✓ the right one · "));
      body.append(where);
      item.append(body);
      column.append(item);
    }
    return column;
  };

  const title = (text) => make("h3", "", text);

  const show = (at, wasChosen) => {
    current = at;
    for (const button of list.querySelectorAll("button")) {
      const isCurrent = Number(button.dataset.at) === at;
      button.setAttribute("aria-current", isCurrent);
      if (isCurrent && wasChosen) button.scrollIntoView({ block: "nearest" });
    }
    const question = questions[at], rank = rankOf(question, main);
    const bar = make("div", "bar");
    const step = (label, by, text) => {
      const button = make("button", "", text);
      button.type = "button";
      button.setAttribute("aria-label", label);
      button.addEventListener("click", () => move(by));
      return button;
    };
    bar.append(
      make("span", rank <= within ? "rank found" : "rank", `rank ${rank.toLocaleString("en")}`),
      make("strong", "", place(question.target)), step("previous question", -1, "←"), step("next question", 1, "→"));
    const read = question.read.toLocaleString("en");
    const context = make("div", "context");
    context.append(...question.context.map((row) => make("p", "chunk", said(row))));
    const right = make("p", "right chunk", said(question.target));
    const answers = make("div", "answers");
    shown.forEach((name, column) => {
      const part = make("div");
      const own = rankOf(question, name).toLocaleString("en");
      part.append(title(`${data.titles[name]}: the right one has rank ${own}`), hits(question.best[column]));
      answers.append(part);
    });
    const ranks = make("ul", "ranks");
    names.forEach((name, column) =>
      ranks.append(make("li", "", `${data.titles[name]} ${question.ranks[column].toLocaleString("en")}`)));
    panel.replaceChildren(
      bar, title(`Read: the last ${question.context.length} of ${read} chunks`), context,
      title("What came next"), right, answers, title("Rank of the right one by every method"), ranks);
  };

  const move = (by) => {
    const next = open[open.indexOf(current) + by];
    if (next !== undefined) show(next, true);
  };

  const used = new Set(questions.map((question) => chunks[question.target][0]));
  chains.forEach((name, at) => {
    if (used.has(at)) {
      const option = make("option", "", name);
      option.value = at;
      chain.append(option);
    }
  });
  for (const control of controls) control.addEventListener("input", filter);
  byId("clear").addEventListener("click", () => {
    for (const control of controls) control.value = control === outcome ? "all" : "";
    filter();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const moves = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 };
    const box = byId("browser").getBoundingClientRect();
    const isSeen = box.top < innerHeight && box.bottom > 0;
    if (event.key in moves && (isSeen || event.key.length === 1)) {
      event.preventDefault();
      move(moves[event.key]);
    } else if (event.key === "/") {
      event.preventDefault();
      words.focus();
    }
  });
  filter();
})();
