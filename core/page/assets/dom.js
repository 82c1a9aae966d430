"use strict";
// Making elements. What comes from the report becomes text or an attribute's value, never markup.

const data = JSON.parse(document.getElementById("report").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const number = (n) => Math.round(n).toLocaleString("en");
const percent = (x) => (x * 100 >= 99.95 ? "100" : (x * 100).toFixed(1)) + " %";

function micros(us) {
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}

function bytes(n) {
  if (n < 4096) return `${number(n)} B`;
  if (n < 4 << 20) return `${(n / 1024).toFixed(1)} KiB`;
  return `${(n / 1048576).toFixed(1)} MiB`;
}

/** Many names are shortened in the middle. */
function short(name, most = 60) {
  return name.length <= most ? name : `${name.slice(0, most / 2)}…${name.slice(-most / 2 + 1)}`;
}

const placeOf = new Map(data.functions.map((f, at) => [f.name, at]));

/** A function's name, leading to it where it is on the page. */
function link(name) {
  const at = placeOf.get(name);
  if (at === undefined) return el("span", { title: name }, short(name));
  return el("a", { href: `#function/${at}`, title: name }, short(name));
}

const tag = (state) => el("span", { class: `tag ${/^[a-z-]+$/.test(state) ? state : ""}` }, state);

const section = (title, ...children) => el("section", {}, el("h2", {}, title), children);

const note = (text) => el("p", { class: "note" }, text);

/** What is in the report and not on the page. */
const leftOut = (count, what) =>
  count > 0 ? note(`${number(count)} more ${what} are in the report; this page has the hottest.`) : null;

/**
 * A table that can be sorted by a click on its header, and searched.
 * Columns: label, get (a row's value), show (what is printed, if not the value), num.
 */
function table(columns, rows, { search, sort = -1, most = 200 } = {}) {
  const body = el("tbody", {});
  const more = el("p", { class: "note" });
  let [by, down, wanted] = [sort, true, ""];
  const heads = columns.map((column, at) =>
    el("th", { class: column.num ? "num" : null },
      el("button", { onclick: () => { [by, down] = [at, by === at ? !down : !!column.num]; draw(); } }, column.label)));
  function draw() {
    let shown = rows.filter((row) => !wanted || search(row).toLowerCase().includes(wanted));
    if (by >= 0) {
      const get = columns[by].get;
      const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      shown = [...shown].sort((a, b) => (down ? -1 : 1) * order(get(a), get(b)));
    }
    heads.forEach((head, at) => {
      if (at === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...shown.slice(0, most).map((row) => el("tr", {}, columns.map((column) =>
      el("td", { class: column.class || (column.num ? "num" : null) },
        column.show ? column.show(row) : column.num ? number(column.get(row)) : column.get(row))))));
    more.textContent = shown.length > most ? `${number(shown.length - most)} more rows: search, or sort by another column.` : "";
  }
  draw();
  return [
    search && el("input", { type: "search", placeholder: "search", "aria-label": "search",
      oninput: (event) => { wanted = event.target.value.toLowerCase(); draw(); } }),
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), body)),
    more,
  ];
}

/** Lines with a bar each: parts are [share of the width, colour]. */
const bar = (label, parts, value) =>
  el("div", { class: "bar" }, el("span", {}, label),
    el("span", { class: "track" }, parts.map(([share, colour]) =>
      el("i", { style: `width:${Math.max(0, Math.min(1, share)) * 100}%;background:${colour}` }))),
    el("span", { class: "value" }, value));

const legend = (entries) =>
  el("div", { class: "legend" }, entries.map(([colour, text]) => el("span", {}, el("i", { style: `background:${colour}` }), text)));
