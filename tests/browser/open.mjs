// Opens pages in a browser without a window, each at its first function, and prints how many milliseconds that took until
// the graph was there. Fails where the page says an error or asks for anything.
//
//   node open.mjs PLAYWRIGHT CHROMIUM PICTURES PAGE…

import { createRequire } from "node:module";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { pathToFileURL } from "node:url";

const [playwright, executablePath, pictures, ...pages] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);

async function open(browser, file) {
  const errors = [];
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) errors.push(message.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("dialog", (dialog) => { errors.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) errors.push(`asks for ${request.url()}`); });
  const started = performance.now();
  await page.goto(`${pathToFileURL(file).href}#function/0`);
  await page.waitForSelector("svg .block");
  const took = performance.now() - started;
  for (const tab of ["overview", "functions", "regions", "problems", "timeline"]) {
    await page.click(`#tab-${tab}`);
    await page.waitForSelector(`#tab-${tab}[aria-selected=true]`);
    if (tab === "overview") await page.screenshot({ path: path.join(pictures, `${path.basename(file, ".html")}.png`) });
  }
  await page.close();
  if (errors.length) throw new Error(`${path.basename(file)}: ${errors.join("; ")}`);
  console.log(Math.round(took));
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
try {
  for (const page of pages) await open(browser, page);
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  await browser.close();
}
