// Checks the pages GET /performance and GET /api/docs in a real browser, for tests/page/run. With the argument `checks`, runs the checks.
// With `picture`, creates the README's picture instead.
//
// The component, the host, the database and the load are real. Only responses that the API never sends are faked, such as responses
// with hostile names or a broken description. A proxy between host and database can delay data or cut connections, like a slow or
// broken network.

import assert from 'node:assert/strict';
import { spawn, execFile, execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const { PAGE_TOOLS, PAGE_PICTURES, PAGE_DATABASE_URL, PSQL, CHROMIUM, SPIN_VARIABLE_DB_HOST, SPIN_VARIABLE_DB_URL } = process.env;
const { chromium } = createRequire(`${PAGE_TOOLS}/`)('playwright-core');
const axe = readFileSync(`${PAGE_TOOLS}/node_modules/axe-core/axe.min.js`, 'utf8');

const DESKTOP = { viewport: { width: 1280, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const TOKEN = 'a-token-of-the-page-checks';
// Each page's path, its file and the file's size limit in bytes, and a selector for content that exists only after the page
// has rendered its data.
const PAGES = [
  { path: '/performance', file: 'src/http/performance.html', most: 60_000, drawn: '#lines svg', name: '' },
  { path: '/api/docs', file: 'src/http/docs.html', most: 16_000, drawn: '#agent_list', name: 'docs-' },
];
// The longest time that a step of a check may take. The page refreshes every 5 s, so this is enough for several refreshes.
const PATIENCE_MS = 20_000;
// Most checks accept either verdict, because the verdict depends on the load of this machine.
const SOME_VERDICT = /✓ Pass|✕ Fail/;

// --- database, proxy, host and load ---

function sql(text) {
  return execFileSync(PSQL, ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', PAGE_DATABASE_URL, '-c', text], { encoding: 'utf8' }).trim();
}

/** The proxy between host and database. Forwards bytes after `delayMs`. While `isCut` is set, closes connections instead. */
const line = {
  delayMs: 0,
  isCut: false,
  sockets: new Set(),
  async open() {
    const [host, port] = SPIN_VARIABLE_DB_HOST.split(':');
    const server = net.createServer((near) => {
      if (this.isCut) return near.destroy();
      const far = net.connect(Number(port), host);
      for (const [from, to] of [[near, far], [far, near]]) {
        this.sockets.add(from);
        from.setNoDelay(true); // otherwise Nagle's algorithm sometimes adds 40 ms
        from.on('data', async (bytes) => {
          if (this.delayMs > 0) await sleep(this.delayMs);
          if (!to.destroyed) to.write(bytes);
        });
        from.on('error', () => {});
        from.on('close', () => { this.sockets.delete(from); to.destroy(); });
      }
    });
    await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
    server.unref();
    return `127.0.0.1:${server.address().port}`;
  },
  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  },
  mend() { this.isCut = false; },
};

/** The host with the component. A restart can change the variables, and keeps the address. */
const host = {
  address: '127.0.0.1:0',
  process: null,
  async start(variables = {}) {
    const arguments_ = ['-f', 'spin.toml', '--listen', this.address, '--runtime-config-file', 'runtime-config.toml'];
    const settings = { SPIN_VARIABLE_SLOW_QUERY_ERROR_MS: '200', ...variables };
    this.process = spawn('target/host/reznet-host', arguments_, { env: { ...process.env, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    const serving = new Promise((resolve, reject) => {
      const read = (bytes) => {
        log += bytes;
        const found = /^Serving http:\/\/(\S+)/m.exec(log);
        if (found) resolve(found[1]);
      };
      this.process.stdout.on('data', read);
      this.process.stderr.on('data', read);
      this.process.on('exit', (code) => reject(new Error(`the host ended with ${code}: ${log.slice(-500)}`)));
    });
    this.address = await serving;
  },
  async stop() {
    if (!this.process) return;
    this.process.removeAllListeners('exit');
    const ended = new Promise((resolve) => this.process.on('exit', resolve));
    this.process.kill('SIGTERM');
    await ended;
    this.process = null;
  },
  async restart(variables) {
    await this.stop();
    await this.start(variables);
  },
  get url() { return `http://${this.address}`; },
};

const READS = [
  '/api/agents?limit=20', '/api/channels?limit=20', '/api/workflows?status=executing&limit=20', '/api/agents/name/developer',
  '/api/workflows?limit=20', '/api/messages?limit=20',
];

/** Sends requests, and waits until instances have stored their measurements. */
async function load(paths, requests, concurrency = 8) {
  const options = ['load', host.url, '--keep-alive', '--requests', requests, '--concurrency', concurrency];
  const running = spawn('target/host/reznet-bench', [...options.map(String), ...paths.flatMap((path) => ['--path', path])], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve) => running.on('exit', resolve));
  assert.equal(code, 0, 'the load generator failed');
  await sleep(1500);
}

/** Makes reading one agent take 0.3 s by a policy, which applies because the component's role doesn't own the table. */
function slowDownOneAgent() {
  sql(`ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
       CREATE POLICY sleeps ON agents USING (name <> '@orchestrator' OR pg_sleep(0.3) IS NOT NULL)`);
}

const speedUpTheAgent = () => sql('DROP POLICY sleeps ON agents; ALTER TABLE agents DISABLE ROW LEVEL SECURITY');

async function loadSlowAgent() {
  slowDownOneAgent();
  await load(['/api/agents/name/orchestrator'], 3, 1);
  speedUpTheAgent();
}

// --- the browser ---

let browser;
const offences = []; // forbidden actions of all pages

/** Opens a page in a new context. Records errors that aren't `expected`, requests to other origins, and violations of the page's policy. */
async function open(options = DESKTOP, { expected = [], path = '/performance', before } = {}) {
  const context = await browser.newContext(options);
  await context.addInitScript(axe);
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.asked = 0;
  page.on('console', (message) => {
    const text = message.text();
    const isExpected = expected.some((status) => text.includes(status));
    if (['error', 'warning'].includes(message.type()) && !isExpected) offences.push(`console: ${text}`);
  });
  page.on('pageerror', (error) => offences.push(`script: ${error.stack}`));
  page.on('request', (request) => {
    if (request.url().includes('/api/performance/database')) page.asked += 1;
    if (!request.url().startsWith(`${host.url}/`) && !request.url().startsWith('data:')) offences.push(`asked ${request.url()}`);
  });
  await before?.(page);
  await page.goto(host.url + path);
  return page;
}

const close = (page) => page.context().close();
const shown = (page, selector) => page.locator(selector).waitFor({ state: 'visible' });
const text = (page, selector) => page.locator(selector).innerText();
const picture = (page, name) => page.screenshot({ path: `${PAGE_PICTURES}/${name}.png`, fullPage: true });

/** Waits until an element's text has these words. */
async function says(page, selector, words) {
  try {
    await page.locator(selector).filter({ hasText: words, visible: true }).waitFor();
  } catch {
    assert.fail(`${selector} should say ${words}, and says: ${await page.locator(selector).textContent()}`);
  }
}

async function isAccessible(page, name) {
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).slice(0, 3).join(' | ')}`);
  assert.deepEqual(found, [], name);
}

/** Opens all details, and pauses the page so that they stay open. */
async function openAll(page) {
  if (await page.locator('#pause').count() > 0) await page.click('#pause');
  await page.evaluate(() => { for (const one of document.querySelectorAll('details')) one.open = true; });
}

const HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>';

/** Returns the value with hostile markup after each string whose name satisfies `isWords`. */
function poisoned(value, isWords, name) {
  if (Array.isArray(value)) return value.map((one) => poisoned(one, isWords, name));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, poisoned(one, isWords, key)]));
  return typeof value === 'string' && isWords(name) ? value + HOSTILE : value;
}

/** Opens a page whose requests for `asks` get poisoned responses. */
function openPoisoned(path, asks, isWords) {
  return open(DESKTOP, {
    path,
    before: (fresh) => fresh.route(asks, async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: poisoned(await answer.json(), isWords) });
    }),
  });
}

// --- the page /api/docs ---

const DOCS = '/api/docs';
const DESCRIPTION = '**/api/openapi.json';
const NOBODY = '00000000-0000-0000-0000-000000000000';
const described = Object.entries(JSON.parse(readFileSync('openapi.json', 'utf8')).paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, one]) => ({ ...one, call: `${method.toUpperCase()} ${path}` })));

const openDocs = (address = '', options = {}) => open(DESKTOP, { path: DOCS + address, ...options });
const idsShown = (page) => page.locator('main details[id]:visible').evaluateAll((all) => all.map((one) => one.id));
const isOpen = (page, id) => page.locator(`#${id}`).evaluate((one) => one.open);

/** Waits until an operation is open, visible and focused. */
async function isVisited(page, id) {
  await page.waitForFunction((name) => {
    const one = document.getElementById(name);
    const { top } = one?.getBoundingClientRect() ?? {};
    return one?.open && top > -1 && top < innerHeight && document.activeElement === one.querySelector('summary');
  }, id);
}

// --- lines of /performance ---

/** Returns the `d` attribute of a line's SVG path. */
const pathOf = (page, percentile) => page.locator(`#lines path.${percentile}`).getAttribute('d');
const pointsOf = (path) => path.split(/[ML]/).length - 1;
const millisecondsToNextMinute = () => 60_000 - (Date.now() % 60_000);

// --- the checks ---

const checks = {
  async 'with an empty database there is no verdict, and every section reports missing data'() {
    const page = await open();
    await says(page, '#verdict-word', 'Not enough data');
    await says(page, '#verdict-because', 'a verdict requires 100 queries');
    await says(page, '#histogram', 'No queries were measured');
    await says(page, '#lines', 'No requests were measured');
    await says(page, '#statements', 'No statement ran');
    await says(page, '#routes', 'No requests were measured');
    await says(page, '#slow', 'No query took 200 ms or more');
    await says(page, '#contract', 'All 16 indexes exist and are as declared');
    await isAccessible(page, 'empty');
    await picture(page, 'empty');
    await close(page);
  },

  async 'the files are small, and are served with their security headers'() {
    for (const { path, file, most } of PAGES) {
      assert.ok(statSync(file).size < most, file);
      const answer = await fetch(host.url + path);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('content-type'), 'text/html; charset=utf-8');
      assert.match(answer.headers.get('content-security-policy'), /^default-src 'none'; connect-src 'self'; .*script-src 'sha256-[^']+'; .*frame-ancestors 'none'$/);
      assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
      assert.equal(answer.headers.get('cache-control'), 'no-cache');
      assert.equal(answer.headers.get('x-query-count'), '0');
    }
  },

  async 'under load the verdict is shown with its evidence'() {
    await load(READS, 1200);
    await loadSlowAgent();
    const page = await open();
    await says(page, '#verdict-word', SOME_VERDICT);
    const because = await text(page, '#verdict-because');
    assert.match(because, /^The requirement (is met|is not met): [\d.]+ % of 1,\d+ queries took less than 100 ms\. The requirement: 95 % of queries under 100 ms\.$/);
    const facts = await text(page, '#evidence');
    for (const known of [/Within 100 ms\s+9\d\.\d+ %/, /p95\s+[\d.]+ ms/, /Queries\s+1,\d+/]) assert.match(facts, known);
    assert.match(await text(page, '#profiler'), /Recorded\s+[\d,]+\s+Written\s+[\d,]+\s+Lost\s+0\s/);
    assert.match(await text(page, '#connections'), /\d+ in use and \d+ idle, of 32\./);
    await close(page);
  },

  async 'the chart shows all routes or one route, and changes after new requests'() {
    const page = await open();
    await shown(page, '#lines svg');
    const before = await pathOf(page, 'p95');
    assert.match(before, /^M[\d.]+ [\d.]+/);
    const rows = await page.locator('#lines tbody tr').count();
    assert.equal(pointsOf(before), rows, 'the line must have a point for each row of the table');
    // Waits for the next minute, because the chart has a point for each minute.
    await sleep(millisecondsToNextMinute() + 500);
    await load(READS, 300);
    await page.waitForFunction((points) => document.querySelectorAll('#lines tbody tr').length > points, rows);
    const after = await pathOf(page, 'p95');
    assert.notEqual(after, before);
    assert.ok(pointsOf(after) > pointsOf(before), `${before} became ${after}`);
    assert.match(after, /L/, 'a line must join two minutes in a row');

    // Two paths of READS belong to this route. So the route has many requests, and the menu of the busiest routes always includes it.
    await page.selectOption('#route', 'GET /api/workflows');
    assert.match(await text(page, '#lines figcaption'), /^GET \/api\/workflows: \d+ requests/);
    assert.notEqual(await pathOf(page, 'p95'), after);
    const asked = page.asked;
    await page.waitForFunction(() => false, null, { timeout: 6000 }).catch(() => {});
    assert.ok(page.asked > asked, 'the page must refresh itself');
    assert.equal(await page.locator('#route').inputValue(), 'GET /api/workflows', 'the selected route must stay selected after a refresh');
    await close(page);
  },

  async 'the histogram shows queries over 100 ms to the right of the line at 100 ms'() {
    const page = await open();
    await shown(page, '#histogram svg');
    const target = Number(await page.locator('.requirement').getAttribute('x1'));
    const places = (selector) => page.locator(selector).evaluateAll((bars) => bars.map((bar) => Number(bar.getAttribute('x'))));
    const over = await places('#histogram .bar.over');
    const within = await places('#histogram .bar:not(.over)');
    assert.ok(over.length > 0 && over.every((x) => x >= target), `${over} against ${target}`);
    assert.ok(within.length > 5 && within.every((x) => x < target), `${within} against ${target}`);
    await close(page);
  },

  async 'all sixteen indexes are listed, and a missing index is reported with the SQL that creates it'() {
    const page = await open({ ...DESKTOP, permissions: ['clipboard-read', 'clipboard-write'] });
    await shown(page, '#contract table');
    assert.equal(await page.locator('#contract tbody tr').count(), 16);
    assert.equal(await page.locator('#contract .state', { hasText: '✓ ok' }).count(), 16);
    sql('DROP INDEX idx_agents_active');
    await says(page, '#contract', 'Problems with 1 of 16 indexes');
    await says(page, '#contract tr:has-text("idx_agents_active")', 'missing');
    await says(page, '#advice', 'idx_agents_active is missing');
    await page.click('#advice button');
    await says(page, '#advice button', 'Copied');
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /^CREATE INDEX CONCURRENTLY idx_agents_active ON public\.agents/);
    await picture(page, 'advice');
    sql(copied);
    await says(page, '#contract', 'All 16 indexes exist and are as declared');
    await close(page);
  },

  async 'a slow query is shown with its plan, opened by keyboard, and stays open'() {
    const page = await open();
    const item = page.locator('#slow > ul > li', { hasText: 'agent_get_by_name' }).first();
    const summary = item.locator('> details > summary');
    await summary.focus();
    await page.keyboard.press('Enter');
    assert.match(await summary.innerText(), /^3\d\d ms agent_get_by_name · GET \/api\/agents\/name\/\{name\} · /);
    const plan = item.locator('.plan');
    assert.match(await plan.innerText(), /on agents.*about \d+ rows, cost/);
    assert.match(await plan.innerText(), /pg_sleep/);
    await item.locator('details details > summary').click();
    const raw = JSON.parse(await item.locator('pre').innerText());
    assert.ok(raw[0].Plan['Node Type']);
    // Sends another slow query, which changes the list.
    const before = await text(page, '#slow');
    await loadSlowAgent();
    await page.waitForFunction((known) => document.getElementById('slow').innerText !== known, before);
    assert.ok(await page.locator('#slow details[open] details[open]').count() === 1, 'opened details must stay open');
    await close(page);
  },

  async 'if more than 5 % of queries are slow, the verdict is Fail'() {
    slowDownOneAgent();
    await load(['/api/agents/name/orchestrator'], 250, 32);
    speedUpTheAgent();
    const page = await open();
    await says(page, '#verdict-word', '✕ Fail');
    await says(page, '#verdict-because', 'The requirement is not met: ');
    await picture(page, 'fail');
    await close(page);
  },

  async 'tables sort by a clicked heading, and stay sorted after a refresh'() {
    const page = await open();
    const heading = page.locator('#routes th', { hasText: 'p95' });
    await heading.locator('button').click();
    assert.equal(await heading.getAttribute('aria-sort'), 'descending');
    const numbers = async () => (await page.locator('#routes tbody tr td:nth-child(5)').allInnerTexts()).map((cell) => Number(cell.replace(/[^\d.]/g, '')));
    const found = await numbers();
    assert.ok(found.length > 3);
    assert.deepEqual(found, [...found].sort((one, other) => other - one));
    assert.ok(await heading.locator('button').evaluate((button) => button === document.activeElement), 'the heading must keep the focus');
    const asked = page.asked;
    await page.waitForResponse((answer) => answer.url().includes('/api/') && page.asked > asked);
    assert.equal(await heading.getAttribute('aria-sort'), 'descending');
    await close(page);
  },

  async 'axe finds no problem in light and dark mode, on desktop and phone, with all details open'() {
    for (const { path, drawn, name } of PAGES) {
      for (const [size, options] of [['desktop', DESKTOP], ['phone', PHONE]]) {
        for (const colorScheme of ['light', 'dark']) {
          const page = await open({ ...options, colorScheme }, { path });
          await shown(page, drawn);
          await picture(page, name + (colorScheme === 'light' ? size : `${size}-dark`));
          await openAll(page);
          await isAccessible(page, `${path}, ${size}, ${colorScheme}`);
          await close(page);
        }
      }
    }
  },

  async 'at a width of 320 pixels only tables scroll, each in its own region'() {
    for (const { path, drawn, name } of PAGES) {
      const page = await open({ viewport: { width: 320, height: 640 } }, { path });
      await shown(page, drawn);
      await picture(page, `${name}narrow`);
      await openAll(page);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320, path);
      const regions = await page.locator('.scroll').evaluateAll((all) => all.map((one) => [one.tabIndex, one.getAttribute('aria-label')]));
      assert.ok(regions.every(([tabIndex, label]) => tabIndex === 0 && label), JSON.stringify(regions));
      assert.ok(regions.length > 5 || path === DOCS, `${path} has ${regions.length} regions`);
      await close(page);
    }
  },

  async 'every control can be reached by keyboard, and shows its focus'() {
    const page = await open();
    await shown(page, '#lines svg');
    const reached = [];
    for (let i = 0; i < 8; i += 1) {
      await page.keyboard.press('Tab');
      reached.push(await page.evaluate(() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        return [document.activeElement.id || document.activeElement.tagName, outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2];
      }));
    }
    assert.ok(reached.every(([, isSeen]) => isSeen), JSON.stringify(reached));
    assert.deepEqual(reached.slice(0, 3).map(([name]) => name), ['window', 'pause', 'route']);
    await page.focus('#pause');
    await page.keyboard.press('Enter');
    await says(page, '#status', 'Paused');
    await close(page);
  },

  async 'a paused or hidden page sends no request, and a change of the window sends one at once'() {
    const page = await open(DESKTOP, { before: (fresh) => fresh.clock.install() });
    await shown(page, '#lines svg');
    const passes = async (ms) => {
      await sleep(1000); // waits for the last response
      const before = page.asked;
      await page.clock.runFor(ms);
      await sleep(300);
      return page.asked - before;
    };
    assert.ok(await passes(6000) >= 1, 'the page refreshes');
    await page.click('#pause');
    assert.equal(await passes(60_000), 0, 'a paused page must not refresh');
    await page.click('#pause');
    assert.ok(await passes(6000) >= 1, 'the page refreshes again after the pause');
    const hide = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    await passes(100);
    assert.equal(await passes(60_000), 0, 'a hidden page must not refresh');
    const unseen = page.asked;
    await hide(false);
    await sleep(300);
    assert.ok(page.asked > unseen, 'the page must refresh when it is visible again');
    const asked = page.waitForRequest((request) => request.url().endsWith('window=24h'));
    await page.selectOption('#window', '24h');
    await asked;
    assert.ok(page.url().endsWith('#24h'));
    await close(page);
  },

  async 'hostile markup in responses is shown as text'() {
    const page = await openPoisoned('/performance', '**/api/performance/database*', (name) => !['at', 'from', 'to', 'window', 'verdict'].includes(name));
    await shown(page, '#slow');
    await says(page, '#routes', HOSTILE);
    const docs = await openPoisoned(DOCS, DESCRIPTION, (name) => ['summary', 'description', 'title', 'pattern', 'format', 'operationId', 'detail'].includes(name));
    await says(docs, 'main section:last-child details:last-child summary', HOSTILE);
    for (const [one, title] of [[page, /^Database performance/], [docs, /^API reference/]]) {
      assert.equal(await one.locator('img, script:not(body > script)').count(), 0);
      assert.match(await one.title(), title);
      await close(one);
    }
  },

  async 'the reference shows every operation of openapi.json, and requests no other file'() {
    const asked = [];
    const page = await openDocs('', { before: (fresh) => fresh.on('request', (request) => asked.push(new URL(request.url()).pathname)) });
    await says(page, 'nav p', `${described.length} of ${described.length} operations`);
    assert.deepEqual((await idsShown(page)).sort(), described.map((one) => one.operationId).sort());
    assert.equal(await page.locator('nav a').count(), described.length);
    for (const { operationId, call, summary } of described) {
      assert.equal(await text(page, `#${operationId} summary`), `${call}\n${summary}`);
      assert.equal(await text(page, `nav a[href="#${operationId}"]`), call);
    }
    assert.deepEqual(asked, [DOCS, '/api/openapi.json']);
    await close(page);
  },

  async 'an operation shows its parameters, bodies and responses, with examples'() {
    const page = await openDocs();
    await shown(page, '#agent_list');
    await openAll(page);
    const known = {
      agent_list: [
        /Token: api or admin\./, /\nParameters\n/, /\nlimit query, optional, integer, 1 to 200, default 50 Maximum number of items in a page\./,
        /\nagent_type query, optional, string, pattern \^\[a-z\]\S+ Only/, /\nResponse 200\nlist, at most 200, of Agent, as application\/json\n/,
        /\nResponse 304\nNot modified, /, /\nHeaders: ETag, Link, Server-Timing, X-Process-Time, X-Query-Count, /, /\n503 The database cannot be reached.* With Retry-After\./,
      ],
      workflow_create: [
        /\nIdempotency-Key header, optional, string, 1 to 255 characters, /, /\nRequest body\nWorkflowCreate, as application\/json\n/,
        /\nexecution_strategy optional, one of sequential, parallel, dag /, /\ntasks optional, list, at most 100, of WorkflowCreateTask /,
        /\ndescription string, 1 to 10000 characters, no NUL /, /\ndepends_on optional, /, /"depends_on": \[/, /\nResponse 201\n/, /Headers: ETag, Location, /,
      ],
      workflow_task_claim: [/\nResponse 200\nWorkflowTask, /, /\nResponse 204\nThere is no matching row\.\n/],
      agent_get: [/\nid path, uuid /, /\n404 There is no such row\./],
      health: [/No token\./, /"status": "healthy"/],
    };
    for (const [id, patterns] of Object.entries(known)) {
      const told = (await text(page, `#${id}`)).replace(/\n+/g, '\n');
      for (const pattern of patterns) assert.match(told, pattern);
    }
    const common = (await text(page, 'main section:first-child')).replace(/\n+/g, '\n');
    for (const pattern of [/\nX-Query-Count Number of statements sent/, /\nadmin One of the tokens/, /\nrequest_id string/]) assert.match(common, pattern);
    await close(page);
  },

  async 'each curl command gets a documented status'() {
    const page = await openDocs();
    await shown(page, '#agent_list');
    await openAll(page);
    const variables = { ...process.env, NO_PROXY: '*', no_proxy: '*', ID: NOBODY, TASK_ID: NOBODY, NAME: 'nobody', TOKEN };
    for (const { operationId, responses, call } of described) {
      const line = await page.locator(`#${operationId} pre`).first().innerText();
      const { stdout: answer } = await promisify(execFile)('bash', ['-c', line], { env: variables }); // async, so that the proxy can run
      const [, status] = /^HTTP\/1\.1 (\d+)/.exec(answer) ?? [];
      assert.ok(responses[status], `${line}: ${answer}`);
      // Accepts 404, 409 and some 422 responses, because a row that the command refers to may be missing.
      const isFine = ['200', '201', '204', '404', '409'].includes(status) || (status === '422' && answer.includes("refers to a row that does not exist"));
      assert.ok(isFine, `${line}: ${answer}`);
      if (call.startsWith('GET') && !call.includes('{')) assert.equal(status, '200', line);
    }
    await close(page);
  },

  async 'the filter shows only operations with all its words, also in the index, and works by keyboard'() {
    const page = await openDocs();
    await shown(page, '#agent_list');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.type('POST agents');
    await says(page, 'nav p', `1 of ${described.length} operations`);
    assert.deepEqual(await idsShown(page), ['agent_create']);
    assert.equal(await page.locator('nav a:visible').count(), 1);
    assert.deepEqual(await page.locator('h2:visible').allInnerTexts(), ['All operations', 'agents']);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await isVisited(page, 'agent_create');
    assert.ok(page.url().endsWith('#agent_create'));
    await page.keyboard.press('Enter');
    assert.equal(await isOpen(page, 'agent_create'), false, 'Enter closes it again');
    await page.click('nav a[href="#agent_create"]');
    await isVisited(page, 'agent_create');
    await page.fill('nav input', 'workflow_task_claim');
    assert.deepEqual(await idsShown(page), ['workflow_task_claim']);
    await page.fill('nav input', 'no such thing');
    await says(page, 'nav p', `0 of ${described.length} operations`);
    assert.deepEqual(await page.locator('h2:visible').allInnerTexts(), ['All operations']);
    await page.fill('nav input', '');
    assert.equal((await idsShown(page)).length, described.length);
    await close(page);
  },

  async 'a fragment in the URL opens its operation, on load and later, even if the filter hides it'() {
    const page = await openDocs('#workflow_task_claim');
    await isVisited(page, 'workflow_task_claim');
    assert.equal(await page.locator('main details[open]').count(), 1);
    await picture(page, 'docs-operation');
    await page.fill('nav input', 'stats');
    await page.evaluate(() => { location.hash = 'message_create'; });
    await isVisited(page, 'message_create');
    assert.equal(await page.inputValue('nav input'), '');
    await page.goBack();
    await isVisited(page, 'workflow_task_claim');
    await page.evaluate(() => { location.hash = '%'; });
    await close(page);
    const unknown = await openDocs('#nothing');
    await shown(unknown, '#agent_list');
    assert.equal(await unknown.locator('details[open]').count(), 0);
    await close(unknown);
  },

  async 'a description that cannot be loaded is reported with the reason'() {
    const problem = JSON.stringify({ title: 'Internal Server Error', status: 500, detail: 'Something of ours is broken.' });
    for (const [answer, why] of [
      [(route) => route.abort(), /cannot be shown\. The service does not respond \(.+\)\. Reload the page to try again\./],
      [(route) => route.fulfill({ status: 500, contentType: 'application/problem+json', body: problem }), 'The service answered with status 500. Something of ours is broken. Reload'],
      [(route) => route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>' }), /The response with status 502 is not an OpenAPI document \(.+\)\. Reload/],
      [(route) => route.fulfill({ status: 200, contentType: 'application/json', body: '{}' }), /The response with status 200 is not an OpenAPI document \(.+\)\. Reload/],
    ]) {
      const page = await openDocs('', { expected: ['ERR_FAILED', '500', '502'], before: (fresh) => fresh.route(DESCRIPTION, answer) });
      await says(page, 'header [role=status]', why);
      assert.equal(await page.locator('nav, form').filter({ visible: true }).count(), 0);
      await isAccessible(page, String(why));
      await close(page);
    }
  },

  async 'if the description requires a token, the page asks for it and stores it nowhere'() {
    await host.restart({ SPIN_VARIABLE_API_TOKEN: TOKEN });
    const page = await openDocs('#stats', { expected: ['401'] });
    await says(page, 'header [role=status]', 'This operation requires a token. Send it in the header Authorization: Bearer <token>. Enter a token. The page discards it');
    await isAccessible(page, 'docs, locked');
    await picture(page, 'docs-locked');
    await page.fill('form input', 'ein Schlüssel');
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('form input').evaluate((input) => input.checkValidity()), false);
    await page.fill('form input', 'not-the-token-at-all');
    await page.keyboard.press('Enter');
    await says(page, 'header [role=status]', 'Enter another token.');
    await page.fill('form input', TOKEN);
    await page.keyboard.press('Enter');
    await isVisited(page, 'stats');
    assert.equal(await page.locator('form').isVisible(), false);
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, '']);
    assert.equal(page.url().includes(TOKEN), false);
    assert.equal((await page.content()).includes(TOKEN), false);
    await page.reload();
    await says(page, 'header [role=status]', 'Enter a token');
    await close(page);
    await host.restart();
  },

  async 'a section with an unreadable source shows the reason, and the other sections are unchanged'() {
    sql('REVOKE SELECT ON profile.slow_queries FROM reznet_app; REVOKE SELECT ON profile.totals FROM reznet_app');
    try {
      const page = await open();
      await says(page, '#slow', '! Missing profile.slow_queries can\'t be read');
      await says(page, '#slow', 'run scripts/migrate grant');
      await says(page, '#verdict-because', 'The measurements are missing. profile.totals');
      for (const section of ['#lines', '#histogram', '#statements', '#routes']) await says(page, section, '! Missing profile.totals');
      await says(page, '#contract', 'All 16 indexes exist and are as declared');
      await says(page, '#contract', '! Incomplete There is no count of an index\'s calls');
      await says(page, '#sizes', 'messages');
      await isAccessible(page, 'sources missing');
      await picture(page, 'sources-missing');
      await close(page);
    } finally {
      sql('GRANT SELECT ON profile.slow_queries TO reznet_app; GRANT SELECT ON profile.totals TO reznet_app');
    }
  },

  async 'during a slow response the old figures stay, and the page reports the delay'() {
    const page = await open();
    await says(page, '#status', 'Updated');
    // Delays all data by 250 ms in both directions. The delay is short enough to open a new connection within the limit of two seconds.
    line.delayMs = 250;
    // A response that was sent before the delay may still update the page. So remembers the figures at the last status that isn't slow.
    let before;
    const deadline = Date.now() + 30_000;
    for (let status = ''; !status.startsWith('Loading is slow; figures of');) {
      const shownNow = await page.evaluate(() => ['#status', '#verdict-because'].map((id) => document.querySelector(id).textContent.trim()));
      status = shownNow[0];
      if (status.startsWith('Updated')) before = shownNow[1];
      else if (status.startsWith('Loading is slow; figures of')) assert.equal(shownNow[1], before);
      assert.ok(Date.now() < deadline, `the page never reports slow loading: ${status}`);
      await page.waitForTimeout(20);
    }
    assert.equal(await page.locator('#notice').isVisible(), false);
    await picture(page, 'slow-answer');
    line.delayMs = 0;
    await says(page, '#status', 'Updated');
    await close(page);
  },

  async 'a lost database is reported, the figures are marked as old, and the page recovers by itself'() {
    const page = await open(DESKTOP, { expected: ['503', '504'] });
    await says(page, '#status', 'Updated');
    line.cut();
    await says(page, '#notice', 'The database cannot be reached. The figures below are old, from ');
    await says(page, '#status', 'Trying again every 5 seconds');
    await says(page, '.is-old #verdict-word', ', as of ');
    assert.ok(await page.locator('#figures').isVisible(), 'the last figures must stay visible');
    await isAccessible(page, 'lost');
    await picture(page, 'lost-database');
    const first = await open(DESKTOP, { expected: ['503'] });
    await says(first, '#notice', 'The database cannot be reached. The page keeps trying.');
    line.mend();
    await says(page, '#status', 'Updated');
    assert.equal(await page.locator('#notice').isVisible(), false);
    await says(first, '#verdict-word', SOME_VERDICT);
    await close(first);
    await close(page);
  },

  async 'a stopped or wrongly configured service is reported'() {
    const page = await open(DESKTOP, { expected: ['500', 'ERR_CONNECTION_REFUSED', 'ERR_EMPTY_RESPONSE', 'ERR_CONNECTION_RESET'] });
    await says(page, '#status', 'Updated');
    await host.stop();
    await says(page, '#notice', 'The service does not respond. The figures below are old');
    await host.start({ SPIN_VARIABLE_SLOW_QUERY_WARN_MS: 'often' });
    await says(page, '#notice', "The service has a problem: The service's configuration is invalid. Its log says what to change");
    await host.restart();
    await says(page, '#status', 'Updated');
    await close(page);
  },

  async 'the page shows the configured target, and the verdict counts only queries with this target'() {
    await host.restart({ SPIN_VARIABLE_QUERY_TARGET_MS: '300', SPIN_VARIABLE_QUERY_TARGET_PERCENT: '60' });
    const page = await open();
    await says(page, '#verdict-because', 'a verdict requires 100 queries. The requirement: 60 % of queries under 300 ms.');
    await load(READS, 300);
    await says(page, '#verdict-because', 'queries took less than 300 ms. The requirement: 60 % of queries under 300 ms.');
    await says(page, '#evidence', 'Within 300 ms');
    assert.match(await text(page, '#evidence'), /Required\s+60 %/);
    await says(page, '#statements', 'Within 300 ms');
    await says(page, '.requirement-name', 'requirement: 300 ms');
    await close(page);
    await host.restart();
  },

  async 'the page asks for the admin token, checks it, stores it only for the tab, and deletes it on request'() {
    await host.restart({ SPIN_VARIABLE_ADMIN_TOKEN: TOKEN });
    const page = await open(DESKTOP, { expected: ['401'] });
    await says(page, '#locked-why', 'These figures are for administrators');
    assert.equal(await page.locator('#figures').isVisible(), false);
    assert.equal(await page.locator('#token').getAttribute('type'), 'password');
    await isAccessible(page, 'locked');
    await picture(page, 'locked');
    const enter = async (value) => {
      await page.fill('#token', value);
      await page.keyboard.press('Enter');
    };
    await enter('not-the-token-at-all');
    await says(page, '#locked-why', 'That token was refused');
    await enter('ein Schlüssel');
    await says(page, '#locked-why', 'without spaces');
    await enter(TOKEN);
    await says(page, '#verdict-word', SOME_VERDICT);
    const kept = () => page.evaluate(() => [localStorage.length, document.cookie, Object.values(sessionStorage)]);
    assert.deepEqual(await kept(), [0, '', [TOKEN]]);
    assert.equal(page.url().includes(TOKEN), false);
    assert.equal((await page.content()).includes(TOKEN), false);
    await page.reload();
    await says(page, '#verdict-word', SOME_VERDICT);
    await page.click('#forget');
    await says(page, '#locked-why', 'forgotten');
    assert.deepEqual(await kept(), [0, '', []]);
    assert.equal((await page.locator('#statements').textContent()), '', 'no figures may remain');
    await enter(TOKEN);
    await says(page, '#verdict-word', SOME_VERDICT);
    // Restarts the host with another token, as an operator who replaces the token would.
    await host.restart({ SPIN_VARIABLE_ADMIN_TOKEN: 'another-token-altogether' });
    await page.locator('#locked-why', { hasText: 'That token was refused' }).waitFor();
    await close(page);
    await host.restart();
  },

  async 'no page had an error, sent a request to another origin or violated its policy'() {
    assert.deepEqual(offences, []);
  },
};

/** Creates the picture after some minutes of typical load with an occasional slow statement. */
async function makePicture() {
  const minutes = 5;
  for (let minute = 1; minute <= minutes; minute += 1) {
    for (const requests of [500, 300 + 250 * (minute % 2), 200]) await load(READS, requests, 4 + 4 * (minute % 3));
    if (minute === 2) await loadSlowAgent();
    console.log(`minute ${minute} of ${minutes}`);
    if (minute < minutes) await sleep(millisecondsToNextMinute() + 300);
  }
  const page = await open({ viewport: { width: 1120, height: 1120 } });
  await shown(page, '#lines svg');
  await page.screenshot({ path: 'docs/performance.png' });
  const { size } = statSync('docs/performance.png');
  assert.ok(size < 300_000, `docs/performance.png has ${size} bytes`);
  console.log(`docs/performance.png: ${size} bytes`);
}

async function runChecks() {
  let [passed, failed] = [0, 0];
  for (const [name, check] of Object.entries(checks)) {
    const began = Date.now();
    const outcome = await check().then(() => null, (error) => error);
    if (outcome) failed += 1;
    else passed += 1;
    console.log(`${outcome ? 'FAILED ' : 'ok     '} ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    if (outcome) {
      console.log(`        ${String(outcome.stack).replaceAll('\n', '\n        ')}`);
      // A failed check may have left changes, so resets the proxy, the browser and the host before the next check.
      line.mend();
      line.delayMs = 0;
      for (const context of browser.contexts()) await context.close();
      await host.restart();
    }
  }
  console.log(`\ntest result: ${failed ? 'FAILED' : 'ok'}. ${passed} passed; ${failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in ${process.uptime().toFixed(0)}s`);
  return failed === 0;
}

const address = await line.open();
process.env.SPIN_VARIABLE_DB_HOST = address;
process.env.SPIN_VARIABLE_DB_URL = SPIN_VARIABLE_DB_URL.replace(SPIN_VARIABLE_DB_HOST, address);
let ok = false;
try {
  await host.start();
  // Chromium's sandbox doesn't work as root. Disabling the sandbox is safe here, because Chromium loads only our pages.
  browser = await chromium.launch({ executablePath: CHROMIUM, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });
  ok = process.argv[2] === 'picture' ? (await makePicture(), true) : await runChecks();
} finally {
  await browser?.close();
  await host.stop();
}
process.exit(ok ? 0 : 1);
