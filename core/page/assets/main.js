// Which part of the page is shown: the hash of its address says so.

const PAGES = {
  overview: ["Overview", overview], functions: ["Functions", functionsTable], regions: ["Regions", regionsTable],
  problems: ["Refusals", problemsTable], timeline: ["Timeline", timeline],
};

const main = el("main", {});
const tabs = Object.entries(PAGES).map(([name, [label]]) =>
  el("button", { role: "tab", id: `tab-${name}`, onclick: () => { location.hash = `#${name}`; } }, label));

function show() {
  const [name, at] = location.hash.slice(1).split("/");
  const isFunction = name === "function" && data.functions[Number(at)] !== undefined;
  const page = Object.hasOwn(PAGES, name) ? name : "overview";
  const selected = isFunction ? "functions" : page;
  tabs.forEach((tab) => tab.setAttribute("aria-selected", tab.id === `tab-${selected}`));
  const content = isFunction ? functionPage(Number(at)) : PAGES[page][1]();
  main.replaceChildren(...[content].flat(Infinity).filter((child) => child instanceof Node));
  window.scrollTo(0, 0);
}

function otherTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

document.getElementById("page").append(
  el("header", {}, el("h1", {}, data.title),
    el("span", { class: "soft" }, `mode ${data.mode}, found by ${data.detection}, ${data.target}`),
    el("button", { id: "theme", onclick: otherTheme }, "light / dark")),
  el("nav", { role: "tablist" }, tabs), main);
window.addEventListener("hashchange", show);
show();
