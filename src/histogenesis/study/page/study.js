// One reader goes through a study. All that is asked stands in DATA; the answers stay in this browser until they are saved as a
// file: the page sends nothing. Screens: welcome, then for each part a practice question and its questions, then the end.
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const id = (name) => document.getElementById(name);
  const screen = id("screen");
  const made = (tag, about = {}, ...inside) => {
    const { data, ...rest } = about;
    const element = Object.assign(document.createElement(tag), rest);
    Object.entries(data ?? {}).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...inside.filter((one) => one !== null && one !== undefined));
    return element;
  };
  const say = (text) => (id("said").textContent = text);
  document.title = id("title").textContent = DATA.title;

  // ---------------------------------------------------------------------------- what is kept, in this browser alone
  const PREFIX = `reader-study:${DATA.study}:`, LAST = `${PREFIX}last`;
  const kept = {};
  let store = kept, lasting = true;
  try { localStorage.setItem(`${PREFIX}try`, "1"); localStorage.removeItem(`${PREFIX}try`); } catch { lasting = false; }
  const read = (key) => { try { return lasting ? localStorage.getItem(key) : store[key] ?? null; } catch { return store[key] ?? null; } };
  const write = (key, value) => {
    store[key] = value;
    try { if (lasting) localStorage.setItem(key, value); } catch { lasting = false; say("This browser cannot keep your answers. Save them as a file before you close the page."); }
  };
  const nobody = () => ({ reader: "", agreed: false, at: 0, answers: {}, comment: "" });
  const recall = (reader) => { try { return { ...nobody(), ...JSON.parse(read(PREFIX + reader)), reader }; } catch { return { ...nobody(), reader }; } };
  let state = nobody();
  const remember = () => { if (state.reader) { write(PREFIX + state.reader, JSON.stringify(state)); write(LAST, state.reader); } };

  // ---------------------------------------------------------------------------- the order, which depends on the reader's code
  const sampler = (text) => {
    let seed = 2166136261;
    for (const letter of text) seed = Math.imul(seed ^ letter.codePointAt(0), 16777619);
    return () => { seed = (seed + 0x6d2b79f5) | 0; let t = Math.imul(seed ^ (seed >>> 15), 1 | seed); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t; return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
  };
  const shuffled = (list, next) => {
    const out = [...list];
    for (let n = out.length - 1; n > 0; n--) { const other = Math.floor(next() * (n + 1)); [out[n], out[other]] = [out[other], out[n]]; }
    return out;
  };
  let steps = [];
  const lay = () => {
    const next = sampler(`${DATA.study}/${state.reader}`);
    steps = DATA.parts.flatMap((part) => [
      { part, practice: true, question: part.practice },
      ...shuffled(part.questions, next).map((question) => ({ part, question })),
    ]);
    steps.push({ end: true });
  };
  const asked = () => steps.filter((step) => step.question && !step.practice);
  const complete = ({ part, question }) => {
    const answer = state.answers[question.id]?.value;
    return part.kind === "rate" ? Object.keys(part.scales).every((scale) => answer?.[scale]) : answer !== undefined;
  };
  const progress = () => {
    const all = asked(), done = all.filter(complete).length;
    id("progress").hidden = false;
    Object.assign(id("bar"), { max: all.length, value: done });
    id("count").textContent = `${done} of ${all.length} answered`;
  };

  // ---------------------------------------------------------------------------- going on and back
  let view = null, shownAt = 0, current = null;
  const spend = () => {
    if (current && !current.practice && current.question && state.answers[current.question.id]) {
      state.answers[current.question.id].seconds = (state.answers[current.question.id].seconds ?? 0) + (Date.now() - shownAt) / 1000;
      shownAt = Date.now();
    }
  };
  const show = (at) => {
    spend();
    view?.destroy();
    view = null;
    state.at = Math.max(0, Math.min(at, steps.length - 1));
    remember();
    current = steps[state.at];
    shownAt = Date.now();
    say("");
    window.shown = current.end ? null : { id: current.question.id, kind: current.part.kind };
    screen.className = current.end ? "words" : "";
    screen.replaceChildren(...(current.end ? end() : question(current)));
    progress();
    screen.focus({ preventScroll: true });
    scrollTo(0, 0);
    if (current.question?.deep) zoom(current.question.deep);
  };
  const back = () => show(state.at - 1);
  const on = () => show(state.at + 1);

  // ---------------------------------------------------------------------------- a question
  const practised = {};
  const answerOf = (step) => (step.practice ? practised[step.part.name] : state.answers[step.question.id]?.value);
  const answer = (step, value) => {
    if (step.practice) {
      practised[step.part.name] = value;
      const right = step.question.right;
      say(right === undefined || typeof value === "object" || value === right ? "Practice: that is how to answer. Go on when you are ready." : "Practice: look again; this one has a right answer.");
    } else {
      state.answers[step.question.id] = { ...state.answers[step.question.id], value, order: asked().indexOf(step) };
      remember();
      say(lasting ? "" : "This browser cannot keep your answers. Save them as a file before you close the page.");
    }
    progress();
  };
  const choice = (step, name, value, words, key, change) => {
    const input = made("input", { type: "radio", name, value });
    input.checked = (answerOf(step)?.[name] ?? answerOf(step)) === value;
    input.addEventListener("change", () => change(value));
    return made("label", { className: "choice", data: { "data-key": key } }, input, made("span", {}, key ? made("kbd", { data: { "aria-hidden": "true" } }, key) : null, words));
  };
  const picture = (address, words) => {
    const image = made("img", { src: address, alt: words, draggable: false });
    image.addEventListener("error", () => say("A picture cannot be loaded. Your answers are kept; reload the page when the study can be reached again."));
    return made("div", { className: "frame" }, image);
  };
  const question = (step) => {
    const { part, question } = step, options = question.options ?? part.options;
    const head = [made("h2", {}, part.title)];
    if (step.practice) head.push(made("p", { className: "practice" }, "Practice: nothing is counted"));
    const ask = question.text || part.ask;
    const body = [];
    if (part.kind === "pick") {
      const figures = question.pictures.map((address, n) => {
        const side = ["left", "right"][n];
        return made("figure", {}, picture(address, `The ${side} picture`), choice(step, "answer", side, `The ${side} one`, String(n + 1), (value) => answer(step, value)));
      });
      body.push(made("fieldset", {}, made("legend", { className: "apart" }, ask), made("div", { className: "pictures" }, ...figures)));
    } else if (question.deep) {
      body.push(made("div", { className: "slide", id: "slide", tabIndex: 0, data: { role: "application", "aria-label": "The slide: + and - zoom, arrow keys move" } }), tools());
    } else {
      body.push(made("div", { className: `pictures${part.kind === "rate" ? " rated" : ""}` }, made("figure", {}, picture(question.pictures[0], "The picture"))));
    }
    if (part.kind === "rate") {
      const now = { ...(answerOf(step) ?? {}) };
      const lines = Object.entries(part.scales).map(([scale, words]) => made("fieldset", { className: "line", data: { "data-scale": scale } }, made("legend", {}, words),
        made("div", { className: "marks" }, "unrealistic", ...[1, 2, 3, 4, 5].map((mark) => choice(step, scale, mark, String(mark), "", (value) => { now[scale] = value; answer(step, { ...now }); })), "like real")));
      body.push(made("div", { className: "scales" }, ...lines));
    } else if (part.kind !== "pick") {
      const chosen = Object.entries(options).map(([value, words], n) => choice(step, "answer", value, words, String(n + 1), (one) => answer(step, one)));
      body.push(made("fieldset", {}, made("legend", { className: "apart" }, ask), made("div", { className: "options" }, ...chosen)));
    }
    const next = made("button", { type: "button", className: "main", id: "next", onclick: on }, "Next ", made("kbd", { data: { "aria-hidden": "true" } }, "Enter"));
    const before = made("button", { type: "button", id: "back", onclick: back, disabled: state.at === 0 }, "Back ", made("kbd", { data: { "aria-hidden": "true" } }, "Backspace"));
    return [...head, made("p", {}, ask), ...body, made("nav", {}, before, next)];
  };

  // ---------------------------------------------------------------------------- a whole slide, to the last pixel
  const tools = () => {
    const button = (words, label, act) => made("button", { type: "button", onclick: act, data: { "aria-label": label } }, words);
    const by = (factor) => () => { view.viewport.zoomBy(factor); view.viewport.applyConstraints(); };
    return made("div", { className: "tools" }, button("+", "Zoom in", by(1.6)), button("−", "Zoom out", by(1 / 1.6)),
      button("Whole slide", "Whole slide", () => view.viewport.goHome()), made("div", { className: "scale", id: "scale" }, made("i"), made("span")));
  };
  const zoom = (deep) => {
    const source = deep.image ? { type: "image", url: deep.image } : {
      width: deep.width, height: deep.height, tileSize: deep.tile, tileOverlap: 0, minLevel: 0, maxLevel: deep.last,
      getTileUrl: (level, x, y) => `tiles/${deep.name}/${level}/${x}_${y}.jpg`,
    };
    view = OpenSeadragon({
      element: id("slide"), tileSources: source, drawer: "canvas", showNavigationControl: false, showNavigator: !deep.image, maxZoomPixelRatio: 4,
      animationTime: 0.3, gestureSettingsMouse: { clickToZoom: false }, tileRetryMax: 3, tileRetryDelay: 1500,
    });
    const ruler = () => {
      if (!deep.mpp || !view?.viewport) return;
      const um = deep.mpp * deep.width * view.viewport.getBounds(true).width / view.element.clientWidth;
      const most = um * 160, power = 10 ** Math.floor(Math.log10(most)), length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
      id("scale").querySelector("i").style.width = `${length / um}px`;
      id("scale").querySelector("span").textContent = length >= 1000 ? `${length / 1000} mm` : `${+length.toPrecision(3)} µm`;
    };
    view.addHandler("open", ruler);
    view.addHandler("viewport-change", ruler);
    const lost = () => say("A part of the slide cannot be loaded. Your answers are kept; reload the page when the study can be reached again.");
    view.addHandler("tile-load-failed", lost);
    view.addHandler("open-failed", lost);
    window.slide = view;
  };

  // ---------------------------------------------------------------------------- the first and the last screen
  const welcome = () => {
    const code = made("input", { type: "text", id: "code", autocomplete: "off", maxLength: 40, value: read(LAST) ?? "" });
    const agree = made("input", { type: "checkbox", id: "agree" });
    const start = (event) => {
      event.preventDefault();
      const reader = code.value.trim();
      if (!reader) { say("Please enter the code that you were given."); return code.focus(); }
      if (!agree.checked) { say("Please read the text and tick the box if you agree."); return agree.focus(); }
      state = recall(reader);
      state.agreed = true;
      lay();
      show(state.at);
      if (Object.keys(state.answers).length) say("Welcome back: your answers are still here.");
    };
    const words = DATA.parts.map((part) => made("li", {}, `${part.title}: ${part.questions.length} question${part.questions.length > 1 ? "s" : ""}`));
    return [
      made("h2", {}, "Welcome"), ...DATA.welcome.map((text) => made("p", {}, text)), made("ul", {}, ...words),
      made("p", { className: "consent", id: "consent" }, DATA.consent),
      made("form", { onsubmit: start, className: "scales" },
        made("label", { className: "row" }, agree, "I have read this, and I agree to take part."),
        made("label", {}, "Your reader code", made("br"), code),
        made("div", {}, made("button", { className: "main", id: "start" }, "Start"))),
      made("p", { className: "note" }, "By keyboard: numbers answer, Enter goes on, Backspace goes back; in a slide + and - zoom, arrow keys move."),
      lasting ? null : made("p", { className: "note" }, "This browser keeps nothing for this page: do not close it before you have saved your answers."),
    ];
  };
  const results = () => ({
    format: "histogenesis reader answers", version: 1, study: DATA.study, reader: state.reader, agreed: state.agreed, saved: new Date().toISOString(),
    questions: asked().length, answered: asked().filter(complete).length, comment: state.comment,
    answers: Object.fromEntries(Object.entries(state.answers).map(([key, one]) => [key, { ...one, seconds: Math.round((one.seconds ?? 0) * 10) / 10 }])),
    end: "end",
  });
  const save = () => {
    const file = new Blob([JSON.stringify(results(), null, 1) + "\n"], { type: "application/json" });
    const link = made("a", { href: URL.createObjectURL(file), download: `answers-${state.reader.replace(/[^A-Za-z0-9_-]+/g, "_")}-${DATA.study}.json` });
    document.body.append(link);
    link.click();
    link.remove();
    say("Saved to your downloads. Please send that file back.");
  };
  const end = () => {
    const open = asked().filter((step) => !complete(step));
    const comment = made("textarea", { id: "comment", value: state.comment });
    comment.addEventListener("input", () => { state.comment = comment.value; remember(); });
    const list = open.map((step) => made("li", {}, made("button", { type: "button", onclick: () => show(steps.indexOf(step)) }, `Question ${asked().indexOf(step) + 1}`)));
    return [
      made("h2", {}, open.length ? "Nearly done" : "Thank you"),
      open.length ? made("p", {}, `${open.length} question${open.length > 1 ? "s are" : " is"} not answered yet. You may answer them now, or leave them out:`) : made("p", {}, "All questions are answered."),
      open.length ? made("ul", { className: "open" }, ...list) : null,
      made("label", {}, "Is there anything that you want to say? (optional)", made("br"), comment),
      made("p", {}, "Save your answers as a file and send it to the person who invited you. Nothing has been sent from this page."),
      made("nav", {}, made("button", { type: "button", id: "back", onclick: back }, "Back"), made("button", { type: "button", className: "main", id: "save", onclick: save }, "Save my answers")),
    ].filter(Boolean);
  };

  addEventListener("keydown", (event) => {
    if (!current || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea, input[type=text]")) return;
    const button = event.target.closest?.("button");
    if (event.key === "Enter" && !button && !current.end) { event.preventDefault(); return on(); }
    if (event.key === "Backspace" && state.at > 0) { event.preventDefault(); return back(); }
    if (!/^[1-9]$/.test(event.key)) return;
    const rows = [...screen.querySelectorAll("fieldset.line")];
    const row = rows.find((one) => one.contains(document.activeElement)) ?? rows.find((one) => !one.querySelector("input:checked")) ?? rows.at(-1);
    const input = row ? row.querySelectorAll("input")[event.key - 1] : screen.querySelector(`[data-key="${event.key}"] input`);
    if (!input) return;
    event.preventDefault();
    input.click();
    const below = rows[rows.indexOf(row) + 1];
    if (below) below.querySelector("input").focus(); else (row ? id("next") : screen).focus();
  });
  addEventListener("pagehide", () => { spend(); remember(); });
  addEventListener("beforeunload", (event) => { if (!lasting && Object.keys(state.answers).length) event.preventDefault(); });

  const greet = () => {
    spend();
    view?.destroy();
    view = current = null;
    id("progress").hidden = true;
    screen.className = "words";
    screen.replaceChildren(...welcome().filter(Boolean));
    say("");
  };
  id("other").addEventListener("click", greet);
  greet();
  const last = read(LAST);
  if (last && recall(last).agreed) { state = recall(last); lay(); show(state.at); say("Welcome back: your answers are still here."); }
})();
