// One function: its graph, the CLIF of a block, its versions side by side.

/** The CLIF of each block, by name. A block's header ends with a colon and has no more than source locations before it. */
function blockTexts(clif) {
  const texts = new Map();
  let lines = null;
  for (const line of (clif || "").split("\n")) {
    const header = /^\s*(block\d+)(\(.*\))?( cold)?:/.exec(line);
    if (header) texts.set(header[1], (lines = []));
    if (line === "}") lines = null;
    if (lines && line.trim()) lines.push(line);
  }
  return texts;
}

/** A line of CLIF without the numbers of values, which outlining and the optimiser change. */
const shape = (line) => line.replace(/;.*$/, "").replace(/\bv\d+/g, "v").trim();

/** How many lines of a text are shown before more are asked for: browsers take long for very many. */
const LINES = 1000;

/** Text in which what is not in `before`, but for the numbers of values, is marked. */
function marked(text, before) {
  const old = before === null ? null : new Set(before.split("\n").map(shape));
  const lines = text.split("\n");
  const show = (line) => (old && line.trim() && !old.has(shape(line)) ? el("span", { class: "new" }, line) : `${line}\n`);
  const pre = el("pre", {}, lines.slice(0, LINES).map(show));
  if (lines.length <= LINES) return pre;
  const rest = el("button", { onclick: () => { pre.append(...lines.slice(LINES).map(show)); rest.remove(); } },
    `show ${number(lines.length - LINES)} more lines`);
  return el("div", {}, pre, rest);
}

const column = (title, text, before = null) =>
  el("div", {}, el("h3", {}, title), text ? marked(text, before) : note("not in the report"));

/** What a pass did to the version's CLIF, in words. */
function passText(p) {
  const counts = ["instructions", "loads", "stores", "calls"].filter((what) => p[what][0] !== p[what][1])
    .map((what) => `${number(p[what][0])} → ${number(p[what][1])} ${what}`);
  return `${p.pass}: ${number(p.changes)} changes${counts.length ? `, ${counts.join(", ")}` : ""}`;
}

function versionText(f, v) {
  const { clif, optimized, machine } = v.code || { clif: "", optimized: "", machine: "" };
  const made = v.tier === 0 ? "Instrumented CLIF" : v.label === "function" ? "CLIF that was compiled" : "Outlined CLIF";
  return [
    note(`tier ${v.tier}, ${v.before ? `${number(v.before)} → ${number(v.after)} instructions, ` : ""}${bytes(v.bytes)}, compiled in ${micros(v.micros)}. ` +
      "Marked: what the column before does not have, whatever the numbers of values."),
    v.passes.length ? note(`Passes before the code generator's own: ${v.passes.map(passText).join("; ")}.`) : "",
    el("div", { class: "texts" },
      column("Source CLIF", f.clif || ""),
      column(made, clif, f.clif || null),
      column("After the optimiser", optimized, clif),
      column("Machine code", machine)),
  ];
}

function versions(f) {
  if (!f.versions.length) return section("Versions", note("It was never compiled."));
  const body = el("div", {});
  const buttons = f.versions.map((v, at) => el("button", { role: "tab", onclick: () => show(at) }, `${v.label}, tier ${v.tier}`));
  function show(at) {
    buttons.forEach((button, other) => button.setAttribute("aria-selected", other === at));
    body.replaceChildren(...versionText(f, f.versions[at]));
  }
  show(f.versions.length > 1 ? 1 : 0);
  return section("Versions", el("div", { class: "tabs", role: "tablist" }, buttons), body);
}

function graphSection(f) {
  if (!f.graph) return section("Control flow", note(f.without || "Its graph is not drawn: there are hotter ones to draw."));
  const texts = blockTexts(f.clif);
  const side = el("div", {}, note("Click a block for its CLIF."));
  let chosen = null;
  const choose = (at, block) => {
    if (chosen) chosen.classList.remove("chosen");
    (chosen = block).classList.add("chosen");
    const n = f.graph.nodes[at];
    const out = f.graph.edges.filter((e) => e.from === at).map((e) => `${f.graph.nodes[e.to].name}: ${number(e.count)}`);
    side.replaceChildren(
      el("h3", {}, `${n.name}: executed ${number(n.count)} times, in ${n.depth} loops`),
      out.length ? note(`leads to ${out.join(", ")}`) : null || "",
      el("pre", { class: "clif" }, (texts.get(n.name) || ["Its text is not on this page."]).join("\n")));
  };
  return section("Control flow",
    legend([["var(--hot)", "executed often"], ["var(--region)", "region at tier 1"], ["var(--loop)", "loop, back edge"]]),
    f.graph.left_out ? note(`${number(f.graph.left_out)} of ${number(f.graph.left_out + f.graph.nodes.length)} blocks are not drawn: the coldest.`) : null,
    el("div", { class: "graph" }, el("div", { class: "scroll" }, drawGraph(f.graph, choose)), el("aside", {}, side)));
}

function functionPage(at) {
  const f = data.functions[at];
  const own = data.regions.filter((r) => r.function === f.name);
  const problems = data.problems.filter((p) => p.function === f.name);
  return [
    el("h2", { class: "name" }, f.name),
    el("p", { class: "soft" }, `${number(f.calls)} calls, ${number(f.instructions)} instructions in ${number(f.blocks)} blocks, ` +
      `${percent(f.share)} of what was executed at tier 0; a call reaches tier ${f.tier === null ? "–" : f.tier}.`),
    graphSection(f),
    own.length ? section("Loops and regions", table(regionColumns().slice(1), own)) : null,
    f.irreducible.length ? section("Irreducible cycles", f.irreducible.map(note)) : null,
    problems.length ? section("Refused, skipped and failed", table([
      { label: "part", get: (p) => p.part, class: "name" },
      { label: "state", get: (p) => p.state, show: (p) => tag(p.state) },
      { label: "reason", get: (p) => p.reason, class: "reason" },
    ], problems)) : null,
    versions(f),
  ];
}
