// Stands for openvidu-js-screen-share: two sessions in one page from the start, one for the camera and one for the
// screen, each of which subscribes to streams of its own kind only.

let camera;
let screen;
let screenLibrary;

const show = (session, stream, where) => {
  const subscriber = session.subscribe(stream, where);
  subscriber.on('videoElementCreated', ({ element }) => {
    const { connectionId, data } = subscriber.stream.connection;
    label(element, connectionId, JSON.parse(data).clientData);
  });
};

byId('join').addEventListener('submit', (event) => {
  event.preventDefault();
  const [room, name] = [byId('room').value, byId('name').value];
  const library = new OpenVidu();
  screenLibrary = new OpenVidu();
  camera = library.initSession();
  screen = screenLibrary.initSession();
  camera.on('streamCreated', ({ stream }) => {
    if (stream.typeOfVideo === 'CAMERA') show(camera, stream, 'cameras');
  });
  screen.on('streamCreated', ({ stream }) => {
    if (stream.typeOfVideo === 'SCREEN') show(screen, stream, 'screens');
  });
  camera.on('streamDestroyed', ({ stream }) => unlabel(stream.connection.connectionId));
  camera.on('exception', (exception) => console.warn(exception));

  // Both ask for the room at once, and one of them makes it.
  tokenFor(room).then((token) => camera.connect(token, { clientData: name })).then(() => {
    byId('title').textContent = room;
    shown(false, true);
    const publisher = library.initPublisher('cameras', {
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
      label(element, 'own', name);
      element.muted = true;
    });
    camera.publish(publisher);
  });
  tokenFor(room).then((token) => screen.connect(token, { clientData: name })).then(() => {
    byId('share').hidden = false;
  });
});

byId('share').addEventListener('click', () => {
  const publisher = screenLibrary.initPublisher('screens', { videoSource: 'screen' });
  publisher.once('accessAllowed', () => {
    byId('share').hidden = true;
    publisher.stream.getMediaStream().getVideoTracks()[0].addEventListener('ended', () => {
      screen.unpublish(publisher);
      byId('share').hidden = false;
    });
    screen.publish(publisher);
  });
  publisher.on('videoElementCreated', ({ element }) => {
    label(element, screen.connection.connectionId, 'Your screen');
    element.muted = true;
  });
  publisher.once('accessDenied', () => console.error('screen: access denied'));
});

byId('leave').addEventListener('click', () => {
  screen.disconnect();
  camera.disconnect();
  for (const line of document.querySelectorAll('.name')) line.remove();
  shown(true, false);
});

window.addEventListener('beforeunload', () => {
  camera?.disconnect();
  screen?.disconnect();
});
