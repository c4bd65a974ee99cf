// A person at the console, in a real browser, on a running demo.
//
// CONSOLE_URL    http://127.0.0.1:PORT/
// CONSOLE_TOKEN  what signs in
// SCREENSHOTS    a directory for pictures of the pages; empty: none are taken
//
// Prints a line per claim that held, and ends with 1 at the first that did not.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const CONSOLE = new URL(required("CONSOLE_URL"));
const TOKEN = required("CONSOLE_TOKEN");
const SCREENSHOTS = process.env.SCREENSHOTS || "";
/** Longest wait for a page or a part of it, ms. */
const WITHIN = 20_000;
/** Longest wait for what the fleet has to bring about first, such as a ticket, ms. */
const FLEET_WITHIN = 120_000;
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const WIDE = { width: 1280, height: 800 };
const SMALL = { width: 390, height: 844 };

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function must(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** Runs `check`; its result, once the claim is printed. */
async function claim(text, check) {
  try {
    const result = await check();
    console.log(`ok  ${text}`);
    return result;
  } catch (error) {
    throw new Error(`not so: ${text}\n    ${error.message.replaceAll(/\u001b\[\d+m/g, "").trim().replaceAll("\n", "\n    ")}`);
  }
}

/** A number as the console writes it: thin spaces between thousands, a real minus. */
function numberIn(text) {
  const found = text.replaceAll(/(?<=\d)[\u202f\u00a0](?=\d{3})/g, "").replace("\u2212", "-").match(/-?\d+(\.\d+)?/);
  return found ? Number(found[0]) : NaN;
}

/** What must not happen on any page, and what was announced to happen. */
class Watch {
  faults = [];
  #announced = [];

  constructor(page) {
    page.on("pageerror", (error) => this.faults.push(`page error: ${error.message}`));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol !== "data:" && url.origin !== CONSOLE.origin) this.faults.push(`loaded from elsewhere: ${url}`);
    });
    page.on("console", (message) => {
      if (message.type() !== "error" && !/content security policy/i.test(message.text())) return;
      const at = message.location().url;
      // The browser reports every refused request as an error; the test provokes some of them.
      const known = this.#announced.some(([path, status]) => at.includes(path) && message.text().includes(`status of ${status}`));
      if (!known) this.faults.push(`console: ${message.text()} (${at})`);
    });
  }

  /** From here on, `path` may answer with `status`. */
  announce(path, status) {
    this.#announced.push([path, status]);
  }
}

async function open(page, path) {
  await page.goto(new URL(path, CONSOLE).href, { waitUntil: "domcontentloaded" });
  await page.locator("main h1").waitFor();
}

async function signIn(page, token) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** Pixels of the colour of the line in each plot of the page. */
function linePixels(page) {
  return page.evaluate(() => {
    const accent = document.createElement("canvas").getContext("2d");
    accent.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
    accent.fillRect(0, 0, 1, 1);
    const [r, g, b] = accent.getImageData(0, 0, 1, 1).data;
    return [...document.querySelectorAll("#plots canvas")].map((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let n = 0;
      for (let i = 0; i < data.length; i += 4) {
        const off = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b);
        if (data[i + 3] > 128 && off < 60) n += 1;
      }
      return n;
    });
  });
}

async function plotsDrawn(page) {
  await page.locator('#plots[aria-busy="false"] canvas').first().waitFor();
  // uPlot draws in a later task than the one that makes the canvas.
  await page.waitForFunction(() => [...document.querySelectorAll("#plots canvas")].every((c) => c.width > 0 && c.height > 0));
}

/** The cells of the stock row of `part` in `depot`, by column. */
async function stockRow(page, part, depot) {
  const rows = page.locator("#parts table.stock tbody", { has: page.locator("code", { hasText: part }) }).locator("tr:not(.group)");
  const row = rows.filter({ has: page.getByRole("rowheader", { name: depot, exact: true }) });
  const cells = row.locator("td");
  const names = ["On hand", "Held softly", "Held hard", "Available", "Back-ordered"];
  const texts = await cells.allInnerTexts();
  must(texts.length === names.length, `the stock of ${part} in ${depot} has the cells ${JSON.stringify(texts)}`);
  return Object.fromEntries(names.map((name, i) => [name, numberIn(texts[i])]));
}

/** Every reason on show has its expected and seen value, a share, and words; the rows read. */
async function reasonsRead(tables) {
  const rows = await tables.locator("tbody tr").evaluateAll((found) => found.map((row) => ({
    metric: row.querySelector("th").innerText,
    cells: Object.fromEntries([...row.querySelectorAll("td")].map((td) => [td.dataset.label, td.innerText.trim()])),
  })));
  must(rows.length > 0, "there are no reasons");
  for (const { metric, cells } of rows) {
    const told = `${metric}: ${JSON.stringify(cells)}`;
    for (const column of ["Expected", "Seen"]) {
      must(Number.isFinite(numberIn(cells[column])), `"${column}" is no number; ${told}`);
      must(/[%A-Za-z°]/.test(cells[column].replace(/e-?\d+/, "")), `"${column}" has no unit; ${told}`);
    }
    must(/^[<>]?\s*\d+\s%$/.test(cells.Share), `the share is no percentage; ${told}`);
    must(cells["What fired"].length > 5, `it does not say what fired; ${told}`);
  }
  return rows;
}

/** Does what sends a form to `path`; the answer. */
async function posted(page, path, press) {
  const answer = page.waitForResponse((r) => r.request().method() === "POST" && r.url().endsWith(path));
  return (await Promise.all([answer, press()]))[0];
}

/** Presses the button of a step until the ticket's state is `state`. What others change meanwhile is told, and then shown. */
async function step(page, press, state) {
  const end = Date.now() + WITHIN;
  const is = page.locator("#ticket .badge.plain").filter({ hasText: new RegExp(`^${state}$`) });
  const alert = page.getByRole("alert");
  for (;;) {
    const status = (await posted(page, "/transitions", press)).status();
    await page.waitForLoadState("domcontentloaded");
    if (status === 303) break;
    const told = await alert.innerText();
    must(status === 412 || status === 409, `${state}: answer ${status}: ${told}`);
    must(/chang/i.test(told) && Date.now() < end, `${state}: refused with: ${told}`);
  }
  await is.first().waitFor({ timeout: WITHIN });
}

let n_pictures = 0;
/** A picture of the page in each of `looks`. */
async function picture(page, name, looks = ["light"]) {
  if (!SCREENSHOTS) return;
  for (const [size, viewport] of [["1280", WIDE], ["390", SMALL]]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of looks) {
      await page.emulateMedia({ colorScheme });
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await page.screenshot({ path: join(SCREENSHOTS, `${name}-${size}-${colorScheme}.png`), fullPage: true });
      n_pictures += 1;
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(WIDE);
}

/** Nothing is wider than the window, nor cut off at the side. */
async function fits(page, path) {
  await page.setViewportSize(SMALL);
  await open(page, path);
  const wider = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll(".scroll")]
    .filter((e) => e.scrollWidth > e.clientWidth)
    .map((e) => `${e.querySelector("h1, th").innerText}: ${e.scrollWidth} px in ${e.clientWidth} px`));
  await page.setViewportSize(WIDE);
  must(wider.length === 0, `${path} is too wide for a window of ${SMALL.width} px: ${wider.join("; ")}`);
}

async function scenario(page, watch) {
  await claim("whoever is not signed in is sent to the login", async () => {
    watch.announce("/api/v1/devices", 401); // the login page asks whether a session is there
    await page.goto(new URL("parts", CONSOLE).href);
    await page.waitForURL("**/login?next=/parts");
    must(await page.getByLabel("Token").isVisible(), "there is no field for the token");
    must(!(await page.content()).includes(TOKEN), "the page holds the token");
  });

  await claim("a wrong token is refused in words", async () => {
    watch.announce("/login", 401);
    await signIn(page, "not-the-token");
    const told = await page.getByRole("alert").innerText();
    must(/token/i.test(told) && told.length > 20, `the message is: ${told}`);
    must(new URL(page.url()).pathname === "/login", `it led to ${page.url()}`);
  });

  await claim("the right token signs in and leads to the page asked for", async () => {
    await signIn(page, TOKEN);
    await page.waitForURL("**/parts");
    await page.getByRole("heading", { name: "Parts", level: 1 }).waitFor();
  });

  await claim("the link with the token signs in without typing and does not keep it in the address", async () => {
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/login");
    await page.goto("about:blank");
    await page.goto(new URL(`login#token=${TOKEN}`, CONSOLE).href, { waitUntil: "commit" });
    await page.getByRole("heading", { name: "Fleet", level: 1 }).waitFor();
    must(!page.url().includes(TOKEN), "the token is still in the address");
  });

  await claim("the fleet lists every machine with its health, the worst first", async () => {
    await page.locator("#fleet tbody tr").first().waitFor({ timeout: FLEET_WITHIN });
    const rows = await page.locator("#fleet tbody tr").evaluateAll((found) => found.map((row) => {
      const cell = (label) => row.querySelector(`td[data-label="${label}"]`).innerText.trim();
      return { name: row.querySelector("th a").innerText, health: cell("Health"), failure: cell("Most likely failure") };
    }));
    const told = numberIn(await page.locator("#fleet .pages").innerText());
    must(rows.length === told && rows.length >= 10, `${rows.length} rows, and the page says ${told}`);
    const percent = (text) => Number(text.match(/(\d+)\s%/)?.[1] ?? NaN);
    const risks = rows.map(({ name, health, failure }) => {
      must(Number.isFinite(percent(health)), `${name} has the health "${health}"`);
      // Shown without decimals; below 1 % and above 99 % only as such.
      return Math.max(100 - percent(health), percent(failure) || 0);
    });
    risks.forEach((risk, i) => must(i === 0 || risk <= risks[i - 1] + 1.01, `${rows[i].name} stands below a machine at less risk: ${risks}`));
  });
  await picture(page, "fleet", ["light", "dark"]);

  await claim("a figure changes by itself, without loading the page again", async () => {
    await page.locator('#live[data-state="live"]').waitFor({ timeout: WITHIN });
    await page.evaluate(() => {
      window.healths = () => [...document.querySelectorAll("#fleet tbody tr")]
        .map((row) => `${row.querySelector("a").innerText} ${row.querySelector('[data-label="Health"]').innerText}`).sort().join();
      window.before = window.healths();
    });
    // A page that is loaded again knows nothing of `before`.
    await page.waitForFunction(() => window.before !== undefined && window.healths() !== window.before, null, { timeout: WITHIN });
  });

  await claim("the keyboard reaches the navigation, and goes where it points", async () => {
    await open(page, "/");
    const stops = [];
    for (let i = 0; i < 12; i += 1) {
      await page.keyboard.press("Tab");
      const stop = await page.evaluate(() => ({ text: document.activeElement.innerText?.trim() ?? "", ring: getComputedStyle(document.activeElement).outlineStyle }));
      stops.push(stop.text);
      must(stop.ring !== "none", `"${stop.text}" shows no focus`);
      if (stop.text === "Parts") break;
    }
    must(stops[0] === "Skip to the content", `the first stop is "${stops[0]}"`);
    for (const name of ["Fleet", "Alarms", "Tickets", "Parts"]) must(stops.includes(name), `Tab does not reach ${name}: ${stops}`);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/parts");
  });

  await claim("search leaves only what fits", async () => {
    await open(page, "/");
    const names = page.locator("#fleet tbody th a");
    const all = await names.allInnerTexts();
    // "Compressor 1" is in the names of ten others.
    const wanted = all.filter((name) => all.filter((other) => other.includes(name)).length === 1).at(-1);
    await page.getByRole("searchbox", { name: "Search" }).fill(wanted.toUpperCase());
    await page.waitForFunction((wanted) => {
      const found = [...document.querySelectorAll("#fleet tbody th a")].map((a) => a.innerText);
      return found.length > 0 && found.length < 10 && found.every((name) => name.includes(wanted));
    }, wanted, { timeout: WITHIN });
    must(new URL(page.url()).searchParams.get("q") === wanted.toUpperCase(), `the address is ${page.url()}`);
    await page.getByRole("searchbox", { name: "Search" }).fill("no such machine");
    await page.getByText("Nothing fits this filter").waitFor();
  });

  const ticket = await claim("the board shows the open tickets; the newest opens", async () => {
    await open(page, "/tickets");
    const cards = page.locator("#tickets .column li.ticket").filter({ hasText: /New ·/ });
    await cards.first().waitFor({ timeout: FLEET_WITHIN });
    const found = await cards.evaluateAll((all) => all.map((card) => ({ path: card.querySelector('a[href^="/tickets/"]').getAttribute("href"), text: card.innerText })));
    found.forEach(({ text }) => must(/\bP[1-5]\b/.test(text) && /due/.test(text), `a card shows: ${text}`));
    const newest = found.map(({ path }) => path).reduce((a, b) => (Number(a.split("/")[2]) > Number(b.split("/")[2]) ? a : b));
    await picture(page, "tickets");
    await page.locator(`#tickets a[href="${newest}"]`).click();
    await page.locator("#ticket h1").waitFor();
    return newest;
  });

  await claim("a ticket is found by its number and machine, and the search stays in the address", async () => {
    const number = ticket.split("/").at(-1);
    await open(page, "/tickets");
    await page.getByRole("searchbox", { name: "Search" }).fill(`T-${number}`);
    await page.waitForURL((url) => url.searchParams.get("q") === `T-${number}`);
    await page.waitForFunction((path) => {
      const found = [...document.querySelectorAll('#tickets li.ticket a[href^="/tickets/"]')].map((a) => a.getAttribute("href"));
      return found.length > 0 && found.includes(path) && found.every((other) => other.startsWith(path));
    }, ticket, { timeout: WITHIN });
    await page.getByLabel("Priority").selectOption("P4");
    await page.locator('#tickets .tabs a[href*="show=all"][href*="priority=P4"]').click();
    await page.waitForURL(/show=all.*priority=P4/);
    await page.getByRole("searchbox", { name: "Search" }).fill("no such ticket");
    await page.getByText("Nothing fits").waitFor();
    await open(page, ticket);
  });

  await claim("an article is looked at, stored and shown", async () => {
    await open(page, "/knowledge/new");
    await page.getByLabel("Title").fill("How it is greased");
    await page.getByLabel("Text, in Markdown").fill("## Slowly\n\nOne stroke **at a time**.");
    await page.getByRole("button", { name: "Preview" }).click();
    await page.locator("#preview strong", { hasText: "at a time" }).waitFor();
    await picture(page, "article-edit");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("heading", { name: "How it is greased", level: 1 }).waitFor();
    await page.getByRole("link", { name: "Versions" }).click();
    await page.getByText("Version 1").waitFor();
    await open(page, ticket);
  });

  await claim("one more part is laid down for a ticket, and the plan of all visits leads to it", async () => {
    // What the service itself changes meanwhile is refused, shown, and tried again.
    watch.announce("/work", 412);
    const end = Date.now() + WITHIN;
    let part;
    for (;;) {
      await page.locator("#parts-needed summary").click();
      const more = page.locator('#parts-needed select[name="add"]');
      part = await more.locator("option").nth(1).getAttribute("value");
      await more.selectOption(part);
      const status = (await posted(page, "/work", () => page.getByRole("button", { name: "Reserve these" }).click())).status();
      await page.waitForLoadState("domcontentloaded");
      if (status === 303) break;
      must(status === 412 && Date.now() < end, `answer ${status}: ${await page.getByRole("alert").innerText()}`);
    }
    await page.locator("#ticket .rows tbody th", { hasText: part }).waitFor();
    await open(page, "/plan");
    await page.locator(`#plan a[href="${ticket}"]`).waitFor({ timeout: WITHIN });
    await picture(page, "plan");
    await fits(page, "/plan");
    await open(page, ticket);
  });

  // What the service itself changes meanwhile is refused, shown, and tried again (see `step`).
  watch.announce("/transitions", 412);
  // Begun at once: the service withdraws a ticket that nobody starts on when its risk passes.
  await claim("a new ticket is triaged, then dispatched to a technician", async () => {
    await step(page, () => page.getByRole("button", { name: "Triage", exact: true }).click(), "Triaged");
    await step(page, async () => {
      const technician = page.locator("form:has(button[value=dispatched]) select[name=technician]");
      await technician.selectOption({ index: 1 });
      await page.getByRole("button", { name: "Dispatch", exact: true }).click();
    }, "Dispatched");
    const told = await page.locator("dt:text-is('Technician') + dd").innerText();
    must(!/not assigned/.test(told) && told.length > 3, `the technician is "${told}"`);
  });

  const asset = await claim("the ticket explains its decision in numbers that read, and they agree", async () => {
    const cells = await page.locator("table.pairs tr").evaluateAll((rows) => Object.fromEntries(rows.map((row) => [row.querySelector("th").innerText, row.querySelector("td").innerText])));
    const value = (name) => {
      const text = cells[name] ?? "";
      must(Number.isFinite(numberIn(text)), `"${name}" is "${text}"`);
      must(!/\d{5}|\.\d{4}/.test(text), `"${name}" does not read: "${text}"`);
      return numberIn(text);
    };
    const p = value("Probability of failure");
    must(p > 0 && p <= 100 && cells["Probability of failure"].includes("%"), `a probability of ${cells["Probability of failure"]}`);
    const [failure, waiting, acting] = ["Cost of an unplanned failure", "Expected cost of waiting", "Cost of acting now"].map(value);
    must(Math.abs(waiting - (p / 100) * failure) <= failure * 0.006, `${p} % of ${failure} is not ${waiting}`);
    must(waiting > acting, `waiting costs ${waiting}, acting ${acting}`);
    must(/EUR/.test(cells["Cost of acting now"]), "no currency");
    must(/\d+\s[hd]/.test(cells["Longest lead time of a part"]), `the lead time is "${cells["Longest lead time of a part"]}"`);
    await reasonsRead(page.locator("#ticket table.reasons"));
    return page.locator("#ticket dd a[href^='/assets/']").getAttribute("href");
  });

  const reserved = await claim("the ticket shows its reserved parts: which, how many, from where, when", async () => {
    const rows = await page.locator("section:has(> h2:text-is('Parts reserved')) tbody tr").evaluateAll((found) => found.map((row) => ({
      part: row.querySelector("code").innerText,
      cells: Object.fromEntries([...row.querySelectorAll("td")].map((td) => [td.dataset.label, td.innerText.trim()])),
    })));
    must(rows.length > 0, "no part is reserved");
    for (const { part, cells } of rows) {
      const told = `${part}: ${JSON.stringify(cells)}`;
      must(numberIn(cells.Quantity) >= 1, `no quantity; ${told}`);
      must(/hold/.test(cells.Hold), `no hold; ${told}`);
      must(/stock|transfer|back-order/.test(cells.Supply), `no supply; ${told}`);
      must(cells.Ready !== "" && cells.Needed !== "", `no times; ${told}`);
    }
    return rows.map(({ part }) => part);
  });

  await claim("the parts page shows stock, and the ticket's reservations", async () => {
    await open(page, "/parts");
    for (const part of reserved) {
      must(await page.locator("table.stock code", { hasText: part }).count() === 1, `no stock of ${part}`);
      const row = page.locator("section:has(#reservations-title) tbody tr").filter({ hasText: part }).filter({ has: page.locator(`a[href="${ticket}"]`) });
      must(await row.count() > 0, `no reservation of ${part} for ${ticket}`);
    }
  });

  await claim("a receipt that is booked raises the stock and stands in the ledger", async () => {
    const part = reserved[0];
    const form = page.locator("form[action='/parts/movements']");
    const depot = await form.locator("select[name=depot] option").first().innerText();
    const before = await stockRow(page, part, depot);
    await form.locator("select[name=kind]").selectOption("receipt");
    await form.locator("select[name=part]").selectOption(part);
    await form.locator("select[name=depot]").selectOption({ label: depot });
    await form.locator("input[name=quantity]").fill("7");
    const answer = await posted(page, "/parts/movements", () => form.getByRole("button", { name: "Book" }).click());
    must(answer.status() === 303, `answer ${answer.status()}`);
    await page.waitForURL("**/parts");
    await page.locator("section:has(#ledger-title) tbody tr").filter({ hasText: "+7" }).filter({ hasText: part }).first().waitFor();
    const after = await stockRow(page, part, depot);
    must(after["On hand"] === before["On hand"] + 7, `${part} in ${depot}: ${before["On hand"]} before, ${after["On hand"]} after 7 arrived`);
    must(after.Available === after["On hand"] - after["Held hard"], `available does not follow: ${JSON.stringify(after)}`);
  });
  await picture(page, "parts");

  await claim("supply says what to order and why, and an order that is entered is on its way", async () => {
    await page.getByRole("link", { name: "What to order" }).click();
    await page.waitForURL("**/parts/supply");
    const row = page.locator("section:has(#order-title) tbody").filter({ hasText: reserved[0] });
    await row.locator("summary").click();
    await row.getByText("within the lead time of").waitFor();
    const form = page.locator("form[action='/parts/orders']");
    await form.getByLabel("Number").fill("PO-4711");
    await form.locator("select[name=part]").selectOption(reserved[0]);
    await form.getByLabel("Quantity").fill("3");
    const answer = await posted(page, "/parts/orders", () => form.getByRole("button", { name: "Enter" }).click());
    must(answer.status() === 303, `answer ${answer.status()}`);
    await page.locator("section:has(#orders-title) tbody tr").filter({ hasText: "PO-4711" }).filter({ hasText: reserved[0] }).waitFor();
  });
  await picture(page, "supply");

  await claim("the machine's plots are drawn, each with its unit", async () => {
    await open(page, asset);
    await plotsDrawn(page);
    const captions = await page.locator("#plots figcaption").allInnerTexts();
    const pixels = await linePixels(page);
    must(captions.length >= 3 && pixels.length === captions.length, `${captions.length} captions, ${pixels.length} plots`);
    captions.forEach((text, i) => {
      must(/\([^)]+\)/.test(text), `no unit: ${text}`);
      must(/last\s[\s\u2212-]*\d/.test(text), `no last value: ${text}`);
      must(pixels[i] > 100, `no line is drawn: ${text} (${pixels[i]} pixels)`);
    });
  });

  await claim("another range draws the plots again", async () => {
    const asked = page.waitForResponse((r) => r.url().includes("/telemetry") && r.ok());
    await Promise.all([asked, page.getByRole("button", { name: "7 d", exact: true }).click()]);
    await plotsDrawn(page);
    must((await linePixels(page)).every((n) => n > 100), "a plot is empty");
    must(await page.getByRole("button", { name: "7 d", exact: true }).getAttribute("aria-pressed") === "true", "the button does not show it");
  });

  await claim("the machine's alarms tell what was expected, what was seen and each metric's share", async () => {
    const alarms = page.locator("#asset-alarms li.alarm");
    must(await alarms.count() > 0, "no alarm");
    await picture(page, "asset", ["light", "dark"]);
    await alarms.locator("details").evaluateAll((all) => all.forEach((d) => { d.open = true; }));
    await reasonsRead(alarms.locator("table.reasons"));
  });

  await claim("an alarm is acknowledged, and says so", async () => {
    await open(page, "/alarms");
    const button = page.locator("#alarms").getByRole("button", { name: "Acknowledge" });
    await button.first().waitFor({ timeout: FLEET_WITHIN });
    await picture(page, "alarms");
    const answer = await posted(page, "/alarms/acknowledge", () => button.first().click());
    const id = new URLSearchParams(answer.request().postData()).get("alarm");
    await page.waitForLoadState("domcontentloaded");
    must(await page.locator(`#alarms input[name=alarm][value="${id}"]`).count() === 0, "it can be acknowledged again");
    const listed = await page.evaluate(async () => (await fetch("/api/v1/alarms?limit=200")).json());
    const alarm = listed.items.find((a) => a.id === id);
    must(alarm?.acknowledged === true, `the alarm is ${JSON.stringify(alarm)}`);
  });

  await claim("the technician accepts and starts work", async () => {
    await open(page, ticket);
    await step(page, () => page.getByRole("button", { name: "Accept", exact: true }).click(), "Accepted");
    await step(page, () => page.getByRole("button", { name: "Start work", exact: true }).click(), "In progress");
  });
  await picture(page, "ticket");

  const customer = await claim("customers are listed with their tier; search finds one", async () => {
    await open(page, "/customers");
    const rows = page.locator("#customers tbody tr");
    must(await rows.count() >= 3, `${await rows.count()} customers`);
    must(/gold|silver|standard/.test(await rows.first().locator(".badge").first().innerText()), "no tier");
    await picture(page, "customers");
    await page.getByRole("searchbox", { name: "Search" }).fill("NORDWIND");
    await page.waitForFunction(() => document.querySelectorAll("#customers tbody tr").length === 1, null, { timeout: WITHIN });
    return rows.first().locator("th a").getAttribute("href");
  });

  await claim("a customer is seen at a glance: tier and why, machines, contract, contact", async () => {
    await open(page, customer);
    const text = await page.locator("main").innerText();
    for (const told of ["rule 1 of 3", "Full", "in force", "answer within 4", "@example.com", "Compressed air"]) must(text.toLowerCase().includes(told.toLowerCase()), `"${told}" is not told: ${text}`);
    must(await page.locator("#work section:first-child tbody tr").count() > 3, "no machines");
    await picture(page, "customer", ["light", "dark"]);
    await page.locator("#work section:first-child tbody th a").first().click();
    const facts = await page.locator("section:has(#master-title)").innerText();
    for (const told of ["Serial number", "Warranty", "Nordwind Foods", "by its location"]) must(facts.includes(told), `"${told}" is not told: ${facts}`);
    await picture(page, "asset-master");
    await page.locator("section:has(#master-title) a[href^='/customers/']").click();
    await page.waitForURL(`**${customer}`);
  });

  const entered = await claim("a customer is entered in a form that keeps what is wrong, and read from a file", async () => {
    await open(page, "/registry/customers/new");
    const field = (name) => page.locator(`[name="field:${name}"]`);
    await field("name").fill("Elbe Cold Store");
    await field("contacts.0.id").fill("P-1");
    await field("contacts.0.name").fill("Ada Brandt");
    await field("contacts.0.channels").fill("ada@example.com");
    watch.announce("/registry/customers", 422);
    await page.getByRole("button", { name: "Save", exact: true }).click();
    must((await page.getByRole("alert").first().innerText()).includes("is no channel"), "the mistake is not named");
    await field("contacts.0.channels").fill("email:ada@example.com");
    await picture(page, "registry-form");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.waitForURL("**/registry/customers/elbe-cold-store");
    must(await field("contacts.0.channels").inputValue() === "email:ada@example.com", "the contact was not kept");
    await open(page, "/registry/vans");
    await page.getByText("Files", { exact: true }).click();
    const csv = (text) => page.locator("input[type=file]").setInputFiles({ name: "vans.csv", mimeType: "application/vnd.ms-excel", buffer: Buffer.from(text) });
    await csv("id,wheels\nv-9,4\n");
    watch.announce("/api/v1/registry/vans/import?name=vans.csv", 422);
    await page.getByRole("button", { name: "Read the file" }).click();
    const said = page.locator("form[data-upload] [role=alert]");
    await page.waitForFunction(() => /wheels/.test(document.querySelector("form[data-upload] [role=alert]").textContent), null, { timeout: WITHIN });
    must(/line 1/.test(await said.innerText()), "the fault has no line");
    await csv("id,name\nv-9,HH-FC 9\n");
    await page.getByRole("button", { name: "Read the file" }).click();
    await page.locator("#records tbody th", { hasText: "v-9" }).waitFor({ timeout: WITHIN });
    await picture(page, "registry");
    return "/registry/customers/elbe-cold-store";
  });

  await claim("a signature is drawn and kept with the ticket", async () => {
    await open(page, ticket);
    const form = page.locator("form:has(canvas.pad)");
    await page.getByText("Have it signed", { exact: true }).click();
    await form.locator("input[name=signed_by]").fill("Ada Brandt");
    await form.getByRole("button", { name: "Keep the signature" }).click();
    must((await form.getByRole("alert").innerText()).includes("Nothing is signed"), "an empty signature was taken");
    const box = await form.locator("canvas").boundingBox();
    await page.mouse.move(box.x + 40, box.y + 60);
    await page.mouse.down();
    for (const [x, y] of [[80, 30], [120, 90], [180, 40]]) await page.mouse.move(box.x + x, box.y + y, { steps: 4 });
    await page.mouse.up();
    await picture(page, "signature");
    await form.getByRole("button", { name: "Keep the signature" }).click();
    const kept = page.locator("#notes img[alt='signature.png']");
    await kept.waitFor({ timeout: WITHIN });
    must((await page.locator("#notes").innerText()).includes("Ada Brandt"), "nobody is named");
  });

  await claim("what nobody took is shown as given up, with the reason, and tried again", async () => {
    await open(page, "/deliveries?state=dead");
    const rows = page.locator("#deliveries tbody tr");
    await rows.first().waitFor({ timeout: FLEET_WITHIN });
    await picture(page, "deliveries", ["light", "dark"]);
    const told = await rows.first().innerText();
    must(/T-\d+/.test(told) && told.includes("given up") && /refused|connect/i.test(told), `the row is: ${told}`);
    const answer = await posted(page, "/deliveries/retry", () => rows.first().getByRole("button", { name: "Try again" }).click());
    const id = new URLSearchParams(answer.request().postData()).get("delivery");
    await page.waitForLoadState("domcontentloaded");
    const delivery = await page.evaluate(async (n) => (await fetch(`/api/v1/deliveries/${n}`)).json(), id);
    must(delivery.event === "ticket.opened" && delivery.channel === "team", `the delivery is ${JSON.stringify(delivery)}`);
    await open(page, ticket);
    must(/Who was told/.test(await page.locator("main").innerText()), "the ticket does not say who was told");
  });

  await claim("every page fits a small screen", async () => {
    for (const path of ["/", asset, "/alarms", "/tickets", ticket, "/parts", "/customers", customer, "/registry", entered, "/registry/contracts/new", "/deliveries", "/kpis", "/kpis?by=mode", "/knowledge"]) await fits(page, path);
  });

  await claim("resolving without a verdict is refused, by the page and by the service", async () => {
    await open(page, ticket);
    const form = page.locator("form:has(input[name=to][value=resolved])");
    await form.getByRole("button", { name: "Resolve", exact: true }).click();
    const invalid = await form.locator("input[name=finding]").first().evaluate((input) => input.validationMessage);
    must(invalid !== "", "the page lets it through");
    watch.announce("/transitions", 422);
    // In one go: news of the ticket renew the form at any time.
    const answer = await posted(page, "/transitions", () => form.evaluate((f) => {
      f.noValidate = true;
      [...f.querySelectorAll("button")].find((b) => b.textContent.trim() === "Resolve").click();
    }));
    must(answer.status() === 422, `answer ${answer.status()}`);
    const told = await page.getByRole("alert").innerText();
    must(/verdict|finding|found/i.test(told), `the message is: ${told}`);
    must(await page.locator("#ticket .badge.plain", { hasText: "In progress" }).count() === 1, "the state has changed");
  });

  await claim("with the verdict \"the predicted fault\" the ticket is resolved, and its parts are used", async () => {
    await open(page, ticket);
    await step(page, async () => {
      const form = page.locator("form:has(input[name=to][value=resolved])");
      await form.getByLabel("The predicted fault").check();
      must(await form.getByLabel("ISO 14224 code").inputValue() !== "", "no failure code is proposed");
      await form.getByLabel("What was done").fill("replaced as planned");
      await form.getByRole("button", { name: "Resolve", exact: true }).click();
    }, "Resolved");
    await page.locator("#ticket .badge.plain", { hasText: /^Confirmed \(/ }).waitFor();
    const history = await page.locator("section:has(> a[href^=\"/trace/\"], > p > a[href^=\"/trace/\"]) ol.history").innerText();
    for (const state of ["New", "Triaged", "Dispatched", "Accepted", "In progress", "Resolved"]) must(history.includes(state), `the history lacks ${state}`);
    must(history.includes("(console)") && history.includes("replaced as planned"), `the history is: ${history}`);
    const holds = await page.locator("section:has(> h2:text-is('Parts reserved')) td[data-label='Hold']").allInnerTexts();
    must(holds.length > 0 && holds.every((text) => text.includes("consumed")), `the holds are ${holds}`);
  });

}

const executablePath = BROWSERS.find((path) => existsSync(path));
if (!executablePath) throw new Error(`no browser: install chromium (looked for ${BROWSERS.join(", ")})`);
if (SCREENSHOTS) mkdirSync(SCREENSHOTS, { recursive: true });
const browser = await chromium.launch({
  executablePath,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let failure = null;
try {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", reducedMotion: "reduce", locale: "en-GB" });
  context.setDefaultTimeout(WITHIN);
  const page = await context.newPage();
  const watch = new Watch(page);
  try {
    await scenario(page, watch);
  } catch (error) {
    failure = error;
    if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, "failure.png"), fullPage: true }).catch(() => {});
    console.error(`at ${page.url()}`);
  }
  await claim("no page error, no console error, no breach of the content security policy, nothing from elsewhere", () => {
    must(watch.faults.length === 0, watch.faults.join("\n"));
  }).catch((error) => { failure = failure ? new Error(`${failure.message}\n${error.message}`) : error; });
} finally {
  await browser.close();
}
if (failure) {
  console.error(failure.message);
  process.exitCode = 1;
} else if (n_pictures > 0) {
  console.log(`${n_pictures} pictures in ${SCREENSHOTS}`);
}
