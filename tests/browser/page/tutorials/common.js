// What the tutorial pages share: the client library of the version that the address asks for, and the calls to the
// page's own server for sessions and tokens.

const byId = (id) => document.getElementById(id);

const shown = (form, call) => {
  byId('join').hidden = !form;
  byId('session').hidden = !call;
};

const post = async (where, body) => {
  const response = await fetch(where, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${where}: ${response.status} ${await response.text()}`);
  return response.text();
};

/** A token for that room, which is made if it is not there. */
const tokenFor = async (room) => {
  const session = await post('api/sessions', { customSessionId: room });
  return post(`api/sessions/${session}/connections`, {});
};

/** Puts somebody's name under a video of his. */
const label = (video, id, ...names) => {
  const line = document.createElement('p');
  line.className = 'name';
  line.id = `name-${id}`;
  line.textContent = names.join(' · ');
  video.after(line);
};
const unlabel = (id) => byId(`name-${id}`)?.remove();

{
  const version = new URLSearchParams(location.search).get('version') ?? '2.32.1';
  document.write(`<script src="/client-${version}.js"><\/script>`);
}
