/** The one thing that the page asks of the server besides signalling: a token. The secret never comes here. */

import { TroubleError } from './errors';

export async function requestToken(room: string, name: string): Promise<string> {
  let response: Response;
  try {
    response = await fetch('demo/token', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ room, name }),
    });
  } catch {
    throw new TroubleError({
      title: 'The server cannot be reached',
      remedy: 'Check that it runs and that this device is online, then try again.',
    });
  }
  if (response.status === 404) {
    throw new TroubleError({
      title: 'This server gives no tokens to this page',
      remedy: 'Its administrator can allow the demo with MILLRACE_DEMO=true.',
    });
  }
  const body: unknown = await response.json().catch(() => ({}));
  const { token, message } = body as { token?: string; message?: string };
  if (!response.ok || !token) {
    throw new TroubleError({
      title: 'The server gave no token',
      remedy: message ?? `It answered with status ${response.status}. Its log says more.`,
    });
  }
  return here(token);
}

/**
 * The token with this page's own host. A server knows one public name; people reach it by others too (an address in
 * the local network), and it matches tokens by their query alone.
 */
function here(token: string): string {
  const query = token.indexOf('?');
  const scheme = location.protocol === 'http:' ? 'ws' : 'wss';
  return query < 0 ? token : `${scheme}://${location.host}${token.slice(query)}`;
}
