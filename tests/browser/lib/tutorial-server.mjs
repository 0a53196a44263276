// The thin server that every OpenVidu tutorial has: it serves the page, and asks the REST API for sessions and tokens on
// behalf of the browser, which must not know the secret.

import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { CLIENTS } from './browser.mjs';

const PAGES = fileURLToPath(new URL('../page/tutorials/', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
/** Who may log in to the tutorial of roles, as what. */
const USERS = { publisher1: 'PUBLISHER', publisher2: 'PUBLISHER', subscriber: 'SUBSCRIBER' };
const PASSWORD = 'pass';

/** Serves the pages and their REST calls for that Millrace; the answer has `url` and `close()`. */
export async function startTutorialServer(millrace) {
  const tutorials = new TutorialServer(millrace);
  await new Promise((resolve) => tutorials.server.listen(0, 'localhost', resolve));
  tutorials.url = `http://localhost:${tutorials.server.address().port}`;
  return tutorials;
}

class TutorialServer {
  constructor(millrace) {
    this.millrace = millrace;
    /** User names by cookie, and Millrace's session ids by the names that users gave them. */
    this.logins = new Map();
    this.sessions = new Map();
    this.server = createServer((request, response) => {
      this.answer(request).then(
        ({ status = 200, type = 'text/plain', body = '', cookie }) => {
          const headers = cookie ? { 'Content-Type': type, 'Set-Cookie': `login=${cookie}; Path=/` } : { 'Content-Type': type };
          response.writeHead(status, headers).end(body);
        },
        (error) => response.writeHead(500).end(String(error)),
      );
    });
  }

  async answer(request) {
    const { pathname } = new URL(request.url, this.url);
    if (request.method === 'GET') return page(pathname);
    const body = JSON.parse((await readAll(request)) || '{}');
    const connections = /^\/api\/sessions\/([^/]+)\/connections$/.exec(pathname);
    if (pathname === '/api/sessions') return { body: await this.session(body) };
    if (connections) return { body: await this.millrace.createToken(connections[1], body) };
    const login = /login=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
    const user = this.logins.get(login);
    if (pathname === '/api-login/login') return this.logIn(body);
    if (!user) return { status: 401 };
    if (pathname === '/api-login/logout') return this.logOut(login);
    if (pathname === '/api-sessions/get-token') return this.tokenFor(user, body.sessionName);
    if (pathname === '/api-sessions/remove-user') return {};
    return { status: 404 };
  }

  /** A session that exists already is used, as OpenVidu's server libraries do. */
  async session(properties) {
    const { status, text } = await this.millrace.call('POST', '/openvidu/api/sessions', properties);
    if (status === 409) return properties.customSessionId;
    if (status !== 200) throw new Error(`POST sessions: ${status} ${text}`);
    return JSON.parse(text).id;
  }

  logIn({ user, pass }) {
    if (!Object.hasOwn(USERS, user) || pass !== PASSWORD) return { status: 401 };
    const cookie = randomUUID();
    this.logins.set(cookie, user);
    return { cookie };
  }

  logOut(login) {
    this.logins.delete(login);
    return {};
  }

  /** The user's role is the server's choice, and its name goes into the server data of the connection. */
  async tokenFor(user, name) {
    if (!this.sessions.has(name)) this.sessions.set(name, await this.session({}));
    const data = JSON.stringify({ serverData: user });
    const token = await this.millrace.createToken(this.sessions.get(name), { data, role: USERS[user] });
    return { type: 'application/json', body: JSON.stringify({ 0: token }) };
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

async function page(pathname) {
  const version = /^\/client-([\d.]+)\.js$/.exec(pathname)?.[1];
  if (version) return { type: TYPES['.js'], body: await readFile(CLIENTS[version]) };
  const file = path.join(PAGES, path.basename(pathname));
  const type = TYPES[path.extname(file)];
  if (!type) return { status: 404 };
  return { type, body: await readFile(file) };
}

async function readAll(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}
