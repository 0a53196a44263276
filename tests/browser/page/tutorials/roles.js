// Stands for openvidu-roles-node and openvidu-roles-java: the page's server knows its users, and decides what each may
// do; names are made of client data and server data.

let session;
let room;
let token;

byId('login').addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    await post('api-login/login', { user: byId('user').value, pass: byId('pass').value });
  } catch {
    byId('wrong').hidden = false;
    return;
  }
  byId('login').hidden = true;
  byId('join').hidden = false;
});

byId('logout').addEventListener('click', async () => {
  await post('api-login/logout', {});
  byId('login').hidden = false;
  byId('join').hidden = true;
});

byId('join').addEventListener('submit', async (event) => {
  event.preventDefault();
  room = byId('room').value;
  token = JSON.parse(await post('api-sessions/get-token', { sessionName: room }))[0];
  const library = new OpenVidu();
  session = library.initSession();
  session.on('streamCreated', ({ stream }) => {
    const subscriber = session.subscribe(stream, 'videos');
    subscriber.on('videoElementCreated', ({ element }) => {
      const { connectionId, data } = subscriber.stream.connection;
      const [client, server] = data.split('%/%').map((part) => JSON.parse(part));
      label(element, connectionId, client.clientData, server.serverData);
    });
  });
  session.on('streamDestroyed', ({ stream }) => unlabel(stream.connection.connectionId));
  session.on('exception', (exception) => console.warn(exception));
  const [nick, user] = [byId('nick').value, byId('user').value];
  await session.connect(token, { clientData: nick });
  byId('title').textContent = room;
  shown(false, true);
  if (user.includes('publisher')) {
    const publisher = library.initPublisher('videos', {
      audioSource: undefined,
      videoSource: undefined,
      publishAudio: true,
      publishVideo: true,
      resolution: '640x480',
      frameRate: 30,
      insertMode: 'APPEND',
      mirror: false,
    });
    publisher.on('videoElementCreated', ({ element }) => {
      label(element, 'own', nick, user);
      element.muted = true;
    });
    session.publish(publisher);
  } else {
    byId('watching').hidden = false;
  }
});

const leave = () => {
  session.disconnect();
  session = undefined;
  for (const line of document.querySelectorAll('.name')) line.remove();
  shown(true, false);
};

byId('leave').addEventListener('click', leave);

window.addEventListener('beforeunload', () => {
  if (!session) return;
  post('api-sessions/remove-user', { sessionName: room, token });
  leave();
});
