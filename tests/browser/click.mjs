// Opens pages in a browser without a window, clicks through them, and fails where the page says an error.
//
//   node click.mjs PLAYWRIGHT CHROMIUM PICTURES PAGE…
//
// PLAYWRIGHT: the folder of the package playwright-core. PICTURES: the folder for screenshots.

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [playwright, executablePath, pictures, ...pages] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);

function check(what, holds) {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function click(browser, file) {
  const name = path.basename(file, ".html");
  const errors = [];
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const page = await context.newPage();
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) errors.push(message.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("dialog", (dialog) => { errors.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) errors.push(`asks for ${request.url()}`); });
  const count = (selector) => page.locator(selector).count();
  // The page changes when its address has.
  const go = async (tab) => { await page.click(`#tab-${tab}`); await page.waitForSelector(`#tab-${tab}[aria-selected=true]`); };
  const picture = (what) => page.screenshot({ path: path.join(pictures, `${name}-${what}.png`) });

  await page.goto(pathToFileURL(file).href);
  check("there are tiles", await count(".tile") >= 8);
  check("nothing is printed as an object", !(await page.textContent("body main")).includes("[object"));
  await picture("overview");

  await go("functions");
  const rows = await count("tbody tr");
  check("there are functions", rows > 0);
  for (const column of ["compile time", "entries", "share"]) {
    await page.click(`th button:text-is("${column}")`);
    check(`sorted by ${column}`, await page.getAttribute(`th:has(button:text-is("${column}"))`, "aria-sort") === "descending");
  }
  await page.fill("input[type=search]", "no function is called this");
  check("the search finds nothing", await count("tbody tr") === 0);
  await page.fill("input[type=search]", "");
  check("and all again", await count("tbody tr") === rows);

  await go("regions");
  await page.fill("input[type=search]", "published");
  check("there are regions", await count("tbody tr") > 0);
  await page.click("tbody a");
  await page.waitForSelector("svg .block");
  check("a function has a graph", await count("svg .block") > 0);
  check("a region has a border", await count("svg g[stroke='var(--region)']") > 0);
  await page.locator("svg .block").first().click();
  check("a block has its text", (await page.textContent("pre.clif")).trimStart().startsWith("block"));
  await page.locator("svg .block").last().focus();
  await page.keyboard.press("Enter");
  check("by the keyboard, too", await count(".block.chosen") === 1);
  await picture("function");
  const versions = page.locator(".tabs button");
  check("there are versions", await versions.count() >= 2);
  for (let at = 0; at < Math.min(8, await versions.count()); at++) {
    await versions.nth(at).click();
    check("it is selected", await versions.nth(at).getAttribute("aria-selected") === "true");
    const texts = await page.locator(".texts pre").allTextContents();
    check("four texts", texts.length === 4 && texts.every((text) => text.trim().length > 0));
  }

  await go("problems");
  await go("timeline");
  check("there are events", await count("svg .event") > 0);
  await page.click('button:text-is("zoom in")');
  await page.locator("svg .event").first().hover({ force: true });
  await picture("timeline");
  await page.click("#theme");
  check("dark", await page.getAttribute("html", "data-theme") === "dark");
  await go("overview");
  await picture("dark");
  await context.close();
  if (errors.length) throw new Error(`${name}: ${errors.join("; ")}`);
  console.log(`${name}: fine`);
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
try {
  for (const page of pages) await click(browser, page);
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  await browser.close();
}
