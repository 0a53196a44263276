// Stands for openvidu-js: names, a large picture, and events of streams that end.

let session;
const large = document.querySelector('#main-video video');
const onClick = (video) => video.addEventListener('click', () => (large.srcObject = video.srcObject));

byId('join').addEventListener('submit', (event) => {
  event.preventDefault();
  const [room, name] = [byId('room').value, byId('name').value];
  const library = new OpenVidu();
  session = library.initSession();
  session.on('streamCreated', ({ stream }) => {
    const subscriber = session.subscribe(stream, 'videos');
    subscriber.on('videoElementCreated', ({ element }) => {
      const { connectionId, data } = subscriber.stream.connection;
      label(element, connectionId, JSON.parse(data).clientData);
      onClick(element);
    });
  });
  session.on('streamDestroyed', ({ stream }) => unlabel(stream.connection.connectionId));
  session.on('exception', (exception) => console.warn(exception));

  tokenFor(room).then((token) => session.connect(token, { clientData: name })).then(() => {
    byId('title').textContent = room;
    shown(false, true);
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
      large.srcObject = element.srcObject;
      label(element, 'own', name);
      onClick(element);
      element.muted = true;
    });
    session.publish(publisher);
  });
});

byId('leave').addEventListener('click', () => {
  session.disconnect();
  for (const line of document.querySelectorAll('.name')) line.remove();
  shown(true, false);
});

window.addEventListener('beforeunload', () => session?.disconnect());
