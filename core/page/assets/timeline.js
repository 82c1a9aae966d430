// What happened when, by thread.

const KINDS = {
  defined: "var(--soft)", redefined: "var(--soft)", removed: "var(--bad)", hot: "var(--hot)", queued: "var(--tier0)",
  compiled: "var(--tier1)", published: "var(--region)", entered: "var(--accent)", "side-exit-hot": "var(--bad)", "formed-again": "var(--loop)", freed: "var(--ink)",
};

function timeline() {
  if (!data.events) return section("Timeline", note("The report has no events: make it with --html, or with --inspect."));
  const { threads, list } = data.events;
  if (!list.length) return section("Timeline", note("Nothing happened."));
  const first = Math.min(...list.map((e) => e.at_micros));
  const last = Math.max(...list.map((e) => e.at_micros + e.micros), first + 1);
  const lane = 64;
  const holder = el("div", { class: "scroll" });
  const said = el("p", { class: "note" }, "Point at an event, or click it to get to its function.");
  function draw(zoom) {
    const width = 1300 * zoom;
    const x = (at) => 160 + ((at - first) / (last - first)) * (width - 200);
    const drawing = svg("svg", { width, height: threads.length * lane + 34, role: "img", "aria-label": "timeline" });
    const step = (last - first) / (8 * zoom);
    for (let at = first; at <= last; at += step) {
      drawing.append(svg("line", { x1: x(at), x2: x(at), y1: 18, y2: threads.length * lane + 20, stroke: "var(--line)" }),
        svg("text", { class: "small", x: x(at) + 3, y: 12 }, micros(Math.round(at - first))));
    }
    threads.forEach((thread, at) => drawing.append(svg("text", { class: "lane-label", x: 4, y: 20 + at * lane + lane / 2 }, short(thread, 22)),
      svg("line", { x1: 0, x2: width, y1: 20 + (at + 1) * lane, y2: 20 + (at + 1) * lane, stroke: "var(--line)" })));
    const kinds = Object.keys(KINDS);
    for (const e of list) {
      const top = 24 + threads.indexOf(e.thread) * lane;
      const what = `${e.event} ${e.function}, ${e.unit}${e.tier === null ? "" : `, tier ${e.tier}`} at ${micros(e.at_micros - first)}${e.micros ? `, took ${micros(e.micros)}` : ""}`;
      const go = () => { const at = placeOf.get(e.function); if (at !== undefined) location.hash = `#function/${at}`; };
      const own = { class: "event", fill: KINDS[e.event] || "var(--soft)", onclick: go, onmouseenter: () => { said.textContent = what; } };
      const place = e.micros
        ? { x: x(e.at_micros), y: top + (e.tier === 0 ? 36 : 24), width: Math.max(2, x(e.at_micros + e.micros) - x(e.at_micros)), height: 10, rx: 2, opacity: e.tier === 0 ? 0.55 : 1 }
        : { x: x(e.at_micros) - 1.5, y: top + (kinds.indexOf(e.event) % 4) * 5, width: 3, height: 14 };
      drawing.append(svg("rect", { ...place, ...own }, svg("title", {}, what)));
    }
    holder.replaceChildren(drawing);
  }
  draw(1);
  let zoom = 1;
  const by = (factor) => () => { zoom = Math.min(64, Math.max(1, zoom * factor)); draw(zoom); };
  return section("Timeline",
    legend(Object.entries(KINDS).map(([kind, colour]) => [colour, kind])),
    el("button", { onclick: by(2) }, "zoom in"), " ", el("button", { onclick: by(0.5) }, "zoom out"), said, holder,
    data.left_out.events ? note(`${number(data.left_out.events)} later events are not drawn.`) : null);
}
