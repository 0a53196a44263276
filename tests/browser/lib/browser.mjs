// Chromium, and pages in it that make calls with one of the two client versions.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { Participant } from './participant.mjs';

export const VERSIONS = ['2.20.0', '2.32.1'];

/** The npm packages' own bundles. */
export const CLIENTS = {
  '2.20.0': new URL('../node_modules/openvidu-browser-2-20/static/js/openvidu-browser-2.20.0.min.js', import.meta.url),
  '2.32.1': new URL('../node_modules/openvidu-browser-2-32/static/js/openvidu-browser-2.32.1.min.js', import.meta.url),
};
const PAGE = new URL('../page/', import.meta.url);
const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** Console lines of each page that are shown when a test fails. */
const SHOWN_LINES = 40;
const ARGUMENTS = [
  '--no-sandbox',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
  // Six tabs share one window: those behind must not be slowed down.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

/** Starts Chromium with that many cameras. Without `camera` nobody allows a page any device. */
export async function startBrowser({ camera = true, cameras = 1, headless = true } = {}) {
  const args = [...ARGUMENTS, `--use-fake-device-for-media-stream=device-count=${cameras}`];
  if (camera) args.push('--use-fake-ui-for-media-stream');
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args, headless });
  const servers = await Promise.all(VERSIONS.map(async (version) => [version, await serve(version)]));
  return new Browser(browser, Object.fromEntries(servers), camera);
}

class Browser {
  constructor(browser, servers, camera) {
    this.browser = browser;
    this.servers = servers;
    this.camera = camera;
    this.participants = [];
  }

  /** A page of its own context, with the client of that version loaded. */
  async open(version, name) {
    const context = await this.browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    const participant = new Participant(page, name, version);
    this.participants.push(participant);
    await page.goto(`http://localhost:${this.servers[version].address().port}/`);
    return participant;
  }

  /** A page of its own context for a URL that is not ours; `prepare` gets it before it is loaded. */
  async visit(url, { viewport, prepare } = {}) {
    const context = await this.browser.newContext({ ignoreHTTPSErrors: true, viewport });
    const page = await context.newPage();
    this.participants.push(new Participant(page, url, ''));
    await prepare?.(page);
    await page.goto(url);
    return page;
  }

  /**
   * Opens a page, joins the session and optionally publishes. `through` is a gate on the way of its WebSocket, `options`
   * are those of the page's `join`.
   */
  async join(millrace, session, { version, name, publish, role = 'PUBLISHER', through, options }) {
    const participant = await this.open(version, name);
    const token = await millrace.createToken(session, { role });
    await participant.join(through ? through.token(token) : token, options);
    if (publish) await participant.publish(publish === true ? {} : publish);
    return participant;
  }

  /** What the pages wrote to their consoles, were told and received, for a failed test. */
  async logs() {
    const ask = (answer) => {
      const late = new Promise((resolve) => setTimeout(resolve, 2_000, 'no answer'));
      return Promise.race([answer.catch(() => 'none'), late]);
    };
    const parts = await Promise.all(
      this.participants.map(async (participant) => {
        const { name, version, console } = participant;
        const asked = [participant.events(), participant.received(), participant.published()];
        const [events, received, published] = (await Promise.all(asked.map(ask))).map((part) => JSON.stringify(part));
        return `--- page ${name} ${version}\n${console.slice(-SHOWN_LINES).join('\n')}
events: ${events}\nreceived: ${received}\npublished: ${published}`;
      }),
    );
    return parts.join('\n');
  }

  /** Closes the pages; the browser stays. */
  async closePages() {
    await Promise.all(this.browser.contexts().map((context) => context.close()));
    this.participants = [];
  }

  async stop() {
    await this.browser.close();
    for (const server of Object.values(this.servers)) {
      server.closeAllConnections();
      server.close();
    }
  }
}

/** The page with one client version; a loopback origin counts as secure, so plain HTTP will do. */
async function serve(version) {
  const files = {
    '/': ['text/html', await readFile(new URL('index.html', PAGE))],
    '/favicon.ico': ['image/x-icon', Buffer.alloc(0)],
    '/call.js': ['text/javascript', await readFile(new URL('call.js', PAGE))],
    '/client.js': ['text/javascript', await readFile(fileURLToPath(CLIENTS[version]))],
  };
  const server = createServer((request, response) => {
    const file = files[request.url.split('?')[0]];
    response.writeHead(file ? 200 : 404, { 'Content-Type': file?.[0] ?? 'text/plain' }).end(file?.[1]);
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  return server;
}
