// Stands for openvidu-hello-world: the fewest calls that make a call.

let session;

byId('join').addEventListener('submit', async (event) => {
  event.preventDefault();
  const library = new OpenVidu();
  session = library.initSession();
  session.on('streamCreated', ({ stream }) => session.subscribe(stream, 'subscriber'));
  const room = byId('room').value;
  byId('title').textContent = room;
  shown(false, true);
  await session.connect(await tokenFor(room));
  const publisher = library.initPublisher('publisher');
  session.publish(publisher);
});

byId('leave').addEventListener('click', () => {
  session.disconnect();
  shown(true, false);
});

window.addEventListener('beforeunload', () => session?.disconnect());
