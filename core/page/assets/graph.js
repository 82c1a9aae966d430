// The control-flow graph of a function: blocks shaded by heat, edges as thick as their counts, loops nested, the
// border of each region, side exits with their counts.

const BLOCK = 40;

/** From 0 to 1, by the logarithm: counts span many powers of ten. */
const heat = (count, most) => (most > 0 ? Math.log1p(count) / Math.log1p(most) : 0);

function edgePath(nodes, from, to, back) {
  const [y1, y2] = [from.y + BLOCK / 2, to.y - BLOCK / 2];
  if (!back) {
    const bend = Math.max(14, (y2 - y1) / 2);
    return { d: `M${from.x},${y1} C${from.x},${y1 + bend} ${to.x},${y2 - bend} ${to.x},${y2}`, x: (from.x + to.x) / 2, y: (y1 + y2) / 2 };
  }
  // Round the side: up from the lower end of the latch to the upper end of the header.
  const beside = nodes.filter((n) => n.y >= to.y && n.y <= from.y).map((n) => n.x + n.w / 2);
  const side = Math.max(from.x + from.w / 2, to.x + to.w / 2, ...beside) + 16 + Math.min(90, Math.abs(from.y - to.y) / 9);
  const d = `M${from.x},${y1} C${from.x},${y1 + 26} ${side},${y1 + 26} ${side},${(y1 + y2) / 2} S${to.x},${y2 - 26} ${to.x},${y2}`;
  return { d, x: side, y: (y1 + y2) / 2 };
}

/** Blocks and the edges between them as one shape, so much larger than they are. */
function blob(graph, nodes, pad, colour, opacity) {
  const inside = new Set(nodes);
  return svg("g", { fill: colour, stroke: colour, opacity, "stroke-linejoin": "round" },
    nodes.map((at) => {
      const n = graph.nodes[at];
      return svg("rect", { x: n.x - n.w / 2 - pad, y: n.y - BLOCK / 2 - pad, width: n.w + 2 * pad, height: BLOCK + 2 * pad, rx: 8 + pad / 2, stroke: "none" });
    }),
    graph.edges.filter((e) => !e.back && inside.has(e.from) && inside.has(e.to)).map((e) =>
      svg("path", { d: edgePath(graph.nodes, graph.nodes[e.from], graph.nodes[e.to], false).d, fill: "none", "stroke-width": 10 + 2 * pad })));
}

function drawGraph(graph, choose) {
  const most = Math.max(0, ...graph.nodes.map((n) => n.count));
  const mostEdge = Math.max(0, ...graph.edges.map((e) => e.count));
  const right = Math.max(0, ...graph.edges.filter((e) => e.back).map((e) => edgePath(graph.nodes, graph.nodes[e.from], graph.nodes[e.to], true).x));
  const width = Math.max(graph.width, right + 70);
  const drawing = svg("svg", { width, height: graph.height, viewBox: `0 0 ${width} ${graph.height}`, role: "img", "aria-label": "control-flow graph" });
  const arrow = (id, colour) => svg("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" },
    svg("path", { d: "M0,0 L8,4 L0,8 z", fill: colour }));
  drawing.append(svg("defs", {}, arrow("ahead", "var(--soft)"), arrow("again", "var(--loop)"), arrow("aside", "var(--hot)")));
  const deepest = Math.max(1, ...graph.loops.map((l) => l.depth));
  for (const l of graph.loops) drawing.append(blob(graph, l.nodes, 4 + 5 * Math.min(4, deepest - l.depth), "var(--loop)", 0.1));
  for (const r of graph.regions) {
    drawing.append(blob(graph, r.nodes, 7, "var(--region)", 1), blob(graph, r.nodes, 5, "var(--bg)", 1), blob(graph, r.nodes, 5, "var(--region)", 0.12));
  }
  const hot = graph.regions.map((r) => new Set(r.nodes));
  for (const e of graph.edges) {
    const aside = hot.some((nodes, at) => nodes.has(e.from) && !nodes.has(e.to) && graph.regions[at].side_exits.some(([to]) => to === e.to));
    const path = edgePath(graph.nodes, graph.nodes[e.from], graph.nodes[e.to], e.back);
    drawing.append(svg("path", { class: `edge ${e.back ? "back" : aside ? "side" : ""}`, d: path.d, "stroke-width": 1 + 5 * heat(e.count, mostEdge),
      "marker-end": `url(#${e.back ? "again" : aside ? "aside" : "ahead"})` }, svg("title", {}, `${graph.nodes[e.from].name} → ${graph.nodes[e.to].name}: ${number(e.count)}`)));
    if (e.count > 0 && graph.edges.length <= 80) drawing.append(svg("text", { class: "small", x: path.x + 4, y: path.y }, number(e.count)));
  }
  for (const [at, n] of graph.nodes.entries()) {
    const pick = () => choose(at, block);
    const block = svg("g", { class: "block", tabindex: 0, role: "button", "aria-label": n.name, onclick: pick,
      onkeydown: (event) => { if (event.key === "Enter") pick(); } },
      svg("rect", { x: n.x - n.w / 2, y: n.y - BLOCK / 2, width: n.w, height: BLOCK, rx: 6,
        style: `fill: color-mix(in oklab, var(--hot) ${Math.round(heat(n.count, most) * 62)}%, var(--surface))` }),
      svg("text", { x: n.x, y: n.y - 4, "text-anchor": "middle" }, short(n.name, 40)),
      svg("text", { class: "small", x: n.x, y: n.y + 11, "text-anchor": "middle" }, `${number(n.count)} × ${number(n.instructions)}`),
      n.hidden ? svg("text", { class: "small", x: n.x, y: n.y + BLOCK / 2 + 11, "text-anchor": "middle" },
        `+ ${number(n.hidden)} edges not drawn, ${number(n.hidden_count)}`) : null);
    drawing.append(block);
  }
  for (const r of graph.regions) {
    for (const [to, count] of r.side_exits) {
      const n = graph.nodes[to];
      drawing.append(svg("text", { class: "small", x: n.x + 8, y: n.y - BLOCK / 2 - 6, style: "fill: var(--hot); stroke: var(--bg); stroke-width: 4px; paint-order: stroke" }, `side exit ${number(count)}`));
    }
  }
  return drawing;
}
