// The overview, and the tables of functions, regions and refusals.

const tile = (value, label) => el("div", { class: "tile" }, el("b", {}, value), el("span", { class: "soft" }, label));

function regionColumns() {
  return [
    { label: "function", get: (r) => r.function, show: (r) => link(r.function), class: "name" },
    { label: "region", get: (r) => r.header, class: "name" },
    { label: "state", get: (r) => r.state, show: (r) => tag(r.state) },
    { label: "share", get: (r) => r.weight, show: (r) => percent(r.weight), num: true },
    { label: "entries", get: (r) => r.entries, num: true },
    { label: "while running", get: (r) => r.running, num: true },
    { label: "side exits", get: (r) => r.side_exits.reduce((sum, s) => sum + s[1], 0), num: true },
    { label: "instructions", get: (r) => r.after, show: (r) => (r.before ? `${number(r.before)} → ${number(r.after)}` : "–"), num: true },
    { label: "compile time", get: (r) => r.micros, show: (r) => micros(r.micros), num: true },
    { label: "found by", get: (r) => r.found_by },
    { label: "why", get: (r) => r.reason || r.settled, show: (r) => r.reason || r.settled, class: "reason" },
  ];
}

const searchRegion = (r) => `${r.function} ${r.header} ${r.state} ${r.reason}`;

/** Samples of the program counter: shares, and how many there are. */
function times() {
  const all = data.times ? data.times.tier0 + data.times.tier1 : 0;
  if (!all) return note(data.times ? "No sample was taken: it did not run for long." : "Not in the report: make it with --html, or with --inspect.");
  return [
    ["tier 0", data.times.tier0, "var(--tier0)"], ["tier 1", data.times.tier1, "var(--tier1)"],
  ].map(([name, samples, colour]) => bar(name, [[samples / all, colour]], percent(samples / all)))
    .concat(note(`Of ${number(all)} samples in generated code, one every few milliseconds. Compiling and the host are not in it.`));
}

function overview() {
  const t = data.totals;
  const hottest = data.functions.filter((f) => f.executed > 0).slice(0, 12);
  const most = Math.max(1, ...hottest.map((f) => f.executed));
  const slowest = [...data.functions].sort((a, b) => b.micros[0] + b.micros[1] - a.micros[0] - a.micros[1])
    .filter((f) => f.micros[0] + f.micros[1] > 0).slice(0, 12);
  const longest = Math.max(1, ...slowest.map((f) => f.micros[0] + f.micros[1]));
  const tiers = Object.entries(data.memory.tiers);
  const memory = Math.max(1, ...tiers.map(([, m]) => m.live + m.retired + m.freed));
  const reasons = new Map();
  for (const p of data.problems) {
    const key = `${p.state}: ${p.code || short(p.reason, 90)}`;
    reasons.set(key, (reasons.get(key) || 0) + 1);
  }
  return [
    el("div", { class: "tiles" },
      tile(number(t.functions), "functions"),
      tile(number(t.calls), "calls counted at tier 0"),
      tile(`${number(t.published)} of ${number(t.loops)}`, "loops at tier 1, as regions"),
      tile(number(t.whole), "functions whole at tier 1"),
      tile(number(t.entries), "entries into regions"),
      tile(number(t.entries_while_running), "of them into a running loop"),
      tile(number(t.side_exits), "side exits taken"),
      tile(number(t.refused + t.failed), "refused or failed"),
      tile(micros(t.micros[0]), "compile time, tier 0"),
      tile(micros(t.micros[1]), "compile time, tier 1")),
    section("Hottest regions", table(regionColumns(), data.regions.slice(0, 10)),
      data.regions.length > 10 ? note("All of them are under “Regions”.") : null),
    el("div", { class: "columns" },
      section("Time at each tier", times()),
      section("Where counts went",
        note("Instructions executed at tier 0, by function. What has moved to tier 1 does not count any more."),
        hottest.map((f) => bar(link(f.name), [[f.executed / most, "var(--hot)"]], percent(f.share))),
        hottest.length ? null : note("Nothing was counted.")),
      section("Compile time",
        legend([["var(--tier0)", "tier 0"], ["var(--tier1)", "tier 1"]]),
        slowest.map((f) => bar(link(f.name), [[f.micros[0] / longest, "var(--tier0)"], [f.micros[1] / longest, "var(--tier1)"]],
          micros(f.micros[0] + f.micros[1])))),
      section("Memory of code",
        legend([["var(--region)", "live"], ["var(--tier0)", "retired"], ["var(--soft)", "freed so far"]]),
        tiers.map(([name, m]) => bar(name,
          [[m.live / memory, "var(--region)"], [m.retired / memory, "var(--tier0)"], [m.freed / memory, "var(--soft)"]],
          bytes(m.live)))),
      section("Refused, skipped and failed",
        reasons.size ? table([
          { label: "reason", get: (r) => r[0], class: "reason" },
          { label: "parts", get: (r) => r[1], num: true },
        ], [...reasons], { sort: 1 }) : note("Nothing."),
        data.workers.panics ? note(`${number(data.workers.panics)} panics were contained.`) : null)),
  ];
}

const functionsTable = () => section("Functions", table([
  { label: "function", get: (f) => f.name, show: (f) => link(f.name), class: "name" },
  { label: "tier", get: (f) => (f.tier === null ? -1 : f.tier), show: (f) => (f.tier === null ? "–" : f.tier), num: true },
  { label: "share", get: (f) => f.share, show: (f) => percent(f.share), num: true },
  { label: "executed", get: (f) => f.executed, num: true },
  { label: "entries", get: (f) => f.calls, num: true },
  { label: "blocks", get: (f) => f.blocks, num: true },
  { label: "instructions", get: (f) => f.instructions, num: true },
  { label: "at tier 1", get: (f) => f.published, num: true },
  { label: "compile time", get: (f) => f.micros[0] + f.micros[1], show: (f) => micros(f.micros[0] + f.micros[1]), num: true },
  { label: "whole function", get: (f) => f.state, show: (f) => tag(f.state) },
], data.functions, { search: (f) => f.name }), leftOut(data.left_out.functions, "functions"));

const regionsTable = () => section("Regions", table(regionColumns(), data.regions, { search: searchRegion }),
  leftOut(data.left_out.regions, "loops"));

const problemsTable = () => section("Refused, skipped and failed", table([
  { label: "function", get: (p) => p.function, show: (p) => link(p.function), class: "name" },
  { label: "part", get: (p) => p.part, class: "name" },
  { label: "state", get: (p) => p.state, show: (p) => tag(p.state) },
  { label: "code", get: (p) => p.code, class: "name" },
  { label: "reason", get: (p) => p.reason, class: "reason" },
], data.problems, { search: (p) => `${p.function} ${p.part} ${p.state} ${p.code} ${p.reason}` }),
  leftOut(data.left_out.problems, "of these"));
